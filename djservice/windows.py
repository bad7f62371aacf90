"""Which events an iteration takes: batches of a fixed size in an order that every epoch has of its own."""

from __future__ import annotations

import numpy as np

from djservice.identity import Keys
from djservice.tasks import Window, ranks


class Windows:
    """The events of each iteration: stretches of an order that every epoch has of its own; an epoch's remainder is dropped.

    Parameters
    ----------
    keys
        Identities of the events to choose from.
    seed
        Of the run.
    batch_events
        How many at a time; all, if there are fewer.
    share_held_back
        Of all events, which are not among the keys.
    """

    def __init__(self, keys: Keys, seed: int, batch_events: int, share_held_back: float = 0.0) -> None:
        self.keys, self.seed, self.share_held_back = keys, seed, share_held_back
        self.batch = min(batch_events, len(keys))
        self._epoch, self._bounds = -1, np.empty(0, np.uint64)

    @property
    def remainder(self) -> int:
        """Events left out at the end of each epoch."""
        return len(self.keys) % self.batch

    def at(self, iteration: int) -> Window:
        """The events of an iteration."""
        epoch, batch = divmod(iteration, len(self.keys) // self.batch)
        if epoch != self._epoch:
            self._epoch, self._bounds = epoch, np.sort(ranks(self.keys, self.seed, epoch))
        first = batch * self.batch
        low, high = self._bounds[first], self._bounds[first + self.batch - 1]
        return Window(self.seed, epoch, int(low), int(high), self.share_held_back)
