"""Tiles: groups of 64 slots whose objects lie near each other, so that scans skip those out of reach.

An event of many particles has its slots in order of rapidity. A removed object leaves an empty slot
there, and a sum takes the slot of its harder part, so the order lasts. Once a fifth of the slots
are empty, the others close up. The 64 hardest particles have slots of their own, before the others:
one hard object brings a whole tile near.

Each 64 slots make a tile, with bounds of the rapidities of its objects and their smallest d. No
distance to them is below min(d, smallest d) gap^2, where the gap is that from an object's rapidity
to the tile's. Rounding keeps that order, so the bound holds for the distances as computed.

The tiles of events of few particles have no bounds. Nothing is skipped there, and the last object
takes the slot of a removed one.
"""

from __future__ import annotations

import math
from typing import Any

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    below,
    bit_count,
    bits_below,
    compresses,
    fill,
    least,
    load,
    lowest,
    natural,
    seldom,
    smallest_lane,
    store,
    store_where,
    where_below,
    width,
    word,
)
from djservice.clustering.kernels.lanes.team import ballot, rank, size, sync
from djservice.clustering.kernels.pseudojets import (
    LARGE,
    STRETCH,
    Floats,
    Ids,
    Pseudojets,
    have_tiles,
)


@jit
def tile_bounds(pseudojets: Pseudojets, first: int, y: Any, d: Any) -> Any:
    """Lower bounds of the distances from an object to the tiles of a chunk, which begins at a slot.

    ``y`` and ``d`` have the object's coordinates in every lane. The bound of a tile without objects
    is infinite or, if d is 0, not a number. Lanes beyond the chunk have bounds of further tiles.
    """
    tile = natural(first) // STRETCH
    inside = least(y - load(pseudojets.tile_low, tile), load(pseudojets.tile_high, tile) - y)
    gap = least(inside, fill(0.0))
    return least(load(pseudojets.tile_d, tile), d) * (gap * gap)


