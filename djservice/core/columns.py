"""Columns: what a user gives as an array -> numbers, or an error that says what it is instead."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError, OutOfRangeError

#: The number of a processor among the devices of DLPack.
_CPU = 1


def column(
    values: ArrayLike | None, field: str, source: str, *, whole: bool = False
) -> NDArray[Any]:
    """An array of real numbers, or of integers, unchanged.

    Parameters
    ----------
    field, source
        Names of the column and of its input in messages.
    whole
        Whether floats are refused.

    Raises
    ------
    InputError
        If it is not an array, has masked values or None, or holds complex numbers, text, dates,
        booleans or objects.
    """
    expected = "integers" if whole else "numbers"
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise InputError(
            f"{source}: expected {expected} in {field}, without None, found {message}"
        ) from None
    masked = np.ma.is_masked(values)
    if masked or array.dtype.kind not in ("iu" if whole and array.size else "iuf"):
        kind = "masked values" if masked else str(array.dtype)
        raise InputError(
            f"{source}: expected {expected} in {field}, without None, found {kind}. Remove or "
            f"convert them."
        )
    return array


def floats(values: ArrayLike | None, field: str, source: str) -> Floats:
    """An array of real numbers as contiguous float64; see :func:`column`."""
    array = column(values, field, source)
    # The checks of the values report an overflow and a signalling NaN.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)


def on_host(values: Any, field: str) -> NDArray[Any]:
    """An array of any library as one of NumPy; those with DLPack may be on a GPU.

    Raises
    ------
    InputError
        If the array cannot be handed over.
    """
    if isinstance(values, np.ndarray) or not hasattr(values, "__dlpack__"):
        return np.ma.asanyarray(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    try:
        on_cpu = values.__dlpack_device__()[0] == _CPU
        return np.from_dlpack(values) if on_cpu else np.from_dlpack(values, device="cpu")
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        message = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{field}: the {type(values).__name__} cannot be read: {message}. Detach it from "
            "derivatives and convert it to float32 or float64; derivatives in particles are those "
            "of djservice.torch and djservice.jax."
        ) from None


def returned(values: Any, what: str) -> NDArray[Any]:
    """What a user's function of jets returned, as an array of real numbers or booleans.

    Raises
    ------
    InputError
        If it cannot be read as an array, or has masked values or another type.
    """
    try:
        array = np.asarray(values)
    except Exception as error:  # of any library
        raise InputError(
            f"{what} returned a {type(values).__name__} that is no array of numbers: "
            f"{' '.join(str(error).split())[:500]}. Return a NumPy array."
        ) from error
    masked = np.ma.is_masked(values)
    if masked or array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} returned {'masked values' if masked else array.dtype}, expected numbers, NaN "
            "where it is not defined."
        )
    return array


def per_event(values: ArrayLike, events: int, field: str, source: str) -> Floats:
    """One number for each event, from one number or an array of shape (event,).

    Raises
    ------
    InputError
        If it has another shape, or :func:`column` refuses it.
    """
    array = floats(values, field, source)
    if array.shape not in ((), (events,)):
        raise InputError(
            f"{source}: {field} has shape {array.shape}, expected one number or shape ({events},)."
        )
    return np.ascontiguousarray(np.broadcast_to(array, (events,)))


def offsets_of(values: ArrayLike, source: str) -> NDArray[np.int64]:
    """The offsets of a batch.

    Raises
    ------
    InputError
        If they are not integers, do not start at 0, or decrease.
    """
    array = column(values, "offsets", source, whole=True)
    bounds = np.ascontiguousarray(array, dtype=np.int64)
    if array.ndim != 1 or array.size == 0 or bounds[0] != 0 or np.any(np.diff(bounds) < 0):
        raise InputError(
            f"{source}: offsets must be one-dimensional, start at 0 and never decrease."
        )
    return bounds


def rows_of(index: Any, events: int) -> NDArray[np.int64]:
    """The events at an index, which holds positions or is a mask, shape (row,).

    Raises
    ------
    OutOfRangeError
        If there is no such event.
    InputError
        If the index has another shape or kind.
    """
    try:
        chosen = np.atleast_1d(np.asarray(index))
    except (TypeError, ValueError):  # ragged
        chosen = np.empty(0, np.object_)
    if chosen.dtype == np.bool_ and chosen.shape == (events,):
        return np.flatnonzero(chosen)
    if chosen.ndim != 1 or (
        chosen.dtype.kind not in "iu" and (chosen.size or chosen.dtype == object)
    ):
        raise InputError(
            f"expected the position of an event, a slice, an array of positions or a mask of shape "
            f"({events},), found {type(index).__name__} of {chosen.dtype}, shape {chosen.shape}. "
            "Columns are attributes, such as events.pt."
        )
    out = chosen[(chosen < -events) | (chosen >= events)]
    if len(out):
        raise OutOfRangeError(f"there is no event {out[0]} among {events}.")
    return np.arange(events)[chosen.astype(np.int64)]


def identity_of(
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None, events: int, source: str
) -> list[NDArray[Any]]:
    """(run, luminosityBlock, event), each one integer per event; 0 without an identity.

    Raises
    ------
    InputError
        If there are not three columns of integers.
    """
    if identity is None:
        return [np.zeros(events, np.int64)] * 3
    if isinstance(identity, str) or not hasattr(identity, "__iter__"):
        raise InputError(
            f"{source}: identity is {reprlib.repr(identity)}, expected (run, luminosityBlock, event)."
        )
    columns = [column(values, "identity", source) for values in identity]
    wrong = [
        f"{c.dtype} of shape {c.shape}"
        for c in columns
        if c.shape != (events,) or (events and c.dtype.kind not in "iu")
    ]
    if len(columns) != 3 or wrong:
        raise InputError(
            f"{source}: expected identity=(run, luminosityBlock, event), each an integer for each "
            f"of {events} events, found {', '.join(wrong) or f'{len(columns)} columns'}."
        )
    return columns
