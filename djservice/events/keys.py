"""Event identities as 64-bit keys: the seed of every random draw and of the batches.

A draw is keyed by its event, and never by the place or time of the draw. Results therefore do not
depend on files, bundles, workers, threads, retries or resumption.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def text_key(text: str) -> np.uint64:
    """64 bits of a text, the same on every machine."""
    return np.uint64(
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    )


def mix(key: Any, value: Any) -> Keys:
    """Combine keys with integers by one splitmix64 step.

    The result is a bijection in ``value`` for every fixed ``key``.

    Parameters
    ----------
    key, value
        Integers or arrays of integers, broadcast against each other, modulo 2**64.

    References
    ----------
    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(value).astype(np.uint64) ^ np.asarray(key).astype(np.uint64)
        z = np.asarray(z + np.uint64(0x9E3779B97F4A7C15))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def event_keys(dataset: str, run: Any, luminosity_block: Any, event: Any) -> Keys:
    """Keys of events that have (run, luminosityBlock, event)."""
    return mix(mix(mix(text_key(f"event:{dataset}"), run), luminosity_block), event)


def entry_keys(dataset: str, basename: str, entry: Any) -> Keys:
    """Keys of events that are identified only by file name and entry."""
    return mix(text_key(f"entry:{dataset}:{basename}"), entry)


def draw_keys(keys: Keys, seed: int, stream: str) -> Keys:
    """Keys of the random numbers that ``stream`` of a run draws for each event."""
    return mix(mix(text_key(f"draw:{stream}"), np.uint64(int(seed))), keys)
