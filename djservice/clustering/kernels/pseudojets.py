"""The live objects of one event: their kinematics in slots, recombination, and the distances of their pairs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import TWO_PI, momentum_scale, rapidity
from djservice.clustering.kernels.lanes import (
    absolute,
    fill,
    fma,
    least,
    load,
    natural,
    store,
    width,
)
from djservice.clustering.kernels.lanes.team import sync

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]
Ids = NDArray[np.uint16]


#: Objects whose masks are gathered in one integer.
STRETCH = 64


class Objects(NamedTuple):
    """The live objects of one event in slots 0..m-1; a removed one is replaced by the last.

    ``lower`` bounds from below the options that the object owns and that are neither in the stock nor on the list;
    ``ident`` is the id, as a float, to be compared in lanes. Slots from m on are out of reach: y, beam and lower are
    infinite.
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


class Reach(NamedTuple):
    """R of an object of transverse momentum pT: rho / pT, not below ``low`` or above ``high`` (arXiv:0903.0392).

    A constant R is low = high = R with rho = 0.
    """

    rho: float
    low: float
    high: float


@jit
def radius2(reach: Reach, pt2: float) -> float:
    """R^2 of an object."""
    square = reach.rho * reach.rho / pt2 if reach.rho > 0.0 else 0.0
    return max(reach.low * reach.low, min(square, reach.high * reach.high))


@jit
def copy_objects(source: Objects, target: Objects, n: int) -> None:
    """Copy the first ``n`` slots, and put those beyond out of reach."""
    for at in range(0, n, width()):
        store(target.y, at, load(source.y, at))
        store(target.phi, at, load(source.phi, at))
        store(target.d, at, load(source.d, at))
        store(target.beam, at, load(source.beam, at))
        store(target.pt2, at, load(source.pt2, at))
        store(target.px, at, load(source.px, at))
        store(target.py, at, load(source.py, at))
        store(target.pz, at, load(source.pz, at))
        store(target.e, at, load(source.e, at))
        store(target.lower, at, load(source.lower, at))
        store(target.ident, at, load(source.ident, at))
    end_slots(target, n)


@jit
def end_slots(objects: Objects, m: int) -> None:
    """Put the slots from ``m`` on, as many as are read in lanes, out of reach."""
    nowhere = fill(math.inf)
    store(objects.y, m, nowhere)
    store(objects.beam, m, nowhere)
    store(objects.lower, m, nowhere)


@jit
def remove_slot(objects: Objects, slot: int, m: int, slots: Ids) -> None:
    """Take the object in ``slot`` away; the last one, in slot ``m`` - 1, replaces it."""
    slot, last = natural(slot), natural(m - 1)
    if slot != last:
        objects.y[slot] = objects.y[last]
        objects.phi[slot] = objects.phi[last]
        objects.d[slot] = objects.d[last]
        objects.beam[slot] = objects.beam[last]
        objects.pt2[slot] = objects.pt2[last]
        objects.px[slot] = objects.px[last]
        objects.py[slot] = objects.py[last]
        objects.pz[slot] = objects.pz[last]
        objects.e[slot] = objects.e[last]
        objects.lower[slot] = objects.lower[last]
        objects.ident[slot] = objects.ident[last]
        slots[natural(int(objects.ident[slot]))] = slot
    objects.y[last] = math.inf
    objects.beam[last] = math.inf
    objects.lower[last] = math.inf


@jit
def merge(objects: Objects, into: int, other: int, ident: int, power: float, reach: Reach) -> bool:
    """Replace the object in slot ``into`` by its sum with that in ``other`` (E-scheme); False if the sum has no pT."""
    into, other = natural(into), natural(other)
    px = objects.px[into] + objects.px[other]
    py = objects.py[into] + objects.py[other]
    pz = objects.pz[into] + objects.pz[other]
    e = objects.e[into] + objects.e[other]
    pt2 = px * px + py * py
    sync()
    if pt2 <= 0.0 and power < 0.0:
        return False
    objects.px[into] = px
    objects.py[into] = py
    objects.pz[into] = pz
    objects.e[into] = e
    objects.pt2[into] = pt2
    objects.y[into] = rapidity(px, py, pz, e)
    objects.phi[into] = math.atan2(py, px)
    objects.d[into] = momentum_scale(pt2, power)
    objects.beam[into] = objects.d[into] * radius2(reach, pt2)
    objects.ident[into] = ident
    return True


@jit
def is_live(ident: int, ids: int, m: int, slots: Ids, objects: Objects) -> bool:
    """Whether ``ident`` names a live object."""
    if ident < 0 or ident >= ids:
        return False
    return bool(slots[ident] < m and objects.ident[slots[ident]] == ident)


@jit
def distances(objects: Objects, at: int, y: Any, phi: Any, d: Any) -> Any:
    """q of the pairs of one object, its coordinates in every lane, with those in slots ``at`` to ``at`` + 8."""
    dy = load(objects.y, at) - y
    dphi = absolute(load(objects.phi, at) - phi)
    dphi = least(dphi, fill(TWO_PI) - dphi)
    return least(load(objects.d, at), d) * fma(dy, dy, dphi * dphi)


@jit
def row_distances(row: Floats, objects: Objects, m: int, slot: int) -> None:
    """q of the pairs of the object in ``slot`` with those in slots 0 to ``m``."""
    y, phi, d = fill(objects.y[slot]), fill(objects.phi[slot]), fill(objects.d[slot])
    at = 0
    while at < m:
        store(row, at, distances(objects, at, y, phi, d))
        at += width()


@jit
def option_distance(objects: Objects, m: int, a: int, b: int, row: Floats) -> float:
    """q of the pair in slots ``a`` and ``b``, or of the beam option of ``a`` if ``b`` is -1."""
    if b < 0:
        return float(objects.beam[a])
    sync()
    row_distances(row, objects, m, a)
    sync()
    return float(row[b])
