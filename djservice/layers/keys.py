"""Identities and seeds as halves of 64-bit numbers, which frameworks of 32 bits can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.bounds import require
from djservice.core.columns import column
from djservice.errors import InputError
from djservice.events.keys import entry_keys, event_keys

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def event_identity(
    run: ArrayLike, luminosity_block: ArrayLike, event: ArrayLike
) -> NDArray[np.uint32]:
    """Identities of events from their three numbers, uint32 of shape (..., 2).

    They are the halves of :attr:`djservice.EventBatch.key`, so the draws are those of all other
    functions. An array of identities can be an argument of compiled or mapped functions.

    Raises
    ------
    InputError
        If a number is no integer, or the shapes differ.
    """
    numbers = [
        column(values, name, "identity", whole=True)
        for name, values in (
            ("run", run), ("luminosity_block", luminosity_block), ("event", event),
        )
    ]  # fmt: skip
    if len({array.shape for array in numbers}) > 1:
        raise InputError(
            "run, luminosity_block and event have the shapes "
            f"{', '.join(str(array.shape) for array in numbers)}, expected the same."
        )
    return halves(event_keys("", *numbers))


def default_identity(shape: tuple[int, ...]) -> NDArray[np.uint32]:
    """Identities by the place of an event in its array."""
    return halves(entry_keys("", "arrays", np.arange(int(np.prod(shape))).reshape(shape)))


def seed_halves(seed: Any) -> NDArray[np.uint32]:
    """A seed as two halves, shape (2,).

    Raises
    ------
    InputError
        If it is no whole number within its bounds.
    """
    require("seed", seed)
    return halves(np.asarray(int(seed), np.uint64))


def check_identity(identity: Any, leading: tuple[int, ...]) -> None:
    """Refuse what are no halves of identities, one for each event."""
    kind = str(getattr(identity, "dtype", type(identity).__name__)).removeprefix("torch.")
    shape = tuple(getattr(identity, "shape", ()))
    if shape != (*leading, 2) or not kind.startswith(("uint", "int")):
        raise InputError(
            f"identity is {kind} of shape {shape}, expected (run, luminosityBlock, event), each an "
            f"integer for each event {leading}, or integers of shape {(*leading, 2)} from "
            "event_identity."
        )


def halves(numbers: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The high and the low half of 64-bit numbers, along a new last axis."""
    return np.stack([numbers >> _HALF, numbers & _LOW], axis=-1).astype(np.uint32)


def whole(parts: NDArray[Any]) -> NDArray[np.uint64]:
    """64-bit numbers from their halves on the last axis."""
    high, low = np.moveaxis(parts.astype(np.uint64) & _LOW, -1, 0)
    return np.asarray(high << _HALF | low)
