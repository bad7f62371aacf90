"""Mini-batches: the events of each iteration, in a random order that differs between epochs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.errors import RunError
from djservice.events.keys import Keys, mix, text_key


class MiniBatches:
    """The mini-batches of a descent: equal parts of each epoch's random order.

    The remainder of an epoch is dropped.

    Parameters
    ----------
    keys
        Identities of the events to choose from.
    seed
        Seed of the run.
    batch_events
        Events of a mini-batch; all events if there are fewer.
    share_held_back
        Share of all events that is held back, and so not in ``keys``.
    """

    def __init__(
        self, keys: Keys, seed: int, batch_events: int, share_held_back: float = 0.0
    ) -> None:
        self.keys, self.seed, self.share_held_back = keys, seed, share_held_back
        self.batch = min(batch_events, len(keys))
        self._epoch, self._bounds = -1, np.empty(0, np.uint64)

    @property
    def remainder(self) -> int:
        """Number of events that are dropped at the end of each epoch."""
        return len(self.keys) % self.batch

    def minibatch(self, iteration: int) -> MiniBatch:
        """The mini-batch of an iteration."""
        epoch, batch = divmod(iteration, len(self.keys) // self.batch)
        if epoch != self._epoch:
            self._epoch, self._bounds = epoch, np.sort(ranks(self.keys, self.seed, epoch))
        first = batch * self.batch
        low, high = self._bounds[first], self._bounds[first + self.batch - 1]
        return MiniBatch(self.seed, epoch, int(low), int(high), self.share_held_back)


@dataclass(frozen=True)
class MiniBatch:
    """A mini-batch: the events whose rank in an epoch lies within two inclusive bounds.

    Events that are held back are excluded. Ranks are hashes of (seed, epoch, identity), so every
    bundle finds its share without a list of events.
    """

    seed: int
    epoch: int
    low: int
    high: int
    #: Share of the events that is not used for training.
    share_held_back: float = 0.0

    def of(self, keys: Keys) -> NDArray[np.bool_]:
        """Mask of the events that are in the mini-batch, shape (event,)."""
        rank = ranks(keys, self.seed, self.epoch)
        inside = (rank >= np.uint64(self.low)) & (rank <= np.uint64(self.high))
        return np.asarray(inside & ~held_back(keys, self.seed, self.share_held_back))


@dataclass(frozen=True)
class HeldBack:
    """The events that are not used to train a radius model."""

    seed: int
    share: float

    def of(self, keys: Keys) -> NDArray[np.bool_]:
        """Mask of the events that are held back, shape (event,)."""
        return held_back(keys, self.seed, self.share)


def ranks(keys: Keys, seed: int, epoch: int) -> Keys:
    """The rank of each event in the order of an epoch, a bijection of its key."""
    return mix(mix(mix(text_key("batch"), seed), epoch), keys)


def held_back(keys: Keys, seed: int, share: float) -> NDArray[np.bool_]:
    """Mask of the events that are held back, shape (event,).

    A hash of seed and identity decides, so the mask does not depend on the bundles.
    """
    return np.asarray(mix(mix(text_key("held back"), seed), keys) < np.float64(share) * 2.0**64)


def some_held_back(keys: Keys, seed: int, share: float, section: str) -> NDArray[np.bool_]:
    """Mask of the events that are held back; some are, and some train, unless the share is 0.

    Raises
    ------
    RunError
        If all events are held back, or none of a share; the message names the section of the run.
    """
    mask = held_back(keys, seed, share)
    if mask.all() or (share > 0.0 and not mask.any()):
        raise RunError(
            f"{int(mask.sum())} of {len(mask)} events are held back ({section}.held_back is "
            f"{share:g}): expected some to train on and some to score on. Use more events, or "
            "another share."
        )
    return mask
