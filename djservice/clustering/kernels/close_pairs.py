"""The close pairs of an event: its closest pairs of particles, in order of distance.

q = D R^2 of a pair of particles depends neither on R nor on the rigidity. So the pairs are put in
order once per event, and all trees of the event share them. A tree that raises the threshold of its
list takes the next stretch of close pairs instead of searching for them.

Most pairs of a large event have a dead object when their turn comes: a hard object has thousands,
and merges at one of its smallest distances. So an object's close pairs are there only those below
:data:`REACH` times its smallest distance. An object that outlives them is searched for its further
pairs (:mod:`djservice.clustering.kernels.refill`).

The order is by level. There are two levels to a factor of 2 in q: a level is the exponent of the
float and the first bit of its mantissa. Thresholds are edges of levels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import aside, jit
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
    seldom,
    smallest_natural,
    store,
    thread_bits,
    where_below,
    width,
)
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.pseudojets import (
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

#: The number of bits of a float64 below those of its level.
_SHIFT = 51
#: The exponent and bit of 2^-256. Distances below it, 0 too, have level 0.
#: Pairs above level 1022 are never close pairs.
_FIRST = 2 * (1023 - 256)
LEVELS = 1024
#: Room for close pairs of n particles, relative to n^1.5; arrays are longer by a stretch.
ROOM = 1.5
#: In a large event the close pairs of an object are below so many times its smallest distance.
REACH = 16.0


class ClosePairs(NamedTuple):
    """Pairs of particles, sorted by level.

    ``ends[level]`` is the number of pairs up to the end of a level. ``top[0]`` is the edge above
    the last level: all pairs of particles below it, or their owner's ``lower``, are here. The
    ``unsorted`` arrays hold the pairs before they are put in order.
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
    """Collect the closest pairs, whole levels.

    Sets ``pseudojets.lower`` for the other pairs. About n^1.5 pairs are below the last level. More
    would be dead by the time a tree reaches them. In a large event they are 2 n^1.5, of which REACH
    leaves out most. The last level is estimated from a sample of the particles, and lowered until
    its pairs have the room of n particles. The arrays may be longer, for a larger event, and must
    not decide: trees draw in the order of their list. ``slots`` has the slot of each particle.
    """
    ends, stride = close_pairs.ends, 1 + n // (32 if n < LARGE else 16)
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
    wanted = n * math.sqrt(n) * (1.0 if n < LARGE else 2.0)
    while top < LEVELS - 1 and n_pairs + ends[top] <= wanted:
        n_pairs += ends[top]
        top += 1
    room, edge = natural(int(ROOM * n * math.sqrt(n))), edge_below(top)
    n_pairs = _gather(pseudojets, n, close_pairs, room, edge, row)
    while n_pairs < 0:
        top -= 1
        sync()
        edge = edge_below(top)
        n_pairs = _gather(pseudojets, n, close_pairs, room, edge, row)
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
    pseudojets: Pseudojets, n: int, close_pairs: ClosePairs, room: int, edge: float, row: Floats
) -> int:
    """Collect pairs below ``edge``, unsorted; returns their number, -1 if there is no room."""
    if seldom(n >= LARGE):
        return int(_gather_near(pseudojets, n, close_pairs, room, edge, row))
    return int(_gather_all(pseudojets, n, close_pairs, room, edge, row))


