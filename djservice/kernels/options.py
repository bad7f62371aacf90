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

from djservice.kernels.jit import jit, jit_contracted
from djservice.kernels.kinematics import TWO_PI, asymmetry_factor

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

#: Entries of a sum that are added together before the sums of blocks are.
BLOCK = 64
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


_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93145751953125e-1
_LN2_LOW = 1.42860682030941723212e-6
_SHIFT = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which then stands in the low bits


@jit_contracted
def weigh(options: Options, start: int, stop: int, minimum: float, rate: float, scratch: Scratch) -> None:
    """Weights exp(-rate (q - minimum)) of options ``start`` to ``stop``, to 2 ulp.

    Written out because calls of the library's exponential do not vectorise: the argument is reduced to
    k ln 2 + r, exp(r) is the Taylor series to r^13 (remainder below 1e-17), and 2^k is put together from its bits.
    """
    q, w = options.q[start:], options.w[start:]
    exponent, bits = scratch.exponent, scratch.exponent_bits
    count = (stop - start + PAD - 1) // PAD * PAD
    for k in range(count):
        x = (minimum - q[k]) * rate
        x = x if x > -100.0 else -100.0
        shifted = x * _LOG2E + _SHIFT
        whole = shifted - _SHIFT
        r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        p = 1.0 / 6227020800.0
        p = p * r + 1.0 / 479001600.0
        p = p * r + 1.0 / 39916800.0
        p = p * r + 1.0 / 3628800.0
        p = p * r + 1.0 / 362880.0
        p = p * r + 1.0 / 40320.0
        p = p * r + 1.0 / 5040.0
        p = p * r + 1.0 / 720.0
        p = p * r + 1.0 / 120.0
        p = p * r + 1.0 / 24.0
        p = p * r + 1.0 / 6.0
        p = p * r + 0.5
        p = p * r + 1.0
        w[k] = p * r + 1.0
        exponent[k] = shifted
    for k in range(count):
        bits[k] = (bits[k] + 1023) << 52
    for k in range(count):
        w[k] *= exponent[k]


@jit
def block_sums(w: Floats, count: int, blocks: Floats) -> float:
    """Sum of ``count`` weights; ``blocks`` gets the sum of each run of BLOCK.

    Eight running sums in a fixed order: vector instructions without leave to reorder, so the same bits everywhere.
    """
    total = 0.0
    for block in range((count + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        stop = min(start + BLOCK, count)
        whole = start + (stop - start) // 8 * 8
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for k in range(start, whole, 8):
            s0 += w[k]
            s1 += w[k + 1]
            s2 += w[k + 2]
            s3 += w[k + 3]
            s4 += w[k + 4]
            s5 += w[k + 5]
            s6 += w[k + 6]
            s7 += w[k + 7]
        rest = 0.0
        for k in range(whole, stop):
            rest += w[k]
        blocks[block] = (((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))) + rest
        total += blocks[block]
    return total


@jit
def weighted_sum(options: Options, count: int) -> float:
    """Sum of w q over an option list, in eight running sums."""
    w, q = options.w, options.q
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = count // 8 * 8
    for k in range(0, whole, 8):
        s0 += w[k] * q[k]
        s1 += w[k + 1] * q[k + 1]
        s2 += w[k + 2] * q[k + 2]
        s3 += w[k + 3] * q[k + 3]
        s4 += w[k + 4] * q[k + 4]
        s5 += w[k + 5] * q[k + 5]
        s6 += w[k + 6] * q[k + 6]
        s7 += w[k + 7] * q[k + 7]
    for k in range(whole, count):
        s0 += w[k] * q[k]
    return ((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))


@jit
def choose(w: Floats, count: int, blocks: Floats, target: float) -> int:
    """The option whose stretch of the summed weights holds ``target``; by rounding there may be none: then the last."""
    last = -1
    for block in range((count + BLOCK - 1) // BLOCK):
        if target < blocks[block]:
            for k in range(block * BLOCK, min((block + 1) * BLOCK, count)):
                if target < w[k]:
                    return k
                target -= w[k]
                if w[k] > 0.0:
                    last = k
            return last
        target -= blocks[block]
    for k in range(count):
        if w[k] > 0.0:
            last = k
    return last


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
