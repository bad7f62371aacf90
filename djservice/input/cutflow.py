"""Cutflow: counts of what was read and removed, and the summary of a run's reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.formatting import counted


@dataclass(frozen=True)
class Cutflow:
    """Counts of the entries that were read, and of the particles that each cut removed.

    Attributes
    ----------
    entries
        Entries of the files.
    particles
        Particles in the events that pass the selection, before any cut.
    removed
        Number of particles that each cut removed, in the order of the cuts.
    bytes_read
        Bytes read from the files, including headers. For cached bundles, bytes of the cache.
    seconds
        Wall time of the reading, summed over all tasks.
    cached
        Number of bundles that came from the cache.
    absent
        Columns of the schema that files lack, each with the entries of these.
    doubts
        What looks like a mistake in the values, as in :class:`~djservice.events.batch.EventBatch`.
    """

    entries: int = 0
    particles: int = 0
    removed: tuple[tuple[str, int], ...] = ()
    bytes_read: int = 0
    seconds: float = 0.0
    cached: int = 0
    absent: tuple[tuple[str, int], ...] = ()
    doubts: tuple[str, ...] = ()

    def __add__(self, cutflow: Cutflow) -> Cutflow:
        removed, absent = dict(self.removed), dict(self.absent)
        for totals, more in ((removed, cutflow.removed), (absent, cutflow.absent)):
            for name, number in more:
                totals[name] = totals.get(name, 0) + number
        return Cutflow(
            self.entries + cutflow.entries,
            self.particles + cutflow.particles,
            tuple(removed.items()),
            self.bytes_read + cutflow.bytes_read,
            self.seconds + cutflow.seconds,
            self.cached + cutflow.cached,
            tuple(absent.items()),
            tuple(dict.fromkeys(self.doubts + cutflow.doubts)),
        )


def reading_of(
    cutflows: Sequence[Cutflow],
    counts: NDArray[np.int64],
    files: int,
    bundles: int,
    nbytes: int,
    seconds: float,
    selection: str = "",
) -> dict[str, Any]:
    """The summary of a run's reading as plain data, for its store.

    Parameters
    ----------
    cutflows
        Cutflows of all bundles.
    counts
        Particles of each event, after the cuts.
    files, bundles
        Number of files and of bundles.
    nbytes, seconds
        Memory of the events in bytes, and wall time of the whole reading.
    selection
        Fingerprint of the user's selection.
    """
    total = sum(cutflows, Cutflow())
    return {
        "files": files,
        "entries": total.entries,
        "events": len(counts),
        "events_without_particles": int((counts == 0).sum()),
        "particles_in_files": total.particles,
        "removed": dict(total.removed),
        "absent": dict(total.absent),
        "particles": int(counts.sum()),
        "particles_mean": float(counts.mean()),
        "particles_median": float(np.median(counts)),
        "particles_most": int(counts.max()),
        "bytes_read": total.bytes_read,
        "bytes_in_memory": nbytes,
        "bundles": bundles,
        "bundles_cached": total.cached,
        "seconds": seconds,
        "seconds_of_tasks": total.seconds,
        "selection": selection,
        "doubts": list(total.doubts),
    }


def absent_text(name: str, entries: int) -> str:
    """That a column of the particles is missing in so many entries."""
    return f"{name} is in no branch of {entries:,} entries and counts as its default"


def reading_text(summary: dict[str, Any]) -> str:
    """The summary of a reading in one line."""
    files, without = summary["files"], summary["events_without_particles"]
    removed = ", ".join(
        f"{number:,} by {name}" for name, number in summary["removed"].items() if number
    )
    cuts = f"; of {summary['particles_in_files']:,} were removed {removed}" if removed else ""
    absent = "".join(
        f"; {absent_text(name, number)}" for name, number in summary.get("absent", {}).items()
    )
    cached = (
        f", {summary['bundles_cached']} of them from the cache" if summary["bundles_cached"] else ""
    )
    passed = f" that pass the selection, of {summary['entries']:,}" if summary["selection"] else ""
    return (
        f"read {counted(summary['events'], 'event')}{passed} of {counted(files, 'file')}: "
        f"{summary['particles_mean']:.1f} particles each "
        f"(median {summary['particles_median']:.0f}, at most {summary['particles_most']})"
        f"{f', {without} without any' * (without > 0)}"
        f"{cuts}{absent}; "
        f"{summary['bytes_read'] / 1e6:.1f} MB read, "
        f"{summary['bytes_in_memory'] / 1e6:.1f} MB in {counted(summary['bundles'], 'bundle')}"
        f"{cached}; "
        f"{summary['seconds']:.1f} s"
    )
