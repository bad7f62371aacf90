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

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    below,
    bit_count,
    bits_below,
    bits_of,
    fill,
    float_of,
    least,
    load,
    lowest,
    natural,
    smallest_lane,
    store,
    thread_bits,
    where_below,
    width,
)
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.pseudojets import (
    STRETCH,
    Floats,
    Ids,
    Pseudojets,
    distances,
    row_distances,
)

#: Bits below those that make the level of a float64.
_SHIFT = 51
#: The level of 2^-256: everything below it, 0 too, counts as level 0; and what is above level 1022 is not in the stock.
_FIRST = 2 * (1023 - 256)
LEVELS = 1024


class ClosePairs(NamedTuple):
    """Pairs of particles by level: ``q`` and ids; where the levels end, ``ends[level]``; and the edge ``top[0]`` of the last.

    ``loose_q``, ``loose_owner`` and ``loose_other`` hold them before they are put in order.
    """

    q: Floats
    owner: Ids
    other: Ids
    ends: NDArray[np.int64]
    top: Floats
    unsorted_q: Floats
    unsorted_owner: Ids
    unsorted_other: Ids


@jit
def level(q: float) -> int:
    """The level of a distance."""
    return int(min(max((bits_of(q) >> _SHIFT) - _FIRST, 0), LEVELS - 1))


@jit
def edge_below(index: int) -> float:
    """The edge between a level and the one before."""
    return float(float_of((index + _FIRST) << _SHIFT)) if index > 0 else 0.0


@jit
def edge_above(q: float) -> float:
    """The edge between levels that is next above ``q``; infinity above all levels."""
    index = level(q)
    return edge_below(index + 1) if index < LEVELS - 1 else math.inf


@jit
def pairs_below(close_pairs: ClosePairs, threshold: float) -> int:
    """How many pairs of the stock lie below an edge."""
    return int(close_pairs.ends[level(threshold) - 1])


@jit
def fill_close_pairs(pseudojets: Pseudojets, n: int, close_pairs: ClosePairs, row: Floats) -> None:
    """Put the closest pairs in the stock, whole levels and about n^1.5 pairs; sets ``objects.lower`` for the others.

    More would be dead when their turn comes. The last level is guessed from some of the particles, and lowered until
    its pairs have room.
    """
    ends, stride = close_pairs.ends, 1 + n // 32
    if rank() == 0:
        clear(ends)
    for i in range(stride, n, stride):
        sync()
        row_distances(row, pseudojets, i, i)
        sync()
        if rank() == 0:
            for j in range(i):
                ends[level(row[j])] += stride
    sync()
    top, n_pairs = 0, 0  # levels below top are held
    while top < LEVELS - 1 and n_pairs + ends[top] <= n * math.sqrt(n):
        n_pairs += ends[top]
        top += 1
    edge, n_pairs = edge_below(top), _gather(pseudojets, n, close_pairs, edge_below(top), row)
    while n_pairs < 0:
        top -= 1
        sync()
        edge = edge_below(top)
        n_pairs = _gather(pseudojets, n, close_pairs, edge, row)
    sync()
    if rank() == 0:
        close_pairs.top[0] = edge
        put_in_order(close_pairs, n_pairs)


@jit
def clear(ends: NDArray[np.int64]) -> None:
    """Nothing in any level."""
    for k in range(LEVELS):
        ends[k] = 0


@jit
def put_in_order(close_pairs: ClosePairs, n_pairs: int) -> None:
    """Put the loose pairs into their levels."""
    ends = close_pairs.ends
    clear(ends)
    for k in range(n_pairs):
        ends[level(close_pairs.unsorted_q[k])] += 1
    begin = 0
    for k in range(LEVELS):  # ends begin as beginnings, which filling moves
        count = ends[k]
        ends[k] = begin
        begin += count
    for k in range(n_pairs):
        index = level(close_pairs.unsorted_q[k])
        place = natural(ends[index])
        close_pairs.q[place] = close_pairs.unsorted_q[k]
        close_pairs.owner[place] = close_pairs.unsorted_owner[k]
        close_pairs.other[place] = close_pairs.unsorted_other[k]
        ends[index] = place + 1


@jit
def _gather(
    pseudojets: Pseudojets, n: int, close_pairs: ClosePairs, edge: float, row: Floats
) -> int:
    """Put all pairs below ``edge`` among the loose ones; returns their number, -1 if they have no room."""
    n_pairs, infinities, top = 0, fill(math.inf), fill(edge)
    for i in range(n):
        y, phi, d = fill(pseudojets.y[i]), fill(pseudojets.phi[i]), fill(pseudojets.d[i])
        bound = infinities
        for start in range(0, i, STRETCH):
            stop = min(start + STRETCH, i)
            hits = 0
            for first in range(start, stop, width()):
                q = where_below(
                    load(pseudojets.ident, first),
                    fill(float(i)),
                    distances(pseudojets, first, y, phi, d),
                    infinities,
                )
                store(row, first - start, q)
                bound = least(where_below(q, top, infinities, q), bound)
                hits |= below(q, top) << (first - start)
            if n_pairs + STRETCH > len(close_pairs.q):
                return -1
            bits = thread_bits(hits)
            while bits != 0:
                k = lowest(bits)
                bits &= bits - 1
                place = natural(n_pairs + bits_below(hits, k))
                close_pairs.unsorted_q[place] = row[k]
                close_pairs.unsorted_owner[place] = i
                close_pairs.unsorted_other[place] = start + k
            n_pairs += bit_count(hits)
        pseudojets.lower[i] = smallest_lane(bound)
    return n_pairs
