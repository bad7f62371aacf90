"""The pseudojets of an event: kinematics in slots, recombination, and distances of pairs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.extremes import larger, smaller
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import TWO_PI, momentum_scale, rapidity
from djservice.clustering.kernels.lanes import (
    absolute,
    bit_count,
    fill,
    fma,
    least,
    load,
    natural,
    store,
    store_where,
    width,
)
from djservice.clustering.kernels.lanes.team import rank, size, sync

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Ids = NDArray[np.uint16]


#: Slots whose bits make one mask.
STRETCH = 64
#: So many hits among them are taken one by one, and more of them together.
FEW = 4
#: Slots whose distances are found before the first hit among them is taken. A row of distances has
#: them at the slots modulo this.
CHUNK = 8 * STRETCH
#: Particles of a large event. It has slots in order of rapidity and rows of pairs, from which
#: smaller ones gain nothing, and leaves out more of what weighs next to nothing.
LARGE = 512


class Pseudojets(NamedTuple):
    """The live objects of an event in slots 0 to m - 1.

    ``lower`` bounds from below the candidates that the object owns and that are neither close pairs
    nor on a list. ``ident`` is the id, as a float, so that it can be compared in lanes. In empty
    slots, and from m on, y, beam and lower are infinite, so no distance to them is finite.

    Where slots are in order of rapidity, a removed object leaves its slot empty, else the last one
    replaces it. ``tile_low``, ``tile_high`` and ``tile_d`` are the least and largest y and the
    least d of each tile of slots (:mod:`djservice.clustering.kernels.tiles`).
    """

    y: Floats
    phi: Floats
    d: Floats
    beam: Floats
    pt2: Floats
    px: Floats
    py: Floats
    pz: Floats
    e: Floats
    lower: Floats
    ident: Floats
    tile_low: Floats
    tile_high: Floats
    tile_d: Floats


#: Fields of an object, in the order of their arrays; and indices of those that say that a slot is empty.
FIELDS = Pseudojets._fields[:11]
Y, BEAM, LOWER, IDENT = map(FIELDS.index, ("y", "beam", "lower", "ident"))


class EffectiveRadius(NamedTuple):
    """R(pT) of an object: rho / pT, not below ``low`` or above ``high`` (arXiv:0903.0392).

    A constant R is low = high = R with rho = 0.
    """

    rho: float
    low: float
    high: float


@jit
def radius2(radius: EffectiveRadius, pt2: float) -> float:
    """R^2 of an object."""
    square = radius.rho * radius.rho / pt2 if radius.rho > 0.0 else 0.0
    return larger(radius.low * radius.low, smaller(square, radius.high * radius.high))


@jit
def have_tiles(pseudojets: Pseudojets) -> bool:
    """Whether there is memory for tiles. A GPU's kernel for small events has none."""
    return size() == 1 or len(pseudojets.tile_low) > 0


@jit
def copy_pseudojets(source: Pseudojets, target: Pseudojets, n: int) -> None:
    """Copy the first ``n`` slots, and empty those beyond."""
    for first in range(0, n, width()):
        store(target.y, first, load(source.y, first))
        store(target.phi, first, load(source.phi, first))
        store(target.d, first, load(source.d, first))
        store(target.beam, first, load(source.beam, first))
        store(target.pt2, first, load(source.pt2, first))
        store(target.px, first, load(source.px, first))
        store(target.py, first, load(source.py, first))
        store(target.pz, first, load(source.pz, first))
        store(target.e, first, load(source.e, first))
        store(target.lower, first, load(source.lower, first))
        store(target.ident, first, load(source.ident, first))
    tiles = n // STRETCH + 1 + width() if n >= LARGE else 1
    for tile in range(0, tiles if have_tiles(target) else 0, width()):
        store(target.tile_low, tile, load(source.tile_low, tile))
        store(target.tile_high, tile, load(source.tile_high, tile))
        store(target.tile_d, tile, load(source.tile_d, tile))
    end_slots(target, n)


@jit
def end_slots(pseudojets: Pseudojets, m: int) -> None:
    """Empty the slots from ``m`` on, as many as are read in lanes."""
    infinities = fill(math.inf)
    store(pseudojets.y, m, infinities)
    store(pseudojets.beam, m, infinities)
    store(pseudojets.lower, m, infinities)


@jit
def remove_slot(pseudojets: Pseudojets, slot: int, m: int, slots: Ids) -> None:
    """Remove the object in ``slot``; the last one, in slot ``m`` - 1, replaces it."""
    slot, last = natural(slot), natural(m - 1)
    if size() >= len(FIELDS):
        _remove_slot_by_team(pseudojets, slot, last, slots)
        return
    if rank() > 0:
        return
    if slot != last:
        pseudojets.y[slot] = pseudojets.y[last]
        pseudojets.phi[slot] = pseudojets.phi[last]
        pseudojets.d[slot] = pseudojets.d[last]
        pseudojets.beam[slot] = pseudojets.beam[last]
        pseudojets.pt2[slot] = pseudojets.pt2[last]
        pseudojets.px[slot] = pseudojets.px[last]
        pseudojets.py[slot] = pseudojets.py[last]
        pseudojets.pz[slot] = pseudojets.pz[last]
        pseudojets.e[slot] = pseudojets.e[last]
        pseudojets.lower[slot] = pseudojets.lower[last]
        pseudojets.ident[slot] = pseudojets.ident[last]
        slots[natural(int(pseudojets.ident[slot]))] = slot
    pseudojets.y[last] = math.inf
    pseudojets.beam[last] = math.inf
    pseudojets.lower[last] = math.inf


