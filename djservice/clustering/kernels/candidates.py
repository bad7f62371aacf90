"""The active list: every option (pair or beam) that can matter at the next step, and nothing else.

All distances are q = D R^2: a pair has q = min(d_i, d_j) dR_ij^2 whatever the radius, and only a beam, q = d_i R_i^2,
knows about it. Of every pair the object with the larger id is the owner. The list holds *every* live option with
q < threshold. The others are in the stock (pairs of particles, see :mod:`djservice.clustering.kernels.close_pairs`), or are bounded from
below, object by object, so that raising the threshold looks again only at objects whose bound lies below the new one.

The canonical order of the options is that in which they were put on the list, dead ones replaced by the last;
:mod:`djservice.clustering.kernels.draw` says how a uniform picks one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.close_pairs import LEVELS, Stock, stock_end
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import asymmetry_factor
from djservice.clustering.kernels.lanes import (
    below,
    bit_count,
    bits_below,
    fill,
    least,
    load,
    lowest,
    natural,
    own,
    smallest_lane,
    store,
    where_below,
    width,
)
from djservice.clustering.kernels.lanes.team import ballot, rank, size, sync
from djservice.clustering.kernels.pseudojets import STRETCH, Floats, Ids, Ints, Objects, distances

#: Stands for "nothing": beyond all distances, and finite, so that a weight of 0 times it is 0.
FAR = 1e308
#: Elements that arrays have beyond their end, for loops over whole groups of lanes.
PAD = 64


class Options(NamedTuple):
    """Options on the list: ``q``, its weight, what the safe scale sees of it, and the ids (``other`` 0xFFFF: a beam)."""

    q: Floats
    w: Floats
    s: Floats
    owner: Ids
    other: Ids


class Scratch(NamedTuple):
    """Work space of one thread."""

    row: Floats
    sums: Floats
    blocks: Floats
    slot: Ids
    marked: Ids
    beam_at: Ints
    alive: NDArray[np.uint8]
    log_pt2: Floats
    slopes: Floats
    jet_pt2: Floats
    state_pt2: Floats


class Work(NamedTuple):
    """All that a thread needs: an event as it was loaded, the objects of the tree in hand, its lists, and scratch."""

    origin: Objects
    objects: Objects
    stock: Stock
    pairs: Options
    beams: Options
    scratch: Scratch


@jit
def end_lists(pairs: Options, n_pairs: int, beams: Options, n_beams: int, safe: bool) -> None:
    """Make what is read beyond the ends of the lists, in whole groups of lanes, weigh nothing."""
    sync()
    _end_list(pairs, n_pairs, safe)
    _end_list(beams, n_beams, safe)
    sync()


@jit
def _end_list(options: Options, count: int, safe: bool) -> None:
    nothing = fill(FAR)
    store(options.q, count, nothing)
    store(options.q, count + width(), nothing)
    store(options.w, count, fill(0.0))
    if safe:
        store(options.s, count, nothing)
        store(options.s, count + width(), nothing)


@jit
def put_pair(
    objects: Objects, a: int, b: int, q: float, pairs: Options, at: int, asymmetry: float
) -> None:
    """Put the pair of the objects in slots ``a`` (its owner) and ``b`` on the list."""
    a, b, at = natural(a), natural(b), natural(at)
    pairs.q[at] = q
    pairs.owner[at] = int(objects.ident[a])
    pairs.other[at] = int(objects.ident[b])
    if asymmetry > 0.0:
        pairs.s[at] = (
            q * asymmetry_factor(objects.pt2[a], objects.pt2[b], asymmetry) if q > 0.0 else 0.0
        )


@jit
def put_beam(objects: Objects, slot: int, beams: Options, at: int, beam_at: Ints) -> None:
    """Put the beam option of the object in ``slot`` on the list."""
    slot, at = natural(slot), natural(at)
    ident = natural(int(objects.ident[slot]))
    beams.q[at] = objects.beam[slot]
    beams.s[at] = objects.beam[slot]
    beams.owner[at] = ident
    beam_at[ident] = at


@jit
def put_row(
    objects: Objects,
    slot: int,
    start: int,
    hits: int,
    pairs: Options,
    count: int,
    row: Floats,
    asymmetry: float,
) -> int:
    """Put the pairs of the object in ``slot`` with those of ``start`` + each bit on the list; returns the list's new length."""
    mine = own(hits)
    while mine != 0:
        k = lowest(mine)
        mine &= mine - 1
        put_pair(objects, slot, start + k, row[k], pairs, count + bits_below(hits, k), asymmetry)
    return int(count + bit_count(hits))


