"""The stock of an event: its closest pairs of particles by rising distance, made once and shared by all its trees.

q = D R^2 of a pair of particles does not depend on R or on the rigidity. So the pairs are put in order once per event,
and a tree that raises the threshold of its list takes the next stretch instead of looking for them. The order is that
of levels, two to a factor of 2 in q: the exponent of the float and the first bit of its mantissa. Thresholds are edges
of levels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.kernels.jit import jit
from djservice.kernels.objects import Floats, Ids, Objects, row_distances

#: Bits below those that make the level of a float64.
_SHIFT = 51
#: The level of 2^-256: everything below it, 0 too, counts as level 0; and what is above level 1022 is not in the stock.
_FIRST = 2 * (1023 - 256)
LEVELS = 1024


class Stock(NamedTuple):
    """Pairs of particles by level: ``q`` and ids; where the levels end, ``ends[level]``; and the edge ``top[0]`` of the last."""

    q: Floats
    owner: Ids
    other: Ids
    ends: NDArray[np.int64]
    top: Floats
    top_bits: NDArray[np.int64]


@jit
def level(bits: int) -> int:
    """The level of a distance that is seen as an integer."""
    return min(max((bits >> _SHIFT) - _FIRST, 0), LEVELS - 1)


@jit
def edge_above(q: float, cell: Floats, cell_bits: NDArray[np.int64]) -> float:
    """The edge between levels that is next above ``q``; infinity above all levels."""
    cell[0] = q
    if level(cell_bits[0]) >= LEVELS - 1:
        return math.inf
    cell_bits[0] = (level(cell_bits[0]) + 1 + _FIRST) << _SHIFT
    return float(cell[0])


@jit
def stock_end(stock: Stock, threshold: float, cell: Floats, cell_bits: NDArray[np.int64]) -> int:
    """How many pairs of the stock lie below an edge."""
    cell[0] = threshold
    return int(stock.ends[level(cell_bits[0]) - 1])


@jit
def fill_stock(
    objects: Objects, n: int, stock: Stock, row: Floats, row_bits: NDArray[np.int64], counts: NDArray[np.int64]
) -> None:
    """Put the closest pairs in the stock, whole levels and up to n^1.5 pairs; sets ``objects.lower`` for the others.

    More would be dead when their turn comes.
    """
    for k in range(LEVELS):
        counts[k] = 0
    for i in range(1, n):
        row_distances(row, objects, i, i)
        for j in range(i):
            counts[level(row_bits[j])] += 1
    top, held = 0, 0  # levels below top are held
    while top < LEVELS - 1 and held + counts[top] <= n * math.sqrt(n):  # of this event alone, whatever room there is
        held += counts[top]
        top += 1
    if top > 0:
        stock.top_bits[0] = (top + _FIRST) << _SHIFT
    else:
        stock.top[0] = 0.0
    begin = 0
    for k in range(LEVELS):  # ends begin as beginnings, which filling moves
        stock.ends[k] = begin
        begin += counts[k] if k < top else 0
    for i in range(n):
        bound = math.inf
        row_distances(row, objects, i, i)
        for j in range(i):
            k = level(row_bits[j])
            if k < top:
                at = stock.ends[k]
                stock.q[at] = row[j]
                stock.owner[at] = i
                stock.other[at] = j
                stock.ends[k] = at + 1
            else:
                bound = min(bound, row[j])
        objects.lower[i] = bound
