"""Lanes as arrays of length 8: the reference for :mod:`djservice.clustering.kernels.lanes.llvm`, and what runs without a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Lanes = NDArray[np.float64]


def load(array: Any, index: int) -> Lanes:
    """Elements ``at`` to ``at + 8``."""
    return np.array(array[index : index + 8])


def store(array: Any, index: int, lanes: Lanes) -> None:
    """Write elements ``at`` to ``at + 8``."""
    array[index : index + 8] = lanes


def fill(value: float) -> Lanes:
    """``value`` in every lane."""
    return np.full(8, value)


def fma(a: Lanes, b: Lanes, c: Lanes) -> Lanes:
    """a b + c, rounded once (here twice: numpy has no fused operation)."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(a * b + c)


def least(a: Lanes, b: Lanes) -> Lanes:
    """The smaller of each lane."""
    return np.where(a < b, a, b)


def absolute(a: Lanes) -> Lanes:
    """|a|."""
    return np.abs(a)


def where_below(a: Lanes, b: Lanes, if_below: Lanes, if_not: Lanes) -> Lanes:
    """``then`` where a < b, else ``otherwise``."""
    return np.where(a < b, if_below, if_not)


def power_of_two(shifted: Lanes) -> Lanes:
    """2^k of each integer k that 1.5 2^52 + k holds in its low bits, -1022 <= k <= 1023."""
    return ((shifted.view(np.int64) + 1023) << 52).view(np.float64)


def below(a: Lanes, b: Lanes) -> int:
    """Mask of a < b."""
    return int((a < b) @ (1 << np.arange(8)))


def smallest_lane(a: Lanes) -> float:
    """The minimum over lanes."""
    return float(a.min())


def total(a: Lanes) -> float:
    """The sum over lanes, ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))."""
    half = a[:4] + a[4:]
    quarter = half[:2] + half[2:]
    return float(quarter[0] + quarter[1])


def holds(owner: Any, other: Any, index: int, a: int, b: int) -> int:
    """Mask of the 32 options from ``at`` on that hold object ``a`` or ``b``."""
    owners, others = owner[index : index + 32], other[index : index + 32]
    hits = (owners == a) | (owners == b) | (others == a) | (others == b)
    return sum(1 << int(k) for k in np.flatnonzero(hits))


def lowest(mask: int) -> int:
    """The lowest bit that is set."""
    return (mask & -mask).bit_length() - 1


def thread_bits(mask: int) -> int:
    """Of a mask of up to 64 lanes the bits of this thread's: all."""
    return mask


def bit_count(mask: int) -> int:
    """How many bits are set."""
    return mask.bit_count()


def bits_below(mask: int, bit: int) -> int:
    """How many of the bits are set that are lower than ``bit``."""
    return (mask & ((1 << bit) - 1)).bit_count()


def bits_of(value: float) -> int:
    """The bits of a float64 as an integer."""
    return int(np.float64(value).view(np.int64))


def float_of(bits: int) -> float:
    """The float64 of these bits."""
    return float(np.int64(bits).view(np.float64))


def natural(index: int) -> int:
    """The index itself, which is not negative: spares compiled code the case of Python's negative indices."""
    return index


def width() -> int:
    """float64 in one group of lanes: 8, and on a GPU as many as a team has threads if these are more."""
    return 8


def sum_of_eight(value: float) -> float:
    """Sum of the numbers of eight neighbouring threads of a team, in the order of :func:`total`; on a processor the number itself."""
    return value
