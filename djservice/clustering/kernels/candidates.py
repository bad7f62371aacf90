"""The candidate lists of a step: every pair and beam that can matter, and nothing else.

Distances are q = D R^2. A pair has q = min(d_i, d_j) dR_ij^2 whatever the radius. Only a beam,
q = d_i R_i^2, knows the radius. A pair is owned by its object with the larger id.

The lists hold *every* live candidate with q < threshold. The others are of two kinds. Some pairs of
particles are among the close pairs, which are in order of q
(:mod:`djservice.clustering.kernels.close_pairs`). All others are bounded from below, object by
object. Raising the threshold looks only at objects whose bound lies below the new threshold.

The list of pairs of a large event is in parts, see :mod:`djservice.clustering.kernels.rows`.

The canonical order of the candidates is the order in which they were put on their part of the list,
with each dead one replaced by the last of the part. :mod:`djservice.clustering.kernels.draw` says
how a uniform picks one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.close_pairs import ClosePairs
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import asymmetry_factor
from djservice.clustering.kernels.lanes import (
    fill,
    least,
    load,
    natural,
    smallest_natural,
    store,
    width,
    word,
)
from djservice.clustering.kernels.lanes.team import sync
from djservice.clustering.kernels.pseudojets import (
    Floats,
    Ids,
    Ints,
    Pseudojets,
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


class Parts(NamedTuple):
    """The parts of the list of pairs, see :mod:`djservice.clustering.kernels.rows`.

    ``place`` is where a row begins on the list, and that of part 0 where its room ends. ``owner`` is
    the id of a row's object, ``length`` its number of pairs, and ``least`` its smallest distance:
    infinity if it has none, -1 if it is not known. ``sum`` is the sum of the weights of a part, -1
    if it is not known. Part 0 has only its ``sum`` here, and only where there are rows.
    """

    place: Ints
    owner: Ints
    length: Ints
    least: Floats
    sum: Floats


class Scratch(NamedTuple):
    """Work space of one thread for one tree.

    ``sums`` and ``blocks`` hold partial sums of the weights. ``slot``, ``beam_place``, ``alive``
    and ``log_pt2`` are indexed by id. ``beam_place`` is the place of an object's beam on its list,
    or -1. ``dead`` is work space of removals.
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
    dead: Ints


class Workspace(NamedTuple):
    """The memory of a thread.

    ``origin`` and ``close_pairs`` describe the event as loaded. ``pseudojets``, the lists ``pairs``
    and ``beams``, the ``parts`` of the former, and ``scratch`` belong to the current tree.
    """

    origin: Pseudojets
    pseudojets: Pseudojets
    close_pairs: ClosePairs
    pairs: Candidates
    beams: Candidates
    parts: Parts
    scratch: Scratch


@jit
def end_lists(pairs: Candidates, n_pairs: int, beams: Candidates, n_beams: int, safe: bool) -> None:
    """Give no weight to the places beyond the ends of the lists.

    They are read too, in whole groups of lanes.
    """
    sync()
    end_list(pairs, n_pairs, safe)
    end_list(beams, n_beams, safe)
    sync()


@jit
def end_list(candidates: Candidates, count: int, safe: bool) -> None:
    """Give no weight to the places beyond the end of a list or a part of it."""
    far = fill(FAR)
    count = word(count)
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
        put_scale(pseudojets, a, b, pairs, place, asymmetry)


@jit
def put_scale(
    pseudojets: Pseudojets, a: int, b: int, pairs: Candidates, place: int, asymmetry: float
) -> None:
    """Set the distance with the asymmetry factor of a pair on the list, which has its distance."""
    a, b, place = natural(a), natural(b), natural(place)
    q = pairs.q[place]
    factor = asymmetry_factor(pseudojets.pt2[a], pseudojets.pt2[b], asymmetry)
    pairs.s[place] = q * factor if q > 0.0 else 0.0


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
def smallest(values: Floats, count: int) -> float:
    """The minimum of the first ``count`` values, infinity if there are none."""
    if count == 0:
        return math.inf
    a = b = fill(math.inf)
    first, count = 0, word(count)
    while word(first) < count:
        a = least(load(values, first), a)
        b = least(load(values, first + width()), b)
        first += 2 * width()
    return float(smallest_natural(least(a, b)))


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
