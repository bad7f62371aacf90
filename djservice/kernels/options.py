"""The active list: every option (pair or beam) that can matter at the next step, and nothing else.

All distances are q = D R^2: a pair has q = min(d_i, d_j) dR_ij^2 whatever the radius, and only a beam, q = d_i R_i^2,
knows about it. Of every pair the object with the larger id is the owner. The list holds *every* live option with
q < threshold; for its other options each object keeps a lower bound, so raising the threshold rescans only the
objects whose bound lies below the new one.

The canonical order of the options, in which a uniform is turned into a choice, is the order of the list: pairs, then
beams, each appended object by object, dead ones replaced by the last.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.kernels.jit import jit
from djservice.kernels.kinematics import asymmetry_factor
from djservice.kernels.objects import PAD, Floats, Ints, Objects, row_distances

#: Entries of a sum that are added together before the sums of blocks are.
BLOCK = 64


class Options(NamedTuple):
    """Options on the list: ``q``, its weight, what the scale sees of it, and the two ids (``other`` is -1 for a beam).

    ``bits`` is ``q`` seen as integers: positive floats sort alike and integer minima vectorise.
    """

    q: Floats
    bits: NDArray[np.int64]
    w: Floats
    s: Floats
    owner: Ints
    other: Ints


class Scratch(NamedTuple):
    """Work space of one thread."""

    row: Floats
    row_bits: NDArray[np.int64]
    cell: Floats
    cell_bits: NDArray[np.int64]
    exponent: Floats
    exponent_bits: NDArray[np.int64]
    blocks: Floats
    dead: NDArray[np.uint8]
    hits: Ints
    slot: Ints
    beam_at: Ints


@jit
def append_row(
    scratch: Scratch,
    objects: Objects,
    m: int,
    slot: int,
    low: float,
    high: float,
    pairs: Options,
    count: int,
    asymmetry: float,
) -> tuple[int, float]:
    """Put the options of ``scratch.row`` with low <= q < high on the list.

    Returns the new length of the list, -1 if it is too short, and the lower bound of what was left out.
    """
    row, bits = scratch.row, scratch.row_bits
    ident = objects.ident[slot]
    hits, number = scratch.hits, 0
    for j in range(m):  # without a branch, which would be mispredicted at every hit
        hits[number] = j
        number += (row[j] < high) & (row[j] >= low)
    if count + number > len(pairs.q) - PAD:
        return -1, 0.0
    for hit in range(number):
        j = hits[hit]
        pairs.q[count] = row[j]
        pairs.owner[count] = ident
        pairs.other[count] = objects.ident[j]
        if asymmetry > 0.0:
            factor = asymmetry_factor(objects.pt2[slot], objects.pt2[j], asymmetry)
            pairs.s[count] = row[j] * factor if row[j] > 0.0 else 0.0
        count += 1
    scratch.cell[0] = high
    scratch.cell[1] = math.inf
    edge, bound = scratch.cell_bits[0], scratch.cell_bits[1]
    infinity = bound
    for j in range(m):
        beyond = bits[j] if bits[j] >= edge else infinity
        bound = beyond if beyond < bound else bound
    scratch.cell_bits[0] = bound
    return count, scratch.cell[0]


@jit
def append_beam(objects: Objects, slot: int, beams: Options, count: int, beam_at: Ints) -> int:
    """Put the beam option of the object in ``slot`` on the list; returns the list's new length."""
    ident = objects.ident[slot]
    beams.q[count] = objects.beam[slot]
    beams.owner[count] = ident
    beam_at[ident] = count
    return count + 1


@jit
def refill(
    objects: Objects,
    m: int,
    low: float,
    high: float,
    pairs: Options,
    n_pairs: int,
    beams: Options,
    n_beams: int,
    scratch: Scratch,
    asymmetry: float,
) -> tuple[int, int]:
    """Raise the threshold from ``low`` to ``high``; returns the lengths of both lists, -1 if one is too short."""
    for slot in range(m):
        if low <= objects.beam[slot] < high:
            n_beams = append_beam(objects, slot, beams, n_beams, scratch.beam_at)
        if objects.lower[slot] < high:
            row_distances(scratch.row, objects, m, slot)
            n_pairs, bound = append_row(scratch, objects, m, slot, low, high, pairs, n_pairs, asymmetry)
            if n_pairs < 0:
                return -1, -1
            objects.lower[slot] = bound
    return n_pairs, n_beams


