"""The live objects of one event: their kinematics in slots, recombination, and the distances of their pairs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.kernels.jit import jit
from djservice.kernels.kinematics import TWO_PI, momentum_scale, rapidity

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


#: Vector loops run over whole multiples of this, a little beyond the end, for their scalar remainders cost more than they do;
#: every array is longer by it, and what lies beyond the end is never read.
PAD = 16


class Objects(NamedTuple):
    """The live objects of one event in slots 0..m-1; a removed one is replaced by the last."""

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
    ident: NDArray[np.int64]


@jit
def copy_objects(source: Objects, target: Objects, n: int) -> None:
    """Copy the first ``n`` slots."""
    for j in range(n):
        target.y[j] = source.y[j]
        target.phi[j] = source.phi[j]
        target.d[j] = source.d[j]
        target.beam[j] = source.beam[j]
        target.pt2[j] = source.pt2[j]
        target.px[j] = source.px[j]
        target.py[j] = source.py[j]
        target.pz[j] = source.pz[j]
        target.e[j] = source.e[j]
        target.lower[j] = source.lower[j]
        target.ident[j] = source.ident[j]


@jit
def move_object(objects: Objects, source: int, target: int, slots: Ints) -> None:
    """Put the object of slot ``source`` in slot ``target``."""
    objects.y[target] = objects.y[source]
    objects.phi[target] = objects.phi[source]
    objects.d[target] = objects.d[source]
    objects.beam[target] = objects.beam[source]
    objects.pt2[target] = objects.pt2[source]
    objects.px[target] = objects.px[source]
    objects.py[target] = objects.py[source]
    objects.pz[target] = objects.pz[source]
    objects.e[target] = objects.e[source]
    objects.lower[target] = objects.lower[source]
    objects.ident[target] = objects.ident[source]
    slots[objects.ident[target]] = target


@jit
def merge(objects: Objects, into: int, other: int, ident: int, power: float, radius2: float) -> bool:
    """Replace the object in slot ``into`` by its sum with that in ``other`` (E-scheme); False if the sum has no pT."""
    px = objects.px[into] + objects.px[other]
    py = objects.py[into] + objects.py[other]
    pz = objects.pz[into] + objects.pz[other]
    e = objects.e[into] + objects.e[other]
    pt2 = px * px + py * py
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
    objects.beam[into] = objects.d[into] * radius2
    objects.ident[into] = ident
    return True


@jit
def is_live(ident: int, ids: int, m: int, slots: Ints, objects: Objects) -> bool:
    """Whether ``ident`` names a live object."""
    if ident < 0 or ident >= ids:
        return False
    return bool(slots[ident] < m and objects.ident[slots[ident]] == ident)


@jit
def row_distances(row: Floats, objects: Objects, m: int, slot: int) -> None:
    """q of the pairs that the object in ``slot`` owns; infinity for the others."""
    y, phi, d, ident = objects.y[slot], objects.phi[slot], objects.d[slot], objects.ident[slot]
    ys, phis, ds, idents = objects.y, objects.phi, objects.d, objects.ident
    for j in range((m + PAD - 1) // PAD * PAD):
        dy = ys[j] - y
        dphi = abs(phis[j] - phi)
        dphi = dphi if dphi <= math.pi else TWO_PI - dphi
        smaller = ds[j] if ds[j] < d else d
        q = smaller * (dy * dy + dphi * dphi)
        row[j] = q if idents[j] < ident else math.inf


@jit
def option_distance(objects: Objects, m: int, a: int, b: int, row: Floats) -> float:
    """q of the pair in slots ``a`` and ``b``, or of the beam option of ``a`` if ``b`` is -1."""
    if b < 0:
        return float(objects.beam[a])
    owner, other = (a, b) if objects.ident[a] > objects.ident[b] else (b, a)
    row_distances(row, objects, m, owner)
    return float(row[other])
