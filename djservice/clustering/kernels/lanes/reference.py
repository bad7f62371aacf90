"""Lanes as NumPy arrays of length 8.

They are the reference for :mod:`djservice.clustering.kernels.lanes.llvm`, and run without a
compiler.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Lanes = NDArray[np.float64]

#: 2^(k/8) for k below 8.
EIGHTHS = np.array(
    [
        1.0, 1.0905077326652577, 1.189207115002721, 1.2968395546510096,
        1.4142135623730951, 1.5422108254079407, 1.681792830507429, 1.8340080864093424,
    ]
)  # fmt: skip


def load(array: Any, index: int) -> Lanes:
    """Elements ``index`` to ``index + 8``."""
    return np.array(array[index : index + 8])


def store(array: Any, index: int, lanes: Lanes) -> None:
    """Write elements ``index`` to ``index + 8``."""
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
    """``if_below`` where a < b, else ``if_not``."""
    return np.where(a < b, if_below, if_not)


def power_of_two(shifted: Lanes) -> Lanes:
    """2^(k/8) of each integer k that 1.5 2^52 + k holds in its low bits, -8175 < k < 8192."""
    bits = shifted.view(np.int64)
    power: Lanes = (EIGHTHS[bits & 7].view(np.int64) + (bits >> 3 << 52)).view(np.float64)
    return power


def below(a: Lanes, b: Lanes) -> int:
    """Mask of a < b."""
    return int(((a < b) << np.arange(8)).sum())


def smallest_lane(a: Lanes) -> float:
    """The minimum over lanes."""
    return float(a.min())


def smallest_natural(a: Lanes) -> float:
    """The minimum over lanes, none of which is negative."""
    return smallest_lane(a)


def total(a: Lanes) -> float:
    """The sum over lanes, ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))."""
    half = a[:4] + a[4:]
    quarter = half[:2] + half[2:]
    return float(quarter[0] + quarter[1])


def compresses() -> bool:
    """Whether the processor has instructions for :func:`store_where`."""
    return False


def store_where(array: Any, index: int, lanes: Lanes, mask: int) -> None:
    """Write the lanes that the mask has, one after the other, from ``index`` on.

    Up to eight elements may be written, and only those of the mask are of use.
    """
    kept = lanes[(mask >> np.arange(8) & 1).astype(bool)]
    array[index : index + len(kept)] = kept


def holds(owner: Any, other: Any, index: int, a: int, b: int) -> int:
    """Mask of the 32 candidates from ``index`` on that hold object ``a`` or ``b``."""
    owners, others = owner[index : index + 32], other[index : index + 32]
    hits = (owners == a) | (owners == b) | (others == a) | (others == b)
    return sum(1 << int(k) for k in np.flatnonzero(hits))


def lowest(mask: int) -> int:
    """The index of the lowest bit that is set."""
    return (mask & -mask).bit_length() - 1


def thread_bits(mask: int) -> int:
    """The bits of this thread in a mask of up to 64 lanes: all of them."""
    return mask


def bit_count(mask: int) -> int:
    """The number of bits that are set."""
    return mask.bit_count()


def bits_below(mask: int, bit: int) -> int:
    """The number of set bits that are lower than ``bit``."""
    return (mask & ((1 << bit) - 1)).bit_count()


def bits_of(value: float) -> int:
    """The bits of a float64 as an integer."""
    return int(np.float64(value).view(np.int64))


def float_of(bits: int) -> float:
    """The float64 of these bits."""
    return float(np.int64(bits).view(np.float64))


def natural(index: int) -> int:
    """The index itself, which is not negative and below 2^32.

    Compiled code is spared the case of Python's negative indices, and a GPU has it in 32 bits.
    """
    return index


def word(index: int) -> int:
    """The index itself, which is not negative and below 2^32.

    A GPU counts in 32 bits with what is a word where it is used. For a processor it says nothing.
    """
    return index


def width() -> int:
    """The number of float64 in one group of lanes.

    It is 8. On a GPU it is the number of threads of a team if that is larger.
    """
    return 8


def sum_of_eight(value: float) -> float:
    """The sum of the numbers of eight neighbouring threads, in the order of :func:`total`.

    On a processor it is the number itself.
    """
    return value


def seldom(flag: bool) -> bool:
    """The flag itself, which is seldom set.

    Compiled code has what follows from it aside, and not in the way of small events.
    """
    return flag
