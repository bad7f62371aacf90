"""Random numbers of augmentations and emissions, from keys of events and particles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import exp, log
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.events.keys import Keys, mix


def uniform(keys: Keys, draw: int) -> Floats:
    """A number between 0 and 1, without the ends, from each key."""
    bits = mix(keys, draw) >> np.uint64(12)
    return np.asarray((bits.astype(np.float64) + 0.5) * 2.0**-52)


def keys_of_particles(events: EventBatch, keys: Keys) -> Keys:
    """A key for each particle, from those of the events and its place in the event."""
    place = np.arange(len(events.pt)) - np.repeat(events.offsets[:-1], events.counts)
    return mix(np.repeat(keys, events.counts), place)


def in_proportion_to_pt(
    events: EventBatch, event: NDArray[np.int64], uniform: Floats
) -> NDArray[np.int64]:
    """A particle of each of the given events, chosen in proportion to pT."""
    host = np.empty(len(event), np.int64)
    for number in np.unique(event):
        first, last = events.offsets[number], events.offsets[number + 1]
        sums, rows = np.cumsum(events.pt[first:last]), event == number
        host[rows] = first + np.searchsorted(sums, uniform[rows] * sums[-1], side="right")
    return np.minimum(host, events.offsets[event + 1] - 1)


def altarelli_parisi(uniform: Floats) -> Floats:
    """z of the law (1 + z^2) / (1 - z) below 0.999, by the inverse of its integral."""
    depth = np.linspace(0.0, log(1e3), 4001)
    z = 1.0 - exp(-depth)
    integral = 2.0 * depth - z - 0.5 * z * z
    return np.asarray(np.clip(np.interp(uniform * integral[-1], integral, z), 1e-12, None))