@jit
def _remove_slot_by_team(pseudojets: Pseudojets, slot: int, last: int, slots: Ids) -> None:
    """:func:`remove_slot` by a team: each of its threads has a field of the objects.

    On a GPU the arrays of pseudojets stand one after the other, and each is as long as the others.
    """
    field, length = natural(rank()), natural(len(pseudojets.y))
    if field < len(FIELDS):
        begin = natural(field * length)
        value = pseudojets.y[natural(begin + last)]
        pseudojets.y[natural(begin + slot)] = value
        if field == IDENT:
            slots[natural(int(value))] = slot
        if (field == Y) | (field == BEAM) | (field == LOWER):
            pseudojets.y[natural(begin + last)] = math.inf


@jit
def merge(
    pseudojets: Pseudojets,
    target: int,
    other: int,
    ident: int,
    power: float,
    radius: EffectiveRadius,
) -> bool:
    """Replace the object in slot ``target`` by its sum with that in ``other`` (E-scheme).

    False if d or R of the sum is infinite: it has no pT, and p < 0 or R = rho / pT has no bound.
    """
    target, other = natural(target), natural(other)
    px = pseudojets.px[target] + pseudojets.px[other]
    py = pseudojets.py[target] + pseudojets.py[other]
    pz = pseudojets.pz[target] + pseudojets.pz[other]
    e = pseudojets.e[target] + pseudojets.e[other]
    pt2 = px * px + py * py
    square = radius2(radius, pt2)
    sync()
    if (pt2 <= 0.0 and power < 0.0) or math.isinf(square):
        return False
    pseudojets.px[target] = px
    pseudojets.py[target] = py
    pseudojets.pz[target] = pz
    pseudojets.e[target] = e
    pseudojets.pt2[target] = pt2
    pseudojets.y[target] = rapidity(px, py, pz, e)
    pseudojets.phi[target] = math.atan2(py, px)
    pseudojets.d[target] = momentum_scale(pt2, power)
    pseudojets.beam[target] = pseudojets.d[target] * square
    pseudojets.ident[target] = ident
    return True


@jit
def is_live(ident: int, ids: int, m: int, slots: Ids, pseudojets: Pseudojets) -> bool:
    """Whether ``ident`` is the id of a live object."""
    if ident < 0 or ident >= ids:
        return False
    return bool(slots[ident] < m and pseudojets.ident[slots[ident]] == ident)


@jit
def distances(pseudojets: Pseudojets, first: int, y: Any, phi: Any, d: Any) -> Any:
    """q of the pairs of one object with those in a group of slots, from ``first`` on.

    ``y``, ``phi`` and ``d`` have the object's coordinates in every lane.
    """
    dy = load(pseudojets.y, first) - y
    dphi = absolute(load(pseudojets.phi, first) - phi)
    dphi = least(dphi, fill(TWO_PI) - dphi)
    return least(load(pseudojets.d, first), d) * fma(dy, dy, dphi * dphi)


@jit
def put_together(
    pseudojets: Pseudojets,
    slot: int,
    start: int,
    hits: int,
    row: Floats,
    place: int,
    q: Floats,
    owner: Ids,
    other: Ids,
    count: int,
) -> int:
    """Put the pairs of the object in ``slot`` with a stretch of slots on a list of ``count``.

    Each bit k of ``hits`` stands for the pair with slot ``start`` + k, whose distance is in
    ``row`` at ``place`` + k. The list has room for a stretch. Returns its new length.
    """
    ident, first = fill(pseudojets.ident[slot]), 0
    while first < STRETCH:
        group = hits >> first & 255
        store_where(q, count, load(row, place + first), group)
        store_where(owner, count, ident, group)
        store_where(other, count, load(pseudojets.ident, start + first), group)
        count = natural(count + bit_count(group))
        first += width()
    return count


@jit
def row_distances(row: Floats, pseudojets: Pseudojets, m: int, slot: int) -> None:
    """Fill ``row`` with q of the pairs of the object in ``slot`` with slots 0 to ``m``."""
    y, phi, d = fill(pseudojets.y[slot]), fill(pseudojets.phi[slot]), fill(pseudojets.d[slot])
    first = 0
    while first < m:
        store(row, first, distances(pseudojets, first, y, phi, d))
        first += width()


@jit
def candidate_distance(pseudojets: Pseudojets, m: int, a: int, b: int, row: Floats) -> float:
    """q of the pair in slots ``a`` and ``b``, or of the beam of ``a`` if ``b`` is -1."""
    if b < 0:
        return float(pseudojets.beam[a])
    sync()
    row_distances(row, pseudojets, m, a)
    sync()
    return float(row[b])