@jit
def append_row(
    objects: Objects,
    m: int,
    slot: int,
    low: float,
    high: float,
    pairs: Options,
    count: int,
    row: Floats,
    asymmetry: float,
) -> int:
    """Put the pairs with low <= q < high that the object in ``slot`` owns on the list, and bound the others.

    Returns the new length of the list, -1 if it is too short.
    """
    y, phi, d, ident = (
        fill(objects.y[slot]),
        fill(objects.phi[slot]),
        fill(objects.d[slot]),
        fill(objects.ident[slot]),
    )
    lows, highs, nothing = fill(low), fill(high), fill(math.inf)
    bound = nothing
    start = 0
    while start < m:
        stop = min(start + STRETCH, m)
        hits = 0
        at = start
        while at < stop:
            q = distances(objects, at, y, phi, d)
            q = where_below(load(objects.ident, at), ident, q, nothing)
            store(row, at - start, q)
            bound = least(where_below(q, highs, nothing, q), bound)
            hits |= (below(q, highs) & ~below(q, lows)) << (at - start)
            at += width()
        if count + STRETCH > len(pairs.q) - PAD:
            count = -1
            break
        count = put_row(objects, slot, start, hits, pairs, count, row, asymmetry)
        start += STRETCH
    objects.lower[slot] = smallest_lane(bound)
    return count


@jit
def append_new(
    objects: Objects,
    m: int,
    slot: int,
    high: float,
    pairs: Options,
    count: int,
    row: Floats,
    asymmetry: float,
) -> tuple[int, float]:
    """As :func:`append_row` from 0, for the object with the largest id, which owns its pairs with all others.

    Also returns the smallest of them.
    """
    y_slot = objects.y[slot]
    y, phi, d = fill(y_slot), fill(objects.phi[slot]), fill(objects.d[slot])
    sync()
    objects.y[slot] = math.inf  # out of its own reach
    highs, nothing = fill(high), fill(math.inf)
    bound = nearest = nothing
    start = 0
    while start < m:
        stop = min(start + STRETCH, m)
        hits = 0
        at = start
        while at < stop:
            q = distances(objects, at, y, phi, d)
            store(row, at - start, q)
            nearest = least(q, nearest)
            bound = least(where_below(q, highs, nothing, q), bound)
            hits |= below(q, highs) << (at - start)
            at += width()
        if count + STRETCH > len(pairs.q) - PAD:
            count = -1
            break
        count = put_row(objects, slot, start, hits, pairs, count, row, asymmetry)
        start += STRETCH
    sync()
    objects.y[slot] = y_slot
    objects.lower[slot] = smallest_lane(bound)
    return count, smallest_lane(nearest)