@jit
def _gather_all(
    pseudojets: Pseudojets, n: int, close_pairs: ClosePairs, room: int, edge: float, row: Floats
) -> int:
    """:func:`_gather` all pairs of an event whose slots are in the order of ids."""
    n_pairs, infinities, top = natural(0), fill(math.inf), fill(edge)
    masks = close_pairs.q  # which is free until the pairs are put in order
    for i in range(n):
        y, phi, d = fill(pseudojets.y[i]), fill(pseudojets.phi[i]), fill(pseudojets.d[i])
        ident, bound = fill(pseudojets.ident[i]), infinities
        for start in range(0, i, STRETCH):
            hits = 0
            for first in range(start, min(start + STRETCH, i), width()):
                q = distances(pseudojets, first, y, phi, d)
                if first + width() > i:  # it owns pairs with smaller ids
                    q = where_below(load(pseudojets.ident, first), ident, q, infinities)
                store(row, first, q)
                bound = where_below(q, top, bound, least(q, bound))
                hits |= below(q, top) << (first - start)
            masks[natural(start // STRETCH)] = float_of(hits)
        sync()
        for start in range(0, i, STRETCH):
            if n_pairs > room:
                return -1
            hits = bits_of(masks[natural(start // STRETCH)])
            n_pairs = _put_hits(pseudojets, i, start, hits, close_pairs, n_pairs, row)
        sync()
        pseudojets.lower[i] = smallest_natural(bound)
    return int(n_pairs)


@aside
def _gather_near(
    pseudojets: Pseudojets, n: int, close_pairs: ClosePairs, room: int, edge: float, row: Floats
) -> int:
    """:func:`_gather` of each object the pairs below REACH times its smallest distance.

    Tiles in reach lie side by side, except for the first. It has the largest ids, so only its own
    objects own pairs with it.
    """
    n_pairs, tiles = natural(0), (n + STRETCH - 1) // STRETCH
    for i in range(n):
        # An owner has the smallest d of its pairs, up to the rounding of a power.
        y, d = pseudojets.y[i], 0.999 * pseudojets.d[i]
        low = natural(i // STRETCH)
        nearest = _scan_tile(pseudojets, i, low, n, row)
        if low == 0:
            low = natural(1)
            while low < tiles - 1 and y > pseudojets.tile_high[low]:
                low = natural(low + 1)
            nearest = least(_scan_tile(pseudojets, i, low, n, row), nearest)
        high, cut = natural(low + 1), min(edge, REACH * smallest_natural(nearest))
        while low > 1 and d * max(y - pseudojets.tile_high[low - 1], 0.0) ** 2 < cut:
            low = natural(low - 1)
            nearest = least(_scan_tile(pseudojets, i, low, n, row), nearest)
        while high < tiles and d * max(pseudojets.tile_low[high] - y, 0.0) ** 2 < cut:
            nearest = least(_scan_tile(pseudojets, i, high, n, row), nearest)
            high = natural(high + 1)
        cut = min(edge, REACH * smallest_natural(nearest))
        pseudojets.lower[i] = cut
        sync()
        if i < STRETCH:
            n_pairs = _put_near(pseudojets, i, natural(0), n, cut, close_pairs, room, n_pairs, row)
        while low < high:
            n_pairs = _put_near(pseudojets, i, low, n, cut, close_pairs, room, n_pairs, row)
            low = natural(low + 1)
        sync()
        if n_pairs < 0:
            return -1
    return int(n_pairs)


@jit
def _scan_tile(pseudojets: Pseudojets, i: int, tile: int, n: int, row: Floats) -> Any:
    """Put q of the pairs that the object in slot ``i`` owns with a tile in ``row``, else infinity.

    Returns the smallest of each lane.
    """
    y, phi, d = fill(pseudojets.y[i]), fill(pseudojets.phi[i]), fill(pseudojets.d[i])
    ident, infinities = fill(pseudojets.ident[i]), fill(math.inf)
    nearest = infinities
    for first in range(tile * STRETCH, min((tile + 1) * STRETCH, n), width()):
        q = distances(pseudojets, first, y, phi, d)
        q = where_below(load(pseudojets.ident, first), ident, q, infinities)
        store(row, first, q)
        nearest = least(q, nearest)
    return nearest


@jit
def _put_near(
    pseudojets: Pseudojets,
    i: int,
    tile: int,
    n: int,
    cut: float,
    close_pairs: ClosePairs,
    room: int,
    n_pairs: int,
    row: Floats,
) -> int:
    """Collect the pairs below ``cut`` of a tile in ``row``; returns the number of pairs, or -1."""
    if n_pairs < 0 or n_pairs > room:
        return -1
    hits, start, top = 0, tile * STRETCH, fill(cut)
    for first in range(start, min(start + STRETCH, n), width()):
        hits |= below(load(row, first), top) << (first - start)
    return int(_put_hits(pseudojets, i, start, hits, close_pairs, n_pairs, row))


@jit
def _put_hits(
    pseudojets: Pseudojets,
    i: int,
    start: int,
    hits: int,
    close_pairs: ClosePairs,
    n_pairs: int,
    row: Floats,
) -> int:
    """Collect the hits of an object in a stretch of slots; returns the number of pairs."""
    if compresses() and bit_count(hits) > FEW:
        count: int = put_together(
            pseudojets, i, start, hits, row, start, close_pairs.unsorted_q,
            close_pairs.unsorted_owner, close_pairs.unsorted_other, n_pairs,
        )  # fmt: skip
        return count
    bits = thread_bits(hits)
    while bits != 0:
        k = lowest(bits)
        bits &= bits - 1
        place, other = natural(n_pairs + bits_below(hits, k)), natural(start + k)
        close_pairs.unsorted_q[place] = row[other]
        close_pairs.unsorted_owner[place] = int(pseudojets.ident[i])
        close_pairs.unsorted_other[place] = int(pseudojets.ident[other])
    return int(n_pairs + bit_count(hits))
