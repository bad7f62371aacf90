"""Jets of the events of an input on the workers of a cluster, as clouds of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.awkward_jets import cluster_jets
from djservice.config.jets import JetsSection
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.events.keys import Keys


@dataclass(frozen=True)
class Clouds:
    """Jets or whole events as points.

    Attributes
    ----------
    points
        pT, rapidity, phi and mass of all particles, shape (particle, 4).
    bounds
        Shape (cloud + 1,): cloud i owns the particles ``bounds[i]:bounds[i + 1]``.
    key, place
        Shape (cloud,): identity of the event, and place in the event.
    identity
        Run, luminosity block, event and entry of each cloud, each of shape (cloud,).
    """

    points: Floats
    bounds: NDArray[np.int64]
    key: Keys
    place: NDArray[np.int64]
    identity: tuple[NDArray[Any], ...]

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, number: int) -> Floats:
        return self.points[self.bounds[number] : self.bounds[number + 1]]

    @property
    def summary(self) -> tuple[NDArray[Any], ...]:
        """The columns of :class:`djservice.store.jet_table.JetTable`."""
        pt = [float(self[i][:, 0].sum()) for i in range(len(self))]
        return self.key, *self.identity, self.place, np.array(pt, np.float64), np.diff(self.bounds)


def clouds_of(bundle: EventBatch, jets: JetsSection | None) -> Clouds:
    """The leading jets of the events of a bundle, or the events that have particles."""
    points = np.column_stack([bundle.pt, bundle.rapidity, bundle.phi, bundle.mass])
    if jets is None:
        full = np.flatnonzero(bundle.counts)
        bounds = np.concatenate([[0], np.cumsum(bundle.counts[full])])
        place = np.zeros(len(full), np.int64)
        return Clouds(points, bounds, bundle.key[full], place, _identity(bundle, full))
    import awkward as ak

    leading = cluster_jets(
        bundle,
        radius=jets.radius,
        power=jets.power,
        pt_min=jets.pt_min,
        jets=jets.number,
        threads=1,
        device="cpu",
    )
    number = ak.to_numpy(ak.num(leading)).astype(np.int64)
    event = np.repeat(np.arange(len(bundle)), number)
    place = np.arange(len(event)) - np.repeat(np.cumsum(number) - number, number)
    lists = ak.flatten(leading.constituents)
    sizes = ak.to_numpy(ak.num(lists)).astype(np.int64)
    rows = ak.to_numpy(ak.flatten(lists)) + np.repeat(bundle.offsets[event], sizes)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    return Clouds(points[rows], bounds, bundle.key[event], place, _identity(bundle, event))


def _identity(bundle: EventBatch, rows: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Run, luminosity block, event and entry of events."""
    run, block = (column[rows].astype(np.int64) for column in (bundle.run, bundle.luminosity_block))
    return run, block, bundle.event[rows], bundle.entry[rows]


def group_size(particles: NDArray[np.int64], most: int, spectral: bool = False) -> int:
    """Number of clouds in a group, from the numbers of their particles.

    There are eight groups of a small sample, and groups of ``most`` otherwise. Those of spectra
    also have at most 64 MB of pairs, for the largest cloud.
    """
    size = min(most, math.ceil(len(particles) / 8))
    if spectral:
        size = min(size, 8_000_000 // int(particles.max()) ** 2)
    return max(1, size)


def pieces(sizes: Sequence[int], size: int) -> list[list[tuple[int, int, int]]]:
    """The groups of clouds, each as pieces (bundle, first, last + 1) in order."""
    first = np.concatenate([[0], np.cumsum(sizes)])
    groups = []
    for start in range(0, int(first[-1]), size):
        stop = min(start + size, int(first[-1]))
        bundles = range(
            int(np.searchsorted(first, start, side="right")) - 1,
            int(np.searchsorted(first, stop, side="left")),
        )
        cut = [
            (i, max(start - int(first[i]), 0), min(stop, int(first[i + 1])) - int(first[i]))
            for i in bundles
        ]
        groups.append([piece for piece in cut if piece[1] < piece[2]])
    return groups
