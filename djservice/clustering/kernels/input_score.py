"""The score in the particles: what the steps of a tree add to the slopes of log P.

With the distances q, the scale S, rho = alpha / S and the drawn candidate k of a step,

    d log P_k = sum_l c_l dq_l + c_S dS,    c_l = rho (P_l - [l = k]),
                                            c_S = (rho / S) (q_k - sum_l P_l q_l)

Every candidate counts at every step, but it adds to the slopes of its objects only once in its
life. Its weight w stays as long as the smallest distance and S stay. In this time rho P_l is
w_l rho / norm, and rho / norm is the same for all candidates. G is its sum over the steps.

    a candidate comes        its slope in q begins as -w G
    the weights change       all slopes: + w G; then G = 0, and the new weights
    a candidate goes         its slope + w G is added to its objects
    a candidate is drawn     -rho is added to its objects
    S changes                the sum of c_S is added to the objects that set S

Where objects at the same point share the probability, a step adds nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from djservice.clustering.kernels.candidates import Candidates, Workspace
from djservice.clustering.kernels.draw import weighted_sum, weighted_sum_of_pairs
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import (
    WIDE,
    below,
    bits_of,
    fill,
    float_of,
    fma,
    holds,
    load,
    lowest,
    natural,
    store,
    width,
)
from djservice.clustering.kernels.lanes.team import rank, size, sync
from djservice.clustering.kernels.object_slopes import (
    ObjectSlopes,
    add_asymmetry,
    add_beam,
    add_pair,
)
from djservice.clustering.kernels.pseudojets import EffectiveRadius, Floats, Pseudojets
from djservice.clustering.kernels.removal import add_listed_pair
from djservice.clustering.kernels.rows import span
from djservice.clustering.kernels.steps import Choice, Lists, Scale, Weights


class Pending(NamedTuple):
    """The sums that are not among the slopes yet: G, and c_S since S last changed.

    S is set by the objects ``a`` and ``b`` (-1: a beam), whose distance is ``q``.
    """

    weight: float
    scale: float
    a: int
    b: int
    q: float


@jit
def nothing_pending() -> Pending:
    """The sums before the first step."""
    return Pending(0.0, 0.0, -1, -1, 0.0)


@jit
def start_slopes(n: int, pseudojets: Pseudojets, slopes: ObjectSlopes) -> None:
    """Clear the slopes of all objects, and note the particles."""
    j = natural(rank())
    while j < 2 * n:
        for k in range(4):
            slopes.objects[natural(4 * j + k)] = 0.0
        slopes.children[natural(2 * j)] = -1
        j = natural(j + size())
    j = natural(rank())
    while j < n:
        note_object(pseudojets, slopes, natural(int(pseudojets.ident[j])), j)
        j = natural(j + size())
    for k in range(len(slopes.leading)):
        slopes.leading[k] = -1
    sync()


@jit
def note_object(pseudojets: Pseudojets, slopes: ObjectSlopes, ident: int, slot: int) -> None:
    """Note the coordinates and the momentum of an object, which are needed after its end."""
    first, slot = natural(4 * ident), natural(slot)
    slopes.coordinates[first] = pseudojets.y[slot]
    slopes.coordinates[first + 1] = pseudojets.phi[slot]
    slopes.coordinates[first + 2] = pseudojets.d[slot]
    slopes.coordinates[first + 3] = pseudojets.pt2[slot]
    slopes.momenta[first] = pseudojets.px[slot]
    slopes.momenta[first + 1] = pseudojets.py[slot]
    slopes.momenta[first + 2] = pseudojets.pz[slot]
    slopes.momenta[first + 3] = pseudojets.e[slot]


@jit
def note_sum(
    pseudojets: Pseudojets, slopes: ObjectSlopes, new_id: int, slot: int, a: int, b: int
) -> None:
    """Note the sum of two objects."""
    sync()
    note_object(pseudojets, slopes, new_id, slot)
    slopes.children[natural(2 * new_id)] = a
    slopes.children[natural(2 * new_id + 1)] = b
    sync()


@jit
def settle_weights(
    workspace: Workspace, slopes: ObjectSlopes, radius: EffectiveRadius, asymmetry: float,
    lists: Lists, scale: Scale, pending: Pending,
) -> Pending:  # fmt: skip
    """Before candidates are weighed: add what their former weights gave, if these change now."""
    pairs, beams = workspace.pairs, workspace.beams
    weight, c, a, b, q = pending.weight, pending.scale, pending.a, pending.b, pending.q
    if scale.minimum != lists.minimum or scale.scale != lists.scale:
        if weight != 0.0:
            for part in range(lists.weighed_parts):
                first, end = span(workspace.parts, natural(part), lists.weighed_pairs)
                _add_weights(slopes.pair, pairs.w, first, end, weight)
            _add_weights(slopes.beam, beams.w, natural(0), lists.weighed_beams, weight)
        weight = 0.0
        if scale.scale != lists.scale:
            add_scale(slopes, radius, asymmetry, lists.scale, pending)
            c, a, b, q = 0.0, -1, -1, 0.0
            if scale.scale > 0.0:
                if scale.is_beam:
                    place = place_of_smallest(beams.q, natural(0), lists.n_beams, scale.scale)
                else:
                    place = _place_of_pair(workspace, lists, scale.scale, asymmetry)
                place = natural(place)
                a = int(beams.owner[place]) if scale.is_beam else int(pairs.owner[place])
                b = -1 if scale.is_beam else int(pairs.other[place])
                q = beams.q[place] if scale.is_beam else pairs.q[place]
    return Pending(weight, c, a, b, q)


@jit
def _place_of_pair(workspace: Workspace, lists: Lists, scale: float, asymmetry: float) -> int:
    """The place of the pair that sets the scale."""
    values = workspace.pairs.s if asymmetry > 0.0 else workspace.pairs.q
    part = natural(0)
    first, end = span(workspace.parts, part, lists.n_pairs)
    place = place_of_smallest(values, first, end, scale)
    while place == end:
        part = natural(part + 1)
        first, end = span(workspace.parts, part, lists.n_pairs)
        place = place_of_smallest(values, first, end, scale)
    return int(place)


@jit
def place_of_smallest(values: Floats, first: int, end: int, smallest: float) -> int:
    """The first place of the smallest of positive values, or ``end`` if none is as small."""
    next_larger = fill(float_of(bits_of(smallest) + 1))
    while first < end:
        hits = below(load(values, first), next_larger)
        if hits != 0:
            end = first + lowest(hits)
        first += width()
    return int(end)


@jit
def _add_weights(slopes: Floats, w: Floats, first: int, end: int, factor: float) -> None:
    factors = fill(factor)
    while first < end:
        store(slopes, first, fma(load(w, first), factors, load(slopes, first)))
        first += width()


@jit
def add_scale(
    slopes: ObjectSlopes, radius: EffectiveRadius, asymmetry: float, scale: float, pending: Pending
) -> None:
    """Add what depends on S to the objects that set it."""
    a, b, c = pending.a, pending.b, pending.scale
    sync()
    if a >= 0 and rank() == 0:
        if b < 0:
            add_beam(slopes, radius, a, pending.q, c)
        else:
            add_pair(slopes, a, b, pending.q, c * (scale / pending.q))
            if asymmetry > 0.0:
                add_asymmetry(slopes, a, b, c * scale * asymmetry)
    sync()


@jit
def start_candidates(
    workspace: Workspace, slopes: ObjectSlopes, former: Lists, lists: Lists, pending: Pending
) -> None:
    """After candidates are weighed: the slopes of those that are new on the lists begin as -w G."""
    pairs, beams = workspace.pairs, workspace.beams
    sync()
    _start(slopes.pair, pairs.w, former.weighed_pairs, lists.n_pairs, pending.weight)
    for part in range(former.weighed_parts, lists.n_parts):
        first, end = span(workspace.parts, natural(part), 0)
        _start(slopes.pair, pairs.w, first, end, pending.weight)
    _start(slopes.beam, beams.w, former.weighed_beams, lists.n_beams, pending.weight)
    sync()


@jit
def _start(slopes: Floats, w: Floats, first: int, count: int, weight: float) -> None:
    k = natural(first + rank())
    while k < count:
        slopes[k] = -weight * w[k]
        k = natural(k + size())


@jit
def add_choice(
    workspace: Workspace, slopes: ObjectSlopes, radius: EffectiveRadius, choice: Choice, q: float,
    lists: Lists, scale: Scale, weights: Weights, pending: Pending,
) -> Pending:  # fmt: skip
    """Add what a step gives to its drawn candidate, which has the distance ``q``, and to the sums."""
    added, c = 0.0, 0.0
    if not weights.tied:
        if scale.is_beam:
            others = weighted_sum(workspace.beams, lists.n_beams)
        else:
            others = weighted_sum_of_pairs(workspace, lists.n_pairs, lists.n_parts)
        added = weights.rate / weights.norm
        c = weights.rate / scale.scale * (q - weights.mean - others / weights.norm)
        if rank() == 0:
            if choice.b < 0:
                add_beam(slopes, radius, choice.a, q, -weights.rate)
            else:
                add_pair(slopes, choice.a, choice.b, q, -weights.rate)
        sync()
    return Pending(pending.weight + added, pending.scale + c, pending.a, pending.b, pending.q)


@jit
def add_ended(
    workspace: Workspace, slopes: ObjectSlopes, radius: EffectiveRadius, choice: Choice,
    lists: Lists, weight: float,
) -> None:  # fmt: skip
    """Before a step is taken: add the candidates of its objects, which go.

    A processor adds the pairs where they are removed.
    """
    beams, beam_place = workspace.beams, workspace.scratch.beam_place
    if size() > 1:
        for part in range(lists.n_parts):
            first, end = span(workspace.parts, natural(part), lists.n_pairs)
            _add_ended_pairs(workspace.pairs, slopes, choice, first, end, weight)
    if rank() == 0:
        _add_listed_beam(beams, slopes, radius, int(beam_place[natural(choice.a)]), weight)
        if choice.b >= 0:
            _add_listed_beam(beams, slopes, radius, int(beam_place[natural(choice.b)]), weight)
        else:
            note_jet(workspace.scratch.jet_pt2, slopes, choice.a)
    sync()


@jit
def _add_ended_pairs(
    pairs: Candidates, slopes: ObjectSlopes, choice: Choice, first: int, end: int, weight: float
) -> None:
    """Find the pairs of the chosen objects together; one thread adds them, in their order."""
    a, b = choice.a, choice.b
    while first < end:
        ended = holds(pairs.owner, pairs.other, first, a, b if b >= 0 else a)
        if ended != 0:
            bits = ended if rank() == 0 else 0
            while bits != 0:
                k = first + lowest(bits)
                bits &= bits - 1
                if k < end:
                    add_listed_pair(pairs, k, slopes, weight)
            sync()
        first = natural(first + WIDE)


@jit
def note_jet(jet_pt2: Floats, slopes: ObjectSlopes, ident: int) -> None:
    """Note the id of a new jet if it is among the leading ones, before it is put among these."""
    leading, new_pt2 = slopes.leading, slopes.coordinates[natural(4 * ident + 3)]
    place = len(leading)
    while place > 0 and new_pt2 > jet_pt2[place - 1]:
        place -= 1
    for j in range(len(leading) - 1, place, -1):
        leading[j] = leading[j - 1]
    if place < len(leading):
        leading[place] = ident


@jit
def _add_listed_beam(
    beams: Candidates, slopes: ObjectSlopes, radius: EffectiveRadius, place: int, weight: float
) -> None:
    if place >= 0:
        c = slopes.beam[natural(place)] + beams.w[natural(place)] * weight
        add_beam(slopes, radius, int(beams.owner[natural(place)]), beams.q[natural(place)], c)


@jit
def end_slopes(
    workspace: Workspace, slopes: ObjectSlopes, radius: EffectiveRadius, asymmetry: float,
    lists: Lists, pending: Pending,
) -> None:  # fmt: skip
    """After the last step: add all candidates that are weighed and still on the lists, and S."""
    add_scale(slopes, radius, asymmetry, lists.scale, pending)
    if rank() == 0:
        for part in range(lists.weighed_parts):
            first, end = span(workspace.parts, natural(part), lists.weighed_pairs)
            for k in range(first, end):
                add_listed_pair(workspace.pairs, k, slopes, pending.weight)
        for k in range(lists.weighed_beams):
            _add_listed_beam(workspace.beams, slopes, radius, k, pending.weight)
    sync()
