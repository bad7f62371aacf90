"""Jobs for the kernels of either device, and the errors of a job.

A job holds the trees to grow and the arrays for their results.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting


@dataclass(frozen=True)
class TreeJob:
    """Trees to grow, with item = event * trees + tree, and the arrays for their results.

    Attributes
    ----------
    batch
        Events with their particles.
    setting
        Settings of the kernels.
    trees
        Trees per event.
    first_tree, iteration
        Keys of the random numbers.
    imposed
        Histories and flips that the trees follow.
    results
        Arrays for the results, on the host, or on the GPU if they are to stay there.
    states
        Whether the states of growing trees are kept.
    cotangents
        Cotangents of the trees, and the sums for those of the particles; None if not wanted.
    """

    batch: EventArrays
    setting: Setting
    trees: int
    first_tree: int
    iteration: int
    imposed: Imposed
    results: Results
    states: bool
    cotangents: Cotangents | None = None

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of particles of each event."""
        return np.diff(self.batch.offsets)

    @property
    def largest(self) -> int:
        """Number of particles of the largest event, at least 1."""
        return max(int(self.counts.max(initial=0)), 1)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Items of one event, up to the next start, are grown one after the other by one thread.

        They are single trees, or with cotangents the trees that are added to the same sums.
        """
        items = np.arange(len(self.counts) * self.trees)
        if self.cotangents is None:
            return items
        begins = np.diff(self.cotangents.rows, prepend=-1) != 0
        starts: NDArray[np.int64] = items[begins | (items % self.trees == 0)]
        return starts


class TreeFailure(Exception):
    """Failure of a tree that cannot be grown, with the kernel's status and the item."""

    def __init__(self, status: int, item: int) -> None:
        super().__init__(status, item)
        self.status, self.item = status, item


class NoRoomError(Exception):
    """Failure of an event that does not fit into a GPU's memory together with its trees.

    It carries the bytes that the event needs and those that are free.
    """

    def __init__(self, event: int, needed: int, free: int) -> None:
        super().__init__(event, needed, free)
        self.event, self.needed, self.free = event, needed, free
