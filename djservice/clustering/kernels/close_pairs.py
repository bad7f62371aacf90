"""The close pairs of an event: its closest pairs of particles, in order of distance.

q = D R^2 of a pair of particles depends neither on R nor on the rigidity. So the pairs are put in
order once per event, and all trees of the event share them. A tree that raises the threshold of its
list takes the next stretch of close pairs instead of searching for them.

The order is by level. There are two levels to a factor of 2 in q: a level is the exponent of the
float and the first bit of its mantissa. Thresholds are edges of levels.
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
    compresses,
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
    CHUNK,
    FEW,
    LARGE,
    STRETCH,
    Floats,
    Ids,
    Pseudojets,
    distances,
    put_together,
    row_distances,
)
from djservice.clustering.kernels.tiles import (
    have_bounds,
    next_tile,
    squared_gaps,
    tiles_between,
)

#: The number of bits of a float64 below those of its level.
_SHIFT = 51
#: The exponent and bit of 2^-256. Distances below it, 0 too, have level 0.
#: Pairs above level 1022 are never close pairs.
_FIRST = 2 * (1023 - 256)
LEVELS = 1024


class ClosePairs(NamedTuple):
    """Pairs of particles, sorted by level.

    ``ends[level]`` is the number of pairs up to the end of a level. ``top[0]`` is the edge above
    the last level: all pairs of particles below it are here. The ``unsorted`` arrays hold the pairs
    before they are put in order.
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
    """The next edge of a level above ``q``, infinity above all levels."""
    index = level(q)
    return edge_below(index + 1) if index < LEVELS - 1 else math.inf


@jit
def pairs_below(close_pairs: ClosePairs, threshold: float) -> int:
    """The number of close pairs below an edge."""
    return int(close_pairs.ends[level(threshold) - 1])


@jit
def fill_close_pairs(
    pseudojets: Pseudojets, n: int, slots: Ids, close_pairs: ClosePairs, row: Floats
) -> None:
    """Collect the closest pairs, whole levels and about n^1.5 pairs.

    Sets ``pseudojets.lower`` for the other pairs. More than n^1.5 would be dead by the time a tree
    reaches them. Where scans skip tiles, half as many are better. The last level is estimated from
    a sample of the particles, and lowered until its pairs have room. ``slots`` has the slot of each
    particle.
    """
    ends, stride = close_pairs.ends, 1 + n // 32
    if rank() == 0:
        clear(ends)
    for i in range(stride, n, stride):
        end = slots_to_scan(n, i)
        sync()
        row_distances(row, pseudojets, end, int(slots[i]))
        sync()
        if rank() == 0:
            for j in range(i):
                ends[level(row[natural(int(slots[j]))])] += stride
    sync()
    top, n_pairs = 0, 0  # levels below top fit
    wanted = n * math.sqrt(n) * (0.5 if n >= LARGE else 1.0)
    while top < LEVELS - 1 and n_pairs + ends[top] <= wanted:
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
def slots_to_scan(n: int, slot: int) -> int:
    """The slots from 0 on that hold all objects of which the particle in ``slot`` owns the pairs.

    Where slots are in order of rapidity, that is all.
    """
    return n if n >= LARGE else slot


@jit
def clear(ends: NDArray[np.int64]) -> None:
    """Set the number of pairs of every level to 0."""
    for k in range(LEVELS):
        ends[k] = 0


@jit
def put_in_order(close_pairs: ClosePairs, n_pairs: int) -> None:
    """Sort the unsorted pairs into their levels."""
    ends = close_pairs.ends
    clear(ends)
    for k in range(n_pairs):
        ends[level(close_pairs.unsorted_q[k])] += 1
    begin = 0
    for k in range(LEVELS):  # ends hold the beginnings at first; filling moves them
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
    """Collect all pairs below ``edge``, unsorted; returns their number, -1 if there is no room."""
    n_pairs, infinities, top = 0, fill(math.inf), fill(edge)
    masks = close_pairs.q  # which is free until the pairs are put in order
    for i in range(n):
        y, phi, d = fill(pseudojets.y[i]), fill(pseudojets.phi[i]), fill(pseudojets.d[i])
        ident, bound, last = fill(pseudojets.ident[i]), infinities, slots_to_scan(n, i)
        for begin in range(0, last, CHUNK):
            end = min(begin + CHUNK, last)
            near = tiles_between(begin, end)
            if have_bounds(pseudojets):
                tiles = d * squared_gaps(pseudojets, begin, y)  # it has the smallest d of its pairs
                bound = least(where_below(tiles, top, infinities, tiles), bound)
                near &= below(tiles, top)
            start, left = begin, near
            while left != 0:
                start, left = next_tile(start, left)
                hits = 0
                for first in range(start, min(start + STRETCH, end), width()):
                    q = distances(pseudojets, first, y, phi, d)
                    if first + width() > i or last > i:  # it owns pairs with smaller ids
                        q = where_below(load(pseudojets.ident, first), ident, q, infinities)
                    store(row, first - begin, q)
                    bound = where_below(q, top, bound, least(q, bound))
                    hits |= below(q, top) << (first - start)
                masks[natural((start - begin) // STRETCH)] = float_of(hits)
                start, left = start + STRETCH, left >> 1
            n_pairs = _put_hits(pseudojets, i, begin, near, close_pairs, n_pairs, row)
            if n_pairs < 0:
                return -1
        pseudojets.lower[i] = smallest_lane(bound)
    return n_pairs


@jit
def _put_hits(
    pseudojets: Pseudojets,
    i: int,
    begin: int,
    near: int,
    close_pairs: ClosePairs,
    n_pairs: int,
    row: Floats,
) -> int:
    """Collect the hits of a particle among a chunk of slots; returns the number of pairs, or -1.

    Each bit of ``near`` stands for a stretch of slots that was scanned.
    """
    sync()
    start = begin
    while near != 0:
        if n_pairs + STRETCH > len(close_pairs.q):
            return -1
        start, near = next_tile(start, near)
        hits = bits_of(close_pairs.q[natural((start - begin) // STRETCH)])
        if compresses() and bit_count(hits) > FEW:
            n_pairs = put_together(
                pseudojets, i, start, hits, row, close_pairs.unsorted_q,
                close_pairs.unsorted_owner, close_pairs.unsorted_other, n_pairs,
            )  # fmt: skip
        else:
            bits = thread_bits(hits)
            while bits != 0:
                k = lowest(bits)
                bits &= bits - 1
                place = natural(n_pairs + bits_below(hits, k))
                close_pairs.unsorted_q[place] = row[natural(start - begin + k)]
                close_pairs.unsorted_owner[place] = int(pseudojets.ident[i])
                close_pairs.unsorted_other[place] = int(pseudojets.ident[natural(start + k)])
            n_pairs += bit_count(hits)
        start, near = start + STRETCH, near >> 1
    sync()
    return n_pairs