@jit
def lower_bound(objects: Objects, m: int, low: float) -> float:
    """A lower bound, not below ``low``, of all options that are not on the list."""
    bound = math.inf
    for slot in range(m):
        if objects.lower[slot] < bound:
            bound = objects.lower[slot]
        if low <= objects.beam[slot] < bound:
            bound = objects.beam[slot]
    return bound


@jit
def smallest(values: Floats, bits: NDArray[np.int64], count: int) -> float:
    """The minimum of the first ``count`` values, infinity if there are none."""
    if count == 0:
        return math.inf
    least, at = bits[0], 0
    for k in range(count):
        least = bits[k] if bits[k] < least else least
    while bits[at] != least:
        at += 1
    return float(values[at])


@jit
def smallest_scale(options: Options, count: int) -> float:
    """The minimum of what the safe scale sees of the options, infinity if there are none."""
    least = math.inf
    for k in range(count):
        least = options.s[k] if options.s[k] < least else least
    return least


@jit
def count_matter(options: Options, count: int, cut: float) -> int:
    """Options that survive the truncation."""
    number = 0
    for k in range(count):
        number += 1 if options.q[k] <= cut else 0
    return number


@jit
def remove_pairs(
    pairs: Options, count: int, a: int, b: int, minimum: float, scratch: Scratch, safe: bool
) -> tuple[int, bool]:
    """Take the options of objects ``a`` and ``b`` off the list; returns its length and whether the minimum went."""
    owner, other, dead, hits = pairs.owner, pairs.other, scratch.dead, scratch.hits
    for k in range((count + PAD - 1) // PAD * PAD):
        dead[k] = (owner[k] == a) | (owner[k] == b) | (other[k] == a) | (other[k] == b)
    number = 0
    for k in range(count):  # without a branch, which would be mispredicted at every hit
        hits[number] = k
        number += dead[k]
    lost = False
    for hit in range(number - 1, -1, -1):  # from the end, so that the last option is never a dead one
        k = hits[hit]
        lost = lost | (pairs.q[k] <= minimum)
        count -= 1
        pairs.q[k] = pairs.q[count]
        pairs.w[k] = pairs.w[count]
        owner[k] = owner[count]
        other[k] = other[count]
        if safe:
            pairs.s[k] = pairs.s[count]
    return count, lost


@jit
def remove_beam(beams: Options, count: int, ident: int, beam_at: Ints) -> int:
    """Take the beam option of an object off the list, if it is there; returns the list's length."""
    at = beam_at[ident]
    if at >= 0:
        count -= 1
        beams.q[at] = beams.q[count]
        beams.w[at] = beams.w[count]
        beams.owner[at] = beams.owner[count]
        beam_at[beams.owner[at]] = at
        beam_at[ident] = -1
    return count


@jit
def copy_options(source: Options, target: Options, count: int, safe: bool) -> None:
    """Copy the first ``count`` options; weights are made anew."""
    for k in range(count):
        target.q[k] = source.q[k]
        target.owner[k] = source.owner[k]
        target.other[k] = source.other[k]
    if safe:
        for k in range(count):
            target.s[k] = source.s[k]


def allocate(particles: int, capacity: int) -> tuple[Any, ...]:
    """Work space for events of up to ``particles`` particles and ``capacity`` pairs on the list.

    Objects, pairs and beams, each twice: as they are before the first step, and of the tree in hand; and the scratch.
    About 260 bytes a particle and 73 bytes a pair on the list.
    """

    def objects() -> Objects:
        floats = {name: np.empty(particles + PAD) for name in Objects._fields if name != "ident"}
        return Objects(**floats, ident=np.empty(particles + PAD, np.int64))

    def options(length: int) -> Options:
        q = np.empty(length + PAD)
        ids = np.empty(length + PAD, np.int32), np.empty(length + PAD, np.int32)
        return Options(q, q.view(np.int64), np.empty(length + PAD), np.empty(length + PAD), *ids)

    length = max(capacity, particles) + PAD
    row, cell, exponent = np.empty(particles + PAD), np.empty(2), np.empty(length)
    scratch = Scratch(
        row,
        row.view(np.int64),
        cell,
        cell.view(np.int64),
        exponent,
        exponent.view(np.int64),
        np.empty(length // BLOCK + 1),
        np.empty(length, np.uint8),
        np.empty(length, np.int32),
        np.empty(2 * particles, np.int32),
        np.empty(2 * particles, np.int32),
    )
    lists = options(capacity), options(capacity), options(particles), options(particles)
    return objects(), objects(), *lists, scratch
