"""Cutflow: what was read, and what was removed on the way; and a run's summary of its reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cutflow:
    """What was read of some entries, and what each cut removed.

    Attributes
    ----------
    entries
        Of the files.
    particles
        In the events of these entries that pass the selection, if there is one, before any cut.
    removed
        Particles that each cut removed, in the order in which they are applied.
    bytes_read
        From the files, their headers included.
    seconds
        Wall time of the reading, of all tasks together.
    cached
        Bundles that came from the cache, where bytes are those of the cache.
    """

    entries: int = 0
    particles: int = 0
    removed: tuple[tuple[str, int], ...] = ()
    bytes_read: int = 0
    seconds: float = 0.0
    cached: int = 0

    def __add__(self, other: Cutflow) -> Cutflow:
        removed = dict(self.removed)
        for name, number in other.removed:
            removed[name] = removed.get(name, 0) + number
        return Cutflow(
            self.entries + other.entries,
            self.particles + other.particles,
            tuple(removed.items()),
            self.bytes_read + other.bytes_read,
            self.seconds + other.seconds,
            self.cached + other.cached,
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
    """The summary of a run's reading as plain data, which its store keeps.

    Parameters
    ----------
    cutflows
        Of all bundles.
    counts
        Particles of each event, after the cuts.
    files, bundles, nbytes, seconds
        How many, the memory that the events take, and the wall time of all of it.
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
    }


def reading_text(found: dict[str, Any]) -> str:
    """The summary in one line."""
    files, without = found["files"], found["events_without_particles"]
    removed = ", ".join(
        f"{number:,} by {name}" for name, number in found["removed"].items() if number
    )
    cuts = f"; of {found['particles_in_files']:,} were removed {removed}" if removed else ""
    cached = (
        f", {found['bundles_cached']} of them from the cache" if found["bundles_cached"] else ""
    )
    passed = f" that pass the selection, of {found['entries']:,}" if found["selection"] else ""
    return (
        f"read {found['events']:,} events{passed} of {files} file{'s' * (files > 1)}: {found['particles_mean']:.1f} particles each "
        f"(median {found['particles_median']:.0f}, at most {found['particles_most']})"
        f"{f', {without} without any' * (without > 0)}"
        f"{cuts}; "
        f"{found['bytes_read'] / 1e6:.1f} MB read, {found['bytes_in_memory'] / 1e6:.1f} MB in {found['bundles']} bundles"
        f"{cached}; "
        f"{found['seconds']:.1f} s"
    )
