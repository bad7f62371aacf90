"""Which events an iteration takes: batches of a fixed size in an order that every epoch has of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.events.keys import Keys, mix, text_key


class MiniBatches:
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

    def __init__(
        self, keys: Keys, seed: int, batch_events: int, share_held_back: float = 0.0
    ) -> None:
        self.keys, self.seed, self.share_held_back = keys, seed, share_held_back
        self.batch = min(batch_events, len(keys))
        self._epoch, self._bounds = -1, np.empty(0, np.uint64)

    @property
    def remainder(self) -> int:
        """Events left out at the end of each epoch."""
        return len(self.keys) % self.batch

    def at(self, iteration: int) -> MiniBatch:
        """The events of an iteration."""
        epoch, batch = divmod(iteration, len(self.keys) // self.batch)
        if epoch != self._epoch:
            self._epoch, self._bounds = epoch, np.sort(ranks(self.keys, self.seed, epoch))
        first = batch * self.batch
        low, high = self._bounds[first], self._bounds[first + self.batch - 1]
        return MiniBatch(self.seed, epoch, int(low), int(high), self.share_held_back)


@dataclass(frozen=True)
class MiniBatch:
    """A batch: the events whose rank in an epoch lies between two bounds, both included, but for those held back.

    Ranks are hashes of (seed, epoch, identity), so every bundle finds its own share without a list of events.
    """

    seed: int
    epoch: int
    low: int
    high: int
    #: Share of the events that is never trained on.
    share_held_back: float = 0.0

    def of(self, keys: Keys) -> NDArray[np.bool_]:
        """Which events are in it."""
        rank = ranks(keys, self.seed, self.epoch)
        inside = (rank >= np.uint64(self.low)) & (rank <= np.uint64(self.high))
        return np.asarray(inside & ~held_back(keys, self.seed, self.share_held_back))


@dataclass(frozen=True)
class HeldBack:
    """The events that a radius model is not trained on."""

    seed: int
    share: float

    def of(self, keys: Keys) -> NDArray[np.bool_]:
        """Which events they are."""
        return held_back(keys, self.seed, self.share)


def ranks(keys: Keys, seed: int, epoch: int) -> Keys:
    """The order in which an epoch goes through the events: a bijection of their keys."""
    return mix(mix(mix(text_key("batch"), seed), epoch), keys)


def held_back(keys: Keys, seed: int, share: float) -> NDArray[np.bool_]:
    """Which events are held back: a share of them by a hash of seed and identity, whatever the bundles."""
    return np.asarray(mix(mix(text_key("held back"), seed), keys) < np.float64(share) * 2.0**64)
