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
from djservice.kernels.lanes import (
    LANES,
    below,
    fill,
    least,
    load,
    lowest,
    natural,
    smallest_lane,
    store,
    where_below,
)
from djservice.kernels.objects import STRETCH, Floats, Ids, Objects, distances, row_distances

#: Bits below those that make the level of a float64.
_SHIFT = 51
#: The level of 2^-256: everything below it, 0 too, counts as level 0; and what is above level 1022 is not in the stock.
_FIRST = 2 * (1023 - 256)
LEVELS = 1024


class Stock(NamedTuple):
    """Pairs of particles by level: ``q`` and ids; where the levels end, ``ends[level]``; and the edge ``top[0]`` of the last.

    ``loose_q``, ``loose_owner`` and ``loose_other`` hold them before they are put in order.
    """

    q: Floats
    owner: Ids
    other: Ids
    ends: NDArray[np.int64]
    top: Floats
    top_bits: NDArray[np.int64]
    loose_q: Floats
    loose_bits: NDArray[np.int64]
    loose_owner: Ids
    loose_other: Ids


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
def fill_stock(objects: Objects, n: int, stock: Stock, row: Floats, row_bits: NDArray[np.int64]) -> None:
    """Put the closest pairs in the stock, whole levels and about n^1.5 pairs; sets ``objects.lower`` for the others.

    More would be dead when their turn comes. The last level is guessed from some of the particles, and lowered until
    its pairs have room.
    """
    ends, stride = stock.ends, 1 + n // 32
    for k in range(LEVELS):
        ends[k] = 0
    for i in range(stride, n, stride):
        row_distances(row, objects, i, i)
        for j in range(i):
            ends[level(row_bits[j])] += stride
    top, held = 0, 0  # levels below top are held
    while top < LEVELS - 1 and held + ends[top] <= n * math.sqrt(n):
        held += ends[top]
        top += 1
    held = -1
    while held < 0:
        stock.top[0] = 0.0
        if top > 0:
            stock.top_bits[0] = (top + _FIRST) << _SHIFT
        held = _gather(objects, n, stock, row)
        top -= 1
    for k in range(LEVELS):
        ends[k] = 0
    for k in range(held):
        ends[level(stock.loose_bits[k])] += 1
    begin = 0
    for k in range(LEVELS):  # ends begin as beginnings, which filling moves
        count = ends[k]
        ends[k] = begin
        begin += count
    for k in range(held):
        own = level(stock.loose_bits[k])
        at = natural(ends[own])
        stock.q[at] = stock.loose_q[k]
        stock.owner[at] = stock.loose_owner[k]
        stock.other[at] = stock.loose_other[k]
        ends[own] = at + 1


@jit
def _gather(objects: Objects, n: int, stock: Stock, row: Floats) -> int:
    """Put all pairs below the top among the loose ones; returns their number, -1 if they have no room."""
    held, nothing = 0, fill(math.inf)
    top = fill(stock.top[0])
    for i in range(n):
        y, phi, d = fill(objects.y[i]), fill(objects.phi[i]), fill(objects.d[i])
        bound = nothing
        for start in range(0, i, STRETCH):
            stop = min(start + STRETCH, i)
            hits = 0
            for at in range(start, stop, LANES):
                q = where_below(load(objects.ident, at), fill(float(i)), distances(objects, at, y, phi, d), nothing)
                store(row, at - start, q)
                bound = least(where_below(q, top, nothing, q), bound)
                hits |= below(q, top) << (at - start)
            if held + STRETCH > len(stock.q):
                return -1
            while hits != 0:
                k = lowest(hits)
                hits &= hits - 1
                held = natural(held)
                stock.loose_q[held] = row[k]
                stock.loose_owner[held] = i
                stock.loose_other[held] = start + k
                held += 1
        objects.lower[i] = smallest_lane(bound)
    return held
