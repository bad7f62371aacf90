"""Padded arrays of four-momenta with a mask -> an EventBatch, or an error that names the event."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.momenta import from_components, is_timelike


def check_shapes(particles: Any, mask: Any, radius: Any, rigidity: Any) -> tuple[int, ...]:
    """The leading axes of the particles, after a look at the shapes and types of arrays.

    The arrays are those of any framework. Their values are not read.

    Raises
    ------
    InputError
        If a shape or a type has no meaning.
    """
    shape, kind = tuple(particles.shape), _kind(particles)
    if len(shape) < 2 or shape[-1] != 4 or shape[-2] == 0:
        raise InputError(
            f"particles have shape {shape}, expected (..., particle, 4) with px, py, pz and E."
        )
    if kind not in ("float32", "float64"):
        raise InputError(f"particles are {kind}, expected float32 or float64.")
    if tuple(mask.shape) != shape[:-1] or _kind(mask) != "bool":
        raise InputError(
            f"the mask is {_kind(mask)} of shape {tuple(mask.shape)}, expected bool of shape "
            f"{shape[:-1]}, True where there is a particle."
        )
    for name, values in (("radius", radius), ("rigidity", rigidity)):
        if tuple(values.shape) not in ((), shape[:-2]):
            raise InputError(
                f"{name} has shape {tuple(values.shape)}, expected one number or one per event "
                f"{shape[:-2]}."
            )
    return shape[:-2]


def to_batch(particles: Floats, mask: NDArray[np.bool_], keys: NDArray[np.uint64]) -> EventBatch:
    """The events of padded particles, without the padding.

    Parameters
    ----------
    particles, mask
        Shape (..., particle, 4), px, py, pz and E in GeV, and (..., particle).
    keys
        Identities of the events, in their flat order.

    Raises
    ------
    InputError
        If the mask leaves no particle of an event, or a particle is not finite, has no pT, or an E
        below its momentum. The message names the first such event.
    """
    empty = np.argwhere(~mask.any(axis=-1))
    if len(empty):
        raise InputError(
            f"{event_name(empty[0])}: the mask leaves no particle, expected one or more. Leave out "
            "the event."
        )
    px, py, pz, energy = np.moveaxis(particles[mask], -1, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        pt2 = px * px + py * py
        momentum = np.sqrt(pt2 + pz * pz)
    for good, expected in (
        (np.isfinite(particles[mask]).all(axis=-1), "finite numbers"),
        (pt2 > 0.0, "a pT above 0. Leave padding to the mask"),
        (is_timelike(momentum, energy), "an E of |p| or more"),
    ):
        _refuse(particles, mask, np.asarray(good), expected)
    coordinates: dict[str, Any] = from_components(px, py, pz, energy)
    batch = EventBatch.from_arrays(
        **coordinates,
        offsets=np.concatenate([[0], np.cumsum(np.atleast_1d(mask.sum(axis=-1)))]),
        source="particles",
    )
    return replace(batch, key=keys)


def event_name(index: Any) -> str:
    """Name of an event in messages, by its place on the leading axes."""
    numbers = [int(i) for i in index]
    return f"event {numbers[0] if len(numbers) == 1 else tuple(numbers)}" if numbers else "event"


def _kind(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def _refuse(
    particles: Floats, mask: NDArray[np.bool_], good: NDArray[np.bool_], expected: str
) -> None:
    if not good.all():
        *event, slot = np.argwhere(mask)[np.flatnonzero(~good)[0]]
        momentum = particles[(*event, slot)].tolist()
        raise InputError(
            f"{event_name(event)}, particle {slot}: px, py, pz, E are {momentum}, expected {expected}."
        )
