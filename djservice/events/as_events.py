"""``dj.as_events``: the one door by which particles in memory become an EventBatch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.columns import floats, on_host
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.event_columns import EventKeywords, takes_columns
from djservice.events.from_awkward import without_energy


@takes_columns
def as_events(
    particles: Any, mask: ArrayLike | None = None, **columns: Unpack[EventKeywords]
) -> EventBatch:
    """Events of particles in memory, whatever array holds them.

    :func:`djservice.cluster` and all functions that take particles begin with it. Call it to give
    weights, truths or identities, or to check and convert the particles once for several calls.

    Parameters
    ----------
    particles
        One of

        - an :class:`djservice.EventBatch`, which stays unchanged;
        - awkward records, shape (event, var), with the fields of
          :meth:`djservice.EventBatch.from_awkward`, ``vector``'s arrays among them;
        - a NumPy array of ``vector``, or another structured one with such fields, shape
          (event, particle);
        - numbers of shape (event, particle, 4), which are px, py, pz and E in GeV, in an array of
          NumPy, PyTorch, JAX, CuPy or any other library with DLPack. Those on a GPU are copied to
          the host.
    mask
        Shape (event, particle), for the last two: True where there is a particle, False for
        padding. A masked array of NumPy has its own.
    columns
        See :meth:`djservice.EventBatch.from_arrays`. An EventBatch has its own.

    Raises
    ------
    InputError
        If the particles are nothing of that, a mask or a column comes with particles that have
        their own, or an array is refused by :meth:`djservice.EventBatch.from_arrays`. The message
        names the first bad event and particle.
    """
    if isinstance(particles, EventBatch):
        return _unchanged(particles, {**columns, "mask": mask})
    import awkward as ak

    if isinstance(particles, ak.Array):
        if mask is not None:
            raise InputError(
                "mask: expected none with an awkward array, whose lists have their lengths. Leave "
                "particles out with particles[mask]."
            )
        return EventBatch.from_awkward(particles, **columns)
    if isinstance(particles, np.ndarray) and particles.dtype.names:
        return EventBatch.from_awkward(_records(particles, mask), **columns)
    if isinstance(particles, np.ndarray) or hasattr(particles, "__dlpack__"):
        return EventBatch.from_arrays(**_padded(particles, mask), **columns)
    raise InputError(
        f"expected particles, found {type(particles).__name__}: an EventBatch, as djservice.read "
        "returns it, an awkward array of records, an array of vector, or an array of shape (event, "
        "particle, 4). Compute a lazy array first; flat columns go through EventBatch.from_arrays."
    )


def _unchanged(events: EventBatch, columns: Mapping[str, Any]) -> EventBatch:
    """The batch, if it comes without what it has already."""
    names = [name for name, values in columns.items() if values is not None]
    if names:
        raise InputError(
            f"{', '.join(names)}: an EventBatch has its own. Give it where the batch is built."
        )
    return events


def _records(particles: NDArray[Any], mask: ArrayLike | None) -> Any:
    """Awkward records of a structured array, those of a ``vector`` with its behaviour."""
    import awkward as ak

    from djservice.core.vector_library import vector

    if particles.ndim != 2:
        raise InputError(
            f"particles have shape {particles.shape}, expected (event, particle). One event is an "
            "array of length 1."
        )
    known = isinstance(particles, vector.Vector)
    plain = np.ma.getdata(particles).view(np.ndarray)
    if isinstance(particles, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(particles)
        mask = _mask_of(
            np.stack([np.asarray(hidden)[name] for name in hidden.dtype.names or ()], axis=-1), mask
        )
    filled = _filled(mask, particles.shape)
    counts = filled.sum(axis=1)
    fields = {name: ak.unflatten(plain[name][filled], counts) for name in plain.dtype.names}
    name = type(particles).__name__.replace("Numpy", "") if known else None
    return ak.zip(
        fields, with_name=name, behavior=vector.backends.awkward.behavior if known else None
    )


def _padded(particles: Any, mask: ArrayLike | None) -> dict[str, Any]:
    """Flat columns of padded four-momenta, with their offsets."""
    array = on_host(particles, "particles")
    if array.ndim != 3 or array.shape[-1] != 4:
        raise InputError(
            f"particles have shape {array.shape}, expected (event, particle, 4) with px, py, pz "
            "and E, and a mask of shape (event, particle) if there is padding."
        )
    if isinstance(array, np.ma.MaskedArray):
        mask = _mask_of(np.ma.getmaskarray(array), mask)
    filled = _filled(mask, array.shape[:2])
    momenta = floats(np.ma.getdata(array)[filled], "particles", "arrays")
    empty = np.argwhere(filled)[~momenta.any(axis=1)]
    if len(empty):
        event, slot = empty[0].tolist()
        raise InputError(
            f"event {event}, particle {slot}: px, py, pz and E are 0 ({len(empty)} such particles). "
            "Give a mask of shape (event, particle), True where there is a particle."
        )
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(filled.sum(axis=1))])
    names = ("px", "py", "pz", "E")
    flat = {name: momenta[:, k] for k, name in enumerate(names)}
    return {**without_energy(flat, offsets), "offsets": offsets}


def _mask_of(hidden: NDArray[np.bool_], mask: ArrayLike | None) -> NDArray[np.bool_]:
    """The mask of a masked array, from what is hidden of each particle."""
    whole = np.asarray(hidden.all(axis=-1))
    if mask is not None or (hidden.any(axis=-1) != whole).any():
        raise InputError(
            "particles: expected a masked array without another mask, and each particle with all "
            "its numbers masked, or none."
        )
    return ~whole


def _filled(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which slots hold a particle."""
    slots = np.ones(shape, np.bool_) if mask is None else on_host(mask, "mask")
    if slots.dtype != np.bool_ or slots.shape != shape or np.ma.is_masked(slots):
        raise InputError(
            f"mask is {slots.dtype} of shape {slots.shape}, expected bool of shape {shape}, True "
            "where there is a particle."
        )
    return np.ma.getdata(slots)