@jit
def append_stock(
    stock: Stock,
    taken: int,
    end: int,
    objects: Objects,
    pairs: Options,
    count: int,
    scratch: Scratch,
    asymmetry: float,
) -> int:
    """Put what is alive of the stock from ``taken`` to ``end`` on the list; returns its length, -1 if it is too short."""
    alive, owner, other = scratch.alive, stock.owner, stock.other
    while taken < end:
        stop = min(end, taken + len(pairs.q) - PAD - count)
        if stop == taken:
            count = -1
            break
        first = natural(taken)
        while first < stop:
            k = natural(first + rank())
            lives = k < stop and alive[owner[k]] & alive[other[k]] != 0
            living = ballot(lives)
            at = natural(count + bits_below(living, rank()))
            if asymmetry > 0.0:
                if lives:
                    a, b = scratch.slot[owner[k]], scratch.slot[other[k]]
                    put_pair(objects, a, b, stock.q[k], pairs, at, asymmetry)
            elif (
                lives or size() == 1
            ):  # on a processor without a branch, which would be mispredicted
                pairs.q[at] = stock.q[k]
                pairs.owner[at] = owner[k]
                pairs.other[at] = other[k]
            count += bit_count(living)
            first = natural(first + size())
        taken = stop
    return count


@jit
def refill(
    objects: Objects,
    m: int,
    low: float,
    high: float,
    stock: Stock,
    pairs: Options,
    n_pairs: int,
    beams: Options,
    n_beams: int,
    scratch: Scratch,
    asymmetry: float,
) -> tuple[int, int]:
    """Raise the threshold from edge ``low`` to edge ``high``; returns the lengths of both lists, of pairs -1 if it is too short."""
    sync()
    taken = stock_end(stock, low) if low > 0.0 else 0
    end = stock_end(stock, high)
    n_pairs = append_stock(stock, taken, end, objects, pairs, n_pairs, scratch, asymmetry)
    if n_pairs < 0:
        return -1, n_beams
    lows, highs = fill(low), fill(high)
    marked = 0
    at = 0
    while at < m:
        beam = load(objects.beam, at)
        hits = below(beam, highs) & ~below(beam, lows)
        mine = own(hits)
        while mine != 0:
            k = lowest(mine)
            mine &= mine - 1
            put_beam(objects, at + k, beams, n_beams + bits_below(hits, k), scratch.beam_at)
        n_beams += bit_count(hits)
        hits = below(load(objects.lower, at), highs)
        mine = own(hits)
        while mine != 0:  # looked at below, where the threads of a GPU do so at once
            k = lowest(mine)
            mine &= mine - 1
            scratch.marked[marked + bits_below(hits, k)] = at + k
        marked += bit_count(hits)
        at += width()
    sync()
    k = 0
    while k < marked and n_pairs >= 0:
        slot = int(scratch.marked[k])
        n_pairs = append_row(objects, m, slot, low, high, pairs, n_pairs, scratch.row, asymmetry)
        k += 1
    return n_pairs, n_beams


@jit
def lower_bound(objects: Objects, m: int, threshold: float, stock: Stock) -> float:
    """A lower bound, not below ``threshold``, of all options that are not on the list."""
    lows, bounds, nothing = fill(threshold), fill(math.inf), fill(math.inf)
    at = 0
    while at < m:
        beam = load(objects.beam, at)
        bounds = least(where_below(beam, lows, nothing, beam), bounds)
        bounds = least(load(objects.lower, at), bounds)
        at += width()
    bound = float(smallest_lane(bounds))
    taken = stock_end(stock, threshold) if threshold > 0.0 else 0
    if taken < stock.ends[LEVELS - 1]:
        bound = min(bound, max(threshold, stock.q[taken] * 0.5))  # its level may hold a smaller one
    return bound


@jit
def smallest(values: Floats, count: int) -> float:
    """The minimum of the first ``count`` values, infinity if there are none."""
    if count == 0:
        return math.inf
    a = b = fill(math.inf)
    at = 0
    while at < count:
        a = least(load(values, at), a)
        b = least(load(values, at + width()), b)
        at += 2 * width()
    return float(smallest_lane(least(a, b)))


@jit
def index_of(values: Floats, value: float) -> int:
    """Where ``value`` is first found."""
    at = 0
    while values[at] != value:
        at += 1
    return at


@jit
def count_matter(options: Options, count: int, cut: float) -> int:
    """Options that survive the truncation."""
    number = 0
    for k in range(count):
        number += 1 if options.q[k] <= cut else 0
    return number