@jit
def tiles_between(begin: int, end: int) -> int:
    """A bit for each tile of a chunk that begins at slot ``begin``, as far as slot ``end``."""
    return int(word((1 << natural(end - begin + STRETCH - 1) // STRETCH) - 1))


@jit
def next_tile(pseudojets: Pseudojets, start: int, left: int) -> tuple[int, int]:
    """The first slot of the next tile that is left, and what is left from it on.

    Each bit of ``left`` stands for a tile, the first of which begins at ``start``. Nearly always
    that one is left. A processor foresees it, and begins before it has counted the bits.
    """
    if have_tiles(pseudojets) and left & 1 == 0:
        skipped = lowest(left)
        start, left = natural(start + skipped * STRETCH), left >> skipped
    return start, left


@jit
def have_bounds(pseudojets: Pseudojets) -> bool:
    """Whether the tiles have bounds.

    Scans ask first. Without bounds a processor need not wait for what they give.
    """
    return have_tiles(pseudojets) and bool(seldom(pseudojets.tile_low[0] != -math.inf))


@jit
def are_ordered(pseudojets: Pseudojets, n: int) -> bool:
    """Whether the slots of an event of ``n`` particles are in order of rapidity."""
    return n >= LARGE and have_tiles(pseudojets)


@jit
def open_tiles(pseudojets: Pseudojets) -> None:
    """Give the tiles no bounds."""
    store(pseudojets.tile_low, 0, fill(-math.inf))


@jit
def bound_tiles(pseudojets: Pseudojets, m: int) -> None:
    """Find the bounds of the tiles of ``m`` slots, all with an object."""
    sync()
    infinities, tile = fill(math.inf), 0
    while tile * STRETCH < m:
        low = high = d = infinities
        for slot in range(tile * STRETCH, min((tile + 1) * STRETCH, m), width()):
            y = load(pseudojets.y, slot)
            low, high = least(y, low), least(where_below(y, infinities, fill(0.0) - y, y), high)
            d = least(where_below(y, infinities, load(pseudojets.d, slot), infinities), d)
        pseudojets.tile_low[tile] = smallest_lane(low)
        pseudojets.tile_high[tile] = -smallest_lane(high)
        pseudojets.tile_d[tile] = smallest_lane(d)
        tile = natural(tile + 1)
    sync()
    store(pseudojets.tile_low, tile, infinities)
    store(pseudojets.tile_high, tile, fill(-math.inf))
    sync()


@jit
def widen_tile(pseudojets: Pseudojets, slot: int) -> None:
    """Widen the bounds of a tile to the new object in ``slot``."""
    slot, tile = natural(slot), natural(slot) // STRETCH
    y, d = pseudojets.y[slot], pseudojets.d[slot]
    low, high = min(pseudojets.tile_low[tile], y), max(pseudojets.tile_high[tile], y)
    least_d = min(pseudojets.tile_d[tile], d)
    sync()
    pseudojets.tile_low[tile], pseudojets.tile_high[tile] = low, high
    pseudojets.tile_d[tile] = least_d


@jit
def empty_slot(pseudojets: Pseudojets, slot: int) -> None:
    """Remove the object in ``slot``, and leave the slot empty."""
    slot = natural(slot)
    pseudojets.y[slot] = math.inf
    pseudojets.beam[slot] = math.inf
    pseudojets.lower[slot] = math.inf
    pseudojets.pt2[slot] = -math.inf
    pseudojets.ident[slot] = -1.0


@jit
def close_up(pseudojets: Pseudojets, m: int, slots: Ids) -> int:
    """Move the objects in ``m`` slots together, in their order; returns the slots that they take."""
    if compresses():
        return _close_up_in_lanes(pseudojets, m, slots)
    first = count = natural(0)
    while first < m:
        slot = natural(first + rank())
        is_full = slot < m and pseudojets.ident[slot] >= 0.0
        full = ballot(is_full)
        y, phi, d = pseudojets.y[slot], pseudojets.phi[slot], pseudojets.d[slot]
        beam, pt2, lower = pseudojets.beam[slot], pseudojets.pt2[slot], pseudojets.lower[slot]
        px, py, pz, e = (
            pseudojets.px[slot],
            pseudojets.py[slot],
            pseudojets.pz[slot],
            pseudojets.e[slot],
        )
        ident = pseudojets.ident[slot]
        sync()
        if is_full:
            place = natural(count + bits_below(full, rank()))
            pseudojets.y[place], pseudojets.phi[place], pseudojets.d[place] = y, phi, d
            pseudojets.beam[place], pseudojets.pt2[place] = beam, pt2
            pseudojets.lower[place], pseudojets.ident[place] = lower, ident
            pseudojets.px[place], pseudojets.py[place] = px, py
            pseudojets.pz[place], pseudojets.e[place] = pz, e
            slots[natural(int(ident))] = place
        count = natural(count + bit_count(full))
        first = natural(first + size())
        sync()
    return int(count)


@jit
def _close_up_in_lanes(pseudojets: Pseudojets, m: int, slots: Ids) -> int:
    """:func:`close_up` by a processor that moves lanes together in a register."""
    first, count, empty = 0, 0, fill(-1.0)
    while first < m:
        full = below(empty, load(pseudojets.ident, first))
        if first + width() > m:
            full &= (1 << (m - first)) - 1
        _move_together(pseudojets.y, first, count, full)
        _move_together(pseudojets.phi, first, count, full)
        _move_together(pseudojets.d, first, count, full)
        _move_together(pseudojets.beam, first, count, full)
        _move_together(pseudojets.pt2, first, count, full)
        _move_together(pseudojets.px, first, count, full)
        _move_together(pseudojets.py, first, count, full)
        _move_together(pseudojets.pz, first, count, full)
        _move_together(pseudojets.e, first, count, full)
        _move_together(pseudojets.lower, first, count, full)
        _move_together(pseudojets.ident, first, count, full)
        count = natural(count + bit_count(full))
        first += width()
    for place in range(count):
        slots[natural(int(pseudojets.ident[place]))] = place
    return count


@jit
def _move_together(values: Floats, first: int, place: int, full: int) -> None:
    """Move the values of ``full`` slots from ``first`` on to ``place`` and what follows it."""
    store_where(values, place, load(values, first), full)
