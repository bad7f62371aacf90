"""A job for the kernels, whatever they run on: the trees of some events, where their results go, and what can go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.grow import Batch, Given, Results
from djservice.clustering.kernels.tree import Setting


@dataclass(frozen=True)
class Job:
    """Trees to be grown, item = event * trees + tree, and the arrays for their results.

    Those arrays are on the host, or on the GPU if they are to stay there. ``states`` says whether states are wanted;
    ``first_tree`` and ``iteration`` key the random numbers.
    """

    batch: Batch
    setting: Setting
    trees: int
    first_tree: int
    iteration: int
    given: Given
    results: Results
    states: bool

    @property
    def counts(self) -> NDArray[np.int64]:
        """Particles of each event."""
        return np.diff(self.batch.offsets)

    @property
    def largest(self) -> int:
        """Particles of the largest event, 1 at least."""
        return max(int(self.counts.max(initial=0)), 1)


class TreeFailure(Exception):
    """A tree that cannot be grown: the kernel's status, and its item."""

    def __init__(self, status: int, item: int) -> None:
        super().__init__(status, item)
        self.status, self.item = status, item


class NoRoomError(Exception):
    """An event that does not fit into a GPU's memory with its trees; bytes that it needs, and that it could have."""

    def __init__(self, event: int, needed: int, free: int) -> None:
        super().__init__(event, needed, free)
        self.event, self.needed, self.free = event, needed, free
