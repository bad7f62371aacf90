"""Filling the candidate lists: close pairs, the pairs of an object, and of the newest object.

The lists hold every live candidate below the threshold, see
:mod:`djservice.clustering.kernels.candidates`. What is not put on a list is bounded from below.
"""

from __future__ import annotations

import math

from djservice.clustering.kernels.candidates import PAD, Candidates, Scratch, put_beam, put_pair
from djservice.clustering.kernels.close_pairs import LEVELS, ClosePairs, pairs_below
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
    smallest_natural,
    store,
    thread_bits,
    where_below,
    width,
    word,
)
from djservice.clustering.kernels.lanes.team import ballot, rank, size, sync
from djservice.clustering.kernels.pseudojets import (
    CHUNK,
    FEW,
    STRETCH,
    Floats,
    Pseudojets,
    distances,
    put_together,
)
from djservice.clustering.kernels.tiles import have_bounds, next_tile, tile_bounds, tiles_between


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

    Each bit k of ``hits`` stands for the pair with slot ``start`` + k, whose distance is in ``row``.
    """
    if compresses() and asymmetry == 0.0 and bit_count(hits) > FEW:
        return put_together(
            pseudojets,
            slot,
            start,
            hits,
            row,
            start % CHUNK,
            pairs.q,
            pairs.owner,
            pairs.other,
            count,
        )
    bits = thread_bits(hits)
    while bits != 0:
        k = lowest(bits)
        bits &= bits - 1
        place, other = natural(count + bits_below(hits, k)), natural(start + k)
        put_pair(pseudojets, slot, other, row[natural(other % CHUNK)], pairs, place, asymmetry)
    return int(count + bit_count(hits))


@jit
def take_hits(
    pseudojets: Pseudojets,
    slot: int,
    start: int,
    hits: int,
    pairs: Candidates,
    count: int,
    scratch: Scratch,
    asymmetry: float,
) -> int:
    """Put the hits of a stretch on the list; a processor only keeps them for :func:`put_hits`.

    It would be ahead in the distances, and begin them anew wherever it has not foreseen a hit.
    Returns the length of the list, -1 if it is too short.
    """
    if size() > 1:
        return _put_if_room(pseudojets, slot, start, hits, pairs, count, scratch.row, asymmetry)
    scratch.blocks[natural(start % CHUNK // STRETCH)] = float_of(hits)
    return count


@jit
def put_hits(
    pseudojets: Pseudojets,
    slot: int,
    begin: int,
    near: int,
    pairs: Candidates,
    count: int,
    scratch: Scratch,
    asymmetry: float,
) -> int:
    """Put the hits that were kept for a chunk of slots on the list; returns its length or -1.

    Each bit of ``near`` stands for a stretch of slots that was scanned.
    """
    start = begin
    while near != 0 and size() == 1:
        start, near = next_tile(pseudojets, start, near)
        hits = bits_of(scratch.blocks[natural(start % CHUNK // STRETCH)])
        count = _put_if_room(pseudojets, slot, start, hits, pairs, count, scratch.row, asymmetry)
        start, near = start + STRETCH, near >> 1
    return count


@jit
def _put_if_room(
    pseudojets: Pseudojets,
    slot: int,
    start: int,
    hits: int,
    pairs: Candidates,
    count: int,
    row: Floats,
    asymmetry: float,
) -> int:
    """Put the hits of a stretch on the list if it has room for a whole stretch, else return -1."""
    if count < 0 or count + STRETCH > len(pairs.q) - PAD:
        return -1
    if hits != 0:
        count = put_row(pseudojets, slot, start, hits, pairs, count, row, asymmetry)
    return count


@jit
def append_row(
    pseudojets: Pseudojets,
    m: int,
    slot: int,
    high: float,
    pairs: Candidates,
    count: int,
    scratch: Scratch,
    asymmetry: float,
) -> int:
    """Put the pairs with q < high that the object in ``slot`` owns on the list.

    Those below its lower bound are on it already. Those with q >= high set a new bound. Returns the
    new length of the list, -1 if it is too short.
    """
    y, phi, d, ident = (
        fill(pseudojets.y[slot]),
        fill(pseudojets.phi[slot]),
        fill(pseudojets.d[slot]),
        fill(pseudojets.ident[slot]),
    )
    lows, highs, infinities = fill(pseudojets.lower[slot]), fill(high), fill(math.inf)
    sync()
    bound = infinities
    begin, m = 0, word(m)
    while word(begin) < m and count >= 0:
        near = tiles_between(begin, min(word(begin + CHUNK), m))
        if have_bounds(pseudojets):
            tiles = tile_bounds(pseudojets, begin, y, d)
            bound = least(where_below(tiles, highs, infinities, tiles), bound)
            near &= below(tiles, highs)
        start, left = begin, near
        while word(left) != 0:
            start, left = next_tile(pseudojets, start, left)
            stop = min(word(start + STRETCH), m)
            hits = 0
            first = start
            while word(first) < stop:
                q = distances(pseudojets, first, y, phi, d)
                q = where_below(load(pseudojets.ident, first), ident, q, infinities)
                store(scratch.row, first - begin, q)
                bound = where_below(q, highs, bound, least(q, bound))
                hits |= (below(q, highs) & ~below(q, lows)) << word(first - start)
                first += width()
            count = take_hits(pseudojets, slot, start, hits, pairs, count, scratch, asymmetry)
            start, left = stop, left >> 1
        count = put_hits(pseudojets, slot, begin, near, pairs, count, scratch, asymmetry)
        begin += CHUNK
    pseudojets.lower[slot] = smallest_natural(bound)
    return count


@jit
def append_new(
    pseudojets: Pseudojets,
    m: int,
    slot: int,
    high: float,
    pairs: Candidates,
    count: int,
    scratch: Scratch,
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
    begin, m = 0, word(m)
    while word(begin) < m and count >= 0:
        near = tiles_between(begin, min(word(begin + CHUNK), m))
        if have_bounds(pseudojets):
            tiles = tile_bounds(pseudojets, begin, y, d)
            bound = least(where_below(tiles, highs, infinities, tiles), bound)
            near &= below(tiles, highs)
        start, left = begin, near
        while word(left) != 0:
            start, left = next_tile(pseudojets, start, left)
            stop = min(word(start + STRETCH), m)
            hits = 0
            first = start
            while word(first) < stop:
                q = distances(pseudojets, first, y, phi, d)
                store(scratch.row, first - begin, q)
                nearest = least(q, nearest)
                bound = where_below(q, highs, bound, least(q, bound))
                hits |= below(q, highs) << word(first - start)
                first += width()
            count = take_hits(pseudojets, slot, start, hits, pairs, count, scratch, asymmetry)
            start, left = stop, left >> 1
        count = put_hits(pseudojets, slot, begin, near, pairs, count, scratch, asymmetry)
        begin += CHUNK
    sync()
    pseudojets.y[slot] = y_slot
    pseudojets.lower[slot] = smallest_natural(bound)
    return count, smallest_natural(nearest)


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
    marked, first, m = 0, 0, word(m)
    while word(first) < m:
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
    while word(k) < word(marked) and n_pairs >= 0:
        slot = int(scratch.marked[word(k)])
        n_pairs = append_row(pseudojets, m, slot, high, pairs, n_pairs, scratch, asymmetry)
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
    bound = float(smallest_natural(bounds))
    start = pairs_below(close_pairs, threshold) if threshold > 0.0 else 0
    if start < close_pairs.ends[LEVELS - 1]:
        bound = min(
            bound, max(threshold, close_pairs.q[start] * 0.5)
        )  # its level may hold a smaller one
    return bound
