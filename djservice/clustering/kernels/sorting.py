"""Sorting particles: by falling d in their events, and the slots of large events by rapidity.

Both sort integers by digits, which are the leading bits of the numbers. What these leave equal is
put in order by the numbers themselves. Equal particles stay in order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.lanes import bits_of, natural
from djservice.clustering.kernels.pseudojets import LARGE, STRETCH, Ids
from djservice.core.typing import Floats

Integers = NDArray[np.int64]

#: The number of bits of a digit.
DIGIT = 11
#: An integer has its key from this bit on, and below it a particle's index.
_KEY = 32


@entry
def sort_particles(
    index: Integers, event: Integers, begins: Integers, work: Integers, counts: Integers,
    first: Floats, second: Floats, third: Floats, fourth: Floats,
) -> None:  # fmt: skip
    """Fill ``index`` with the particles by event, then by four columns.

    Parameters
    ----------
    event, begins
        The event of each particle, rising, and the number of particles before each event, which is
        overwritten.
    work, counts
        Work space, shapes (2, particle) and (2^DIGIT,).
    """
    source, target = work[0], work[1]
    for i in range(len(index)):
        bits = bits_of(first[i])
        if bits < 0:  # so that integers are in the order of the floats
            bits ^= 0x7FFFFFFFFFFFFFFF
        source[i] = (bits >> 33) + (1 << 30) << _KEY | i
    for digit in range(3):
        _sort_by_digit(source, target, len(index), counts, digit)
        source, target = target, source
    for k in range(len(index)):
        i = natural(source[k] & 0xFFFFFFFF)
        place = natural(begins[natural(event[i])])
        index[place] = i
        begins[natural(event[i])] = place + 1
    for k in range(1, len(index)):
        particle = index[k]
        while (
            k > 0
            and event[index[k - 1]] == event[particle]
            and _is_before(particle, index[k - 1], first, second, third, fourth)
        ):
            index[k] = index[k - 1]
            k -= 1
        index[k] = particle


@entry
def fill_slots(
    slots: Ids, offsets: Integers, rapidity: Floats, work: Integers, counts: Integers
) -> None:
    """Fill ``slots`` with the slot of each particle; the work space is as that above."""
    source, target = work[0], work[1]
    for event in range(len(offsets) - 1):
        start, n = offsets[event], offsets[event + 1] - offsets[event]
        sorts = n - STRETCH if n >= LARGE else 0
        for i in range(sorts, n):
            slots[start + i] = i - sorts
        for i in range(sorts):
            step = min(max((rapidity[start + i] + 32.0) * 65536.0, 0.0), 2.0**22 - 1.0)
            source[i] = int(step) << _KEY | i
        if sorts > 0:
            _sort_by_digit(source, target, sorts, counts, 0)
            _sort_by_digit(target, source, sorts, counts, 1)
        for k in range(sorts):
            source[k] &= 0xFFFFFFFF
        for k in range(1, sorts):
            particle = source[k]
            while k > 0 and rapidity[start + particle] < rapidity[start + source[k - 1]]:
                source[k] = source[k - 1]
                k -= 1
            source[k] = particle
        for k in range(sorts):
            slots[start + source[k]] = STRETCH + k


@jit
def _sort_by_digit(
    source: Integers, target: Integers, n: int, counts: Integers, digit: int
) -> None:
    """Sort integers by a digit of their keys; those with the same stay in order."""
    shift = _KEY + DIGIT * digit
    for k in range(len(counts)):
        counts[k] = 0
    for k in range(n):
        counts[natural(source[k] >> shift & (1 << DIGIT) - 1)] += 1
    begin = 0
    for k in range(len(counts)):
        count = counts[k]
        counts[k] = begin
        begin += count
    for k in range(n):
        value = natural(source[k] >> shift & (1 << DIGIT) - 1)
        place = natural(counts[value])
        target[place] = source[k]
        counts[value] = place + 1


@jit
def _is_before(
    a: int, b: int, first: Floats, second: Floats, third: Floats, fourth: Floats
) -> bool:
    """Whether particle ``a`` comes before ``b`` by the columns, the first of which counts most."""
    if first[a] != first[b]:
        return bool(first[a] < first[b])
    if second[a] != second[b]:
        return bool(second[a] < second[b])
    if third[a] != third[b]:
        return bool(third[a] < third[b])
    return bool(fourth[a] < fourth[b])
