"""The candidate lists of a step: every pair and beam that can matter, and nothing else.

Distances are q = D R^2. A pair has q = min(d_i, d_j) dR_ij^2 whatever the radius. Only a beam,
q = d_i R_i^2, knows the radius. A pair is owned by its object with the larger id.

The lists hold *every* live candidate with q < threshold. The others are of two kinds. Pairs of
particles below ``close_pairs.top`` are among the close pairs, which are in order of q
(:mod:`djservice.clustering.kernels.close_pairs`). All others are bounded from below, object by
object. Raising the threshold looks only at objects whose bound lies below the new threshold.

The canonical order of the candidates is the order in which they were put on the list, with each
dead one replaced by the last. :mod:`djservice.clustering.kernels.draw` says how a uniform picks
one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.close_pairs import LEVELS, ClosePairs, pairs_below
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
    smallest_lane,
    store,
    thread_bits,
    where_below,
    width,
)
from djservice.clustering.kernels.lanes.team import ballot, rank, size, sync
from djservice.clustering.kernels.pseudojets import (
    STRETCH,
    Floats,
    Ids,
    Ints,
    Pseudojets,
    distances,
)

#: A distance beyond all others. It is finite, so that a weight of 0 times it is 0.
FAR = 1e308
#: Padding of arrays, for loops over whole groups of lanes.
PAD = 64


class Candidates(NamedTuple):
    """The candidates on a list: distances, weights and ids.

    ``q`` is the distance, ``w`` the weight, and ``s`` the distance with the asymmetry factor of the
    safe scale. ``other`` is 0xFFFF for a beam.
    """

    q: Floats
    w: Floats
    s: Floats
    owner: Ids
    other: Ids


class Scratch(NamedTuple):
    """Work space of one thread for one tree.

    ``sums`` and ``blocks`` hold partial sums of the weights. ``slot``, ``beam_place``, ``alive``
    and ``log_pt2`` are indexed by id. ``beam_place`` is the place of an object's beam on its list,
    or -1.
    """

    row: Floats
    sums: Floats
    blocks: Floats
    slot: Ids
    marked: Ids
    beam_place: Ints
    alive: NDArray[np.uint8]
    log_pt2: Floats
    step_scores: Floats
    jet_pt2: Floats
    state_pt2: Floats


class Workspace(NamedTuple):
    """The memory of a thread.

    ``origin`` and ``close_pairs`` describe the event as loaded. ``pseudojets``, the lists ``pairs``
    and ``beams``, and ``scratch`` belong to the current tree.
    """

    origin: Pseudojets
    pseudojets: Pseudojets
    close_pairs: ClosePairs
    pairs: Candidates
    beams: Candidates
    scratch: Scratch


@jit
def end_lists(pairs: Candidates, n_pairs: int, beams: Candidates, n_beams: int, safe: bool) -> None:
    """Give no weight to the places beyond the ends of the lists.

    They are read too, in whole groups of lanes.
    """
    sync()
    _end_list(pairs, n_pairs, safe)
    _end_list(beams, n_beams, safe)
    sync()


@jit
def _end_list(candidates: Candidates, count: int, safe: bool) -> None:
    far = fill(FAR)
    store(candidates.q, count, far)
    store(candidates.q, count + width(), far)
    store(candidates.w, count, fill(0.0))
    if safe:
        store(candidates.s, count, far)
        store(candidates.s, count + width(), far)


@jit
def put_pair(
    pseudojets: Pseudojets,
    a: int,
    b: int,
    q: float,
    pairs: Candidates,
    place: int,
    asymmetry: float,
) -> None:
    """Put the pair of the objects in slots ``a`` (its owner) and ``b`` on the list."""
    a, b, place = natural(a), natural(b), natural(place)
    pairs.q[place] = q
    pairs.owner[place] = int(pseudojets.ident[a])
    pairs.other[place] = int(pseudojets.ident[b])
    if asymmetry > 0.0:
        pairs.s[place] = (
            q * asymmetry_factor(pseudojets.pt2[a], pseudojets.pt2[b], asymmetry)
            if q > 0.0
            else 0.0
        )


@jit
def put_beam(
    pseudojets: Pseudojets, slot: int, beams: Candidates, place: int, beam_place: Ints
) -> None:
    """Put the beam of the object in ``slot`` on the list."""
    slot, place = natural(slot), natural(place)
    ident = natural(int(pseudojets.ident[slot]))
    beams.q[place] = pseudojets.beam[slot]
    beams.s[place] = pseudojets.beam[slot]
    beams.owner[place] = ident
    beam_place[ident] = place


@jit
def put_row(
    pseudojets: Pseudojets,
    slot: int,
    start: int,
    hits: int,
    pairs: Candidates,
    count: int,
    row: Floats,
    asymmetry: float,
) -> int:
    """Put pairs of the object in ``slot`` on the list; returns the new length.

    Each bit k of ``hits`` stands for the pair with slot ``start`` + k.
    """
    bits = thread_bits(hits)
    while bits != 0:
        k = lowest(bits)
        bits &= bits - 1
        put_pair(pseudojets, slot, start + k, row[k], pairs, count + bits_below(hits, k), asymmetry)
    return int(count + bit_count(hits))


@jit
def append_row(
    pseudojets: Pseudojets,
    m: int,
    slot: int,
    low: float,
    high: float,
    pairs: Candidates,
    count: int,
    row: Floats,
    asymmetry: float,
) -> int:
    """Put the pairs with low <= q < high that the object in ``slot`` owns on the list.

    Pairs with q >= high set the object's lower bound. Returns the new length of the list, -1 if it
    is too short.
    """
    y, phi, d, ident = (
        fill(pseudojets.y[slot]),
        fill(pseudojets.phi[slot]),
        fill(pseudojets.d[slot]),
        fill(pseudojets.ident[slot]),
    )
    lows, highs, infinities = fill(low), fill(high), fill(math.inf)
    bound = infinities
    start = 0
    while start < m:
        stop = min(start + STRETCH, m)
        hits = 0
        first = start
        while first < stop:
            q = distances(pseudojets, first, y, phi, d)
            q = where_below(load(pseudojets.ident, first), ident, q, infinities)
            store(row, first - start, q)
            bound = least(where_below(q, highs, infinities, q), bound)
            hits |= (below(q, highs) & ~below(q, lows)) << (first - start)
            first += width()
        if count + STRETCH > len(pairs.q) - PAD:
            count = -1
            break
        count = put_row(pseudojets, slot, start, hits, pairs, count, row, asymmetry)
        start += STRETCH
    pseudojets.lower[slot] = smallest_lane(bound)
    return count


@jit
def append_new(
    pseudojets: Pseudojets,
    m: int,
    slot: int,
    high: float,
    pairs: Candidates,
    count: int,
    row: Floats,
    asymmetry: float,
) -> tuple[int, float]:
    """Put the pairs with q < high of the newest object on the list, and bound the others.

    The newest object has the largest id, so it owns its pairs with all others. Returns the new
    length of the list, -1 if it is too short, and the smallest distance of these pairs.
    """
    y_slot = pseudojets.y[slot]
    y, phi, d = fill(y_slot), fill(pseudojets.phi[slot]), fill(pseudojets.d[slot])
    sync()
    pseudojets.y[slot] = math.inf  # no pair with itself
    highs, infinities = fill(high), fill(math.inf)
    bound = nearest = infinities
    start = 0
    while start < m:
        stop = min(start + STRETCH, m)
        hits = 0
        first = start
        while first < stop:
            q = distances(pseudojets, first, y, phi, d)
            store(row, first - start, q)
            nearest = least(q, nearest)
            bound = least(where_below(q, highs, infinities, q), bound)
            hits |= below(q, highs) << (first - start)
            first += width()
        if count + STRETCH > len(pairs.q) - PAD:
            count = -1
            break
        count = put_row(pseudojets, slot, start, hits, pairs, count, row, asymmetry)
        start += STRETCH
    sync()
    pseudojets.y[slot] = y_slot
    pseudojets.lower[slot] = smallest_lane(bound)
    return count, smallest_lane(nearest)


@jit
def append_close_pairs(
    close_pairs: ClosePairs,
    start: int,
    end: int,
    pseudojets: Pseudojets,
    pairs: Candidates,
    count: int,
    scratch: Scratch,
    asymmetry: float,
) -> int:
    """Put the live close pairs from ``start`` to ``end`` on the list; returns the new length.

    The length is -1 if the list is too short.
    """
    alive, owner, other = scratch.alive, close_pairs.owner, close_pairs.other
    while start < end:
        stop = min(end, start + len(pairs.q) - PAD - count)
        if stop == start:
            count = -1
            break
        first = natural(start)
        while first < stop:
            k = natural(first + rank())
            both_alive = k < stop and alive[owner[k]] & alive[other[k]] != 0
            alive_bits = ballot(both_alive)
            place = natural(count + bits_below(alive_bits, rank()))
            if asymmetry > 0.0:
                if both_alive:
                    a, b = scratch.slot[owner[k]], scratch.slot[other[k]]
                    put_pair(pseudojets, a, b, close_pairs.q[k], pairs, place, asymmetry)
            elif (
                both_alive or size() == 1
            ):  # a processor avoids the branch, which it would mispredict
                pairs.q[place] = close_pairs.q[k]
                pairs.owner[place] = owner[k]
                pairs.other[place] = other[k]
            count += bit_count(alive_bits)
            first = natural(first + size())
        start = stop
    return count


@jit
def refill(
    pseudojets: Pseudojets,
    m: int,
    low: float,
    high: float,
    close_pairs: ClosePairs,
    pairs: Candidates,
    n_pairs: int,
    beams: Candidates,
    n_beams: int,
    scratch: Scratch,
    asymmetry: float,
) -> tuple[int, int]:
    """Raise the threshold from edge ``low`` to edge ``high``; returns the lengths of both lists.

    The length of the list of pairs is -1 if it is too short.
    """
    sync()
    start = pairs_below(close_pairs, low) if low > 0.0 else 0
    end = pairs_below(close_pairs, high)
    n_pairs = append_close_pairs(
        close_pairs, start, end, pseudojets, pairs, n_pairs, scratch, asymmetry
    )
    if n_pairs < 0:
        return -1, n_beams
    lows, highs = fill(low), fill(high)
    marked = 0
    first = 0
    while first < m:
        beam = load(pseudojets.beam, first)
        hits = below(beam, highs) & ~below(beam, lows)
        bits = thread_bits(hits)
        while bits != 0:
            k = lowest(bits)
            bits &= bits - 1
            put_beam(
                pseudojets, first + k, beams, n_beams + bits_below(hits, k), scratch.beam_place
            )
        n_beams += bit_count(hits)
        hits = below(load(pseudojets.lower, first), highs)
        bits = thread_bits(hits)
        while bits != 0:  # the loop below needs all threads of a team
            k = lowest(bits)
            bits &= bits - 1
            scratch.marked[marked + bits_below(hits, k)] = first + k
        marked += bit_count(hits)
        first += width()
    sync()
    k = 0
    while k < marked and n_pairs >= 0:
        slot = int(scratch.marked[k])
        n_pairs = append_row(pseudojets, m, slot, low, high, pairs, n_pairs, scratch.row, asymmetry)
        k += 1
    return n_pairs, n_beams


@jit
def lower_bound(pseudojets: Pseudojets, m: int, threshold: float, close_pairs: ClosePairs) -> float:
    """A lower bound, not below ``threshold``, of all candidates that are not on the lists."""
    lows, bounds, infinities = fill(threshold), fill(math.inf), fill(math.inf)
    first = 0
    while first < m:
        beam = load(pseudojets.beam, first)
        bounds = least(where_below(beam, lows, infinities, beam), bounds)
        bounds = least(load(pseudojets.lower, first), bounds)
        first += width()
    bound = float(smallest_lane(bounds))
    start = pairs_below(close_pairs, threshold) if threshold > 0.0 else 0
    if start < close_pairs.ends[LEVELS - 1]:
        bound = min(
            bound, max(threshold, close_pairs.q[start] * 0.5)
        )  # its level may hold a smaller one
    return bound


@jit
def smallest(values: Floats, count: int) -> float:
    """The minimum of the first ``count`` values, infinity if there are none."""
    if count == 0:
        return math.inf
    a = b = fill(math.inf)
    first = 0
    while first < count:
        a = least(load(values, first), a)
        b = least(load(values, first + width()), b)
        first += 2 * width()
    return float(smallest_lane(least(a, b)))


@jit
def index_of(values: Floats, value: float) -> int:
    """The first index that holds ``value``."""
    index = 0
    while values[index] != value:
        index += 1
    return index


@jit
def count_relevant(candidates: Candidates, count: int, cut: float) -> int:
    """The number of candidates that survive the truncation."""
    number = 0
    for k in range(count):
        number += 1 if candidates.q[k] <= cut else 0
    return number
