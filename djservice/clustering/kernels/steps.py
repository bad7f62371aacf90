"""The stages of one clustering step: raise the threshold, weigh, draw, score, take the step.

Each stage is inlined into :func:`djservice.clustering.kernels.tree.cluster_tree` and hands on what
the next one needs as a named tuple, so they cost nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from djservice.clustering.kernels.candidates import (
    Workspace,
    count_relevant,
    end_lists,
    put_beam,
    smallest,
)
from djservice.clustering.kernels.close_pairs import edge_above
from djservice.clustering.kernels.draw import (
    sum_both,
    weigh,
    weigh_rows,
    weighted_sum,
    weighted_sum_of_pairs,
)
from djservice.clustering.kernels.extremes import larger, smaller
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural, seldom
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.leading_jets import insert_jet
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import (
    EffectiveRadius,
    Floats,
    end_slots,
    merge,
    remove_slot,
)
from djservice.clustering.kernels.refill import append_new, lower_bound, refill
from djservice.clustering.kernels.removal import remove_beam, remove_pairs, remove_rows
from djservice.clustering.kernels.rows import (
    add_row,
    count_pairs,
    has_rows,
    is_full,
    least_of_rows,
    part_of,
)
from djservice.clustering.kernels.tiles import bound_tiles, close_up, empty_slot

OK, LIST_FULL, ZERO_PT, BAD_HISTORY, STATES_FULL, NO_DISTANCE = 0, 1, 2, 3, 4, 5

#: The threshold is raised to at least HEADROOM * minimum above the cut.
HEADROOM = 1.5


class Lists(NamedTuple):
    """The lists of pairs and beams: lengths, smallest distances, and whose weights are up to date.

    The lists hold every live candidate below ``threshold``. The list of pairs has ``n_parts`` parts.
    ``n_pairs``, ``least_pair`` and ``weighed_pairs`` are those of part 0, and ``least_row`` is the
    smallest distance in the others. The first ``weighed_pairs``, ``weighed_beams`` and
    ``weighed_parts`` have the weights of ``minimum`` and ``scale``.
    """

    n_pairs: int
    n_beams: int
    n_parts: int
    least_pair: float
    least_beam: float
    least_row: float
    threshold: float
    weighed_pairs: int
    weighed_beams: int
    weighed_parts: int
    minimum: float
    scale: float


class Scale(NamedTuple):
    """The scale of a step: its smallest distance, S, the kind that has S, and the truncation."""

    minimum: float
    scale: float
    is_beam: bool
    cut: float


class Weights(NamedTuple):
    """Sums over the weights of a step.

    ``mean`` is the mean of q over the kind that does not have the scale. Where ``tied``, objects at
    the same point share the probability and ``zero_pairs`` is the number of such pairs.
    """

    norm: float
    pair_norm: float
    mean: float
    rate: float
    tied: bool
    zero_pairs: int


class Choice(NamedTuple):
    """The drawn candidate: ids of its objects (b = -1: a beam), its place on the list or -1."""

    a: int
    b: int
    place: int


@jit
def no_lists() -> Lists:
    """The lists before the first step: empty, with threshold 0."""
    zero, one = natural(0), natural(1)  # a literal would compile callees twice
    return Lists(
        zero, zero, one, math.inf, math.inf, math.inf, 0.0, zero, zero, one, -1.0, -1.0
    )  # fmt: skip


@jit
def raise_threshold(
    workspace: Workspace, m: int, rigidity: float, asymmetry: float, length: float, lists: Lists
) -> tuple[int, Lists, Scale]:
    """Raise the threshold of the lists above everything that matters at this step.

    Returns a status, the lists, and the scale of the step.
    """
    pairs, beams = workspace.pairs, workspace.beams
    n_pairs, n_beams, threshold = lists.n_pairs, lists.n_beams, lists.threshold
    least_pair, least_beam = lists.least_pair, lists.least_beam
    status, minimum, scale, scale_is_beam, cut = OK, 0.0, 0.0, False, 0.0
    while True:
        pair_scale = smaller(least_pair, lists.least_row)
        minimum = smaller(pair_scale, least_beam)
        scale, scale_is_beam = minimum, least_beam < pair_scale
        if seldom(asymmetry > 0.0):
            pair_scale = math.inf
            for number in range(lists.n_parts):
                part, count = part_of(workspace, natural(number), n_pairs)
                pair_scale = min(pair_scale, smallest(part.s, count))
            scale, scale_is_beam = smaller(pair_scale, least_beam), least_beam < pair_scale
        if math.isinf(minimum):
            minimum = scale = lower_bound(workspace.pseudojets, m, threshold, workspace.close_pairs)
            if math.isinf(minimum):  # only infinite distances remain
                status = NO_DISTANCE
                break
            cut = minimum * (1.0 + length / rigidity)
        else:
            cut = minimum + scale * (length / rigidity)
            if (cut < threshold and scale < threshold) or math.isinf(threshold):
                break
        higher = edge_above(larger(cut, scale) + HEADROOM * minimum)
        if (
            threshold < workspace.close_pairs.top[0]
        ):  # beyond the close pairs, particles have further pairs
            higher = smaller(higher, workspace.close_pairs.top[0])
        n_pairs, n_beams = refill(
            workspace.pseudojets, m, threshold, higher, workspace.close_pairs, pairs, n_pairs, beams,
            n_beams, workspace.scratch, asymmetry,
        )  # fmt: skip
        if seldom(is_full(workspace.parts, n_pairs)):
            status = LIST_FULL
            break
        threshold = higher
        end_lists(pairs, n_pairs, beams, n_beams, asymmetry > 0.0)
        least_pair, least_beam = smallest(pairs.q, n_pairs), smallest(beams.q, n_beams)
    lists = Lists(
        n_pairs, n_beams, lists.n_parts, least_pair, least_beam, lists.least_row, threshold,
        lists.weighed_pairs, lists.weighed_beams, lists.weighed_parts, lists.minimum, lists.scale,
    )  # fmt: skip
    return status, lists, Scale(minimum, scale, scale_is_beam, cut)


@jit
def weigh_candidates(
    workspace: Workspace, rigidity: float, sharp: bool, length: float, lists: Lists, scale: Scale
) -> tuple[Lists, Weights]:
    """Compute the weights that are not up to date, and the sums of all weights."""
    pairs, beams, scratch = workspace.pairs, workspace.beams, workspace.scratch
    n_pairs, n_beams, minimum = lists.n_pairs, lists.n_beams, scale.minimum
    norm = mean = pair_norm = 0.0
    zero_pairs = natural(0)
    rate = rigidity / scale.scale if scale.scale > 0.0 else math.inf
    tied = minimum == 0.0 and not sharp
    if tied:  # objects at the same point: they share the probability
        zero_pairs = natural(count_pairs(workspace, n_pairs, lists.n_parts, 0.0))
        norm = float(zero_pairs + count_relevant(beams, n_beams, 0.0))
    elif not sharp:
        weighed_pairs, weighed_beams = lists.weighed_pairs, lists.weighed_beams
        weighed_parts = lists.weighed_parts
        if minimum != lists.minimum or scale.scale != lists.scale:
            weighed_pairs = weighed_beams = weighed_parts = natural(0)
        rows_norm = 0.0
        if seldom(has_rows(workspace, lists.n_parts)):
            rows_norm = weigh_rows(workspace, lists.n_parts, weighed_parts, minimum, rate, length)
        weigh(pairs, weighed_pairs, n_pairs, minimum, rate, length)
        weigh(beams, weighed_beams, n_beams, minimum, rate, length)
        pair_norm, beam_norm = sum_both(pairs.w, n_pairs, beams.w, n_beams, scratch)
        if seldom(has_rows(workspace, lists.n_parts)):
            workspace.parts.sum[0] = pair_norm
            pair_norm += rows_norm
        norm = pair_norm + beam_norm
        if scale.is_beam:
            opposite = weighted_sum_of_pairs(workspace, n_pairs, lists.n_parts)
        else:
            opposite = weighted_sum(beams, n_beams)
        mean = opposite / norm
    lists = Lists(
        n_pairs, n_beams, lists.n_parts, lists.least_pair, lists.least_beam, lists.least_row,
        lists.threshold, n_pairs, n_beams, lists.n_parts, minimum, scale.scale,
    )  # fmt: skip
    return lists, Weights(norm, pair_norm, mean, rate, tied, zero_pairs)


@jit
def remove_chosen(
    workspace: Workspace, slopes: ObjectSlopes | None, choice: Choice, slot_a: int, lists: Lists,
    safe: bool, jets: Floats, weight: float,
) -> tuple[Lists, bool, bool, int]:  # fmt: skip
    """Remove the candidates of the chosen objects, and put the object of a beam among the jets.

    Also returns whether the smallest pair and the smallest beam went, and the number of pairs that
    went, but for those in rows of others. ``slopes`` and ``weight`` are
    for the score in the particles (:mod:`djservice.clustering.kernels.input_score`).
    """
    pairs, beams, scratch = workspace.pairs, workspace.beams, workspace.scratch
    a, b, beam_place = choice.a, choice.b, workspace.scratch.beam_place
    n_pairs, pair_lost = remove_pairs(
        pairs, lists.n_pairs, a, b if b >= 0 else a, lists.least_pair, safe, scratch.dead, slopes,
        weight,
    )  # fmt: skip
    n_parts, dead = lists.n_parts, natural(0)
    if seldom(has_rows(workspace, n_parts)):
        n_parts, dead = remove_rows(
            workspace, lists.n_parts, a, b if b >= 0 else a, safe, slopes, weight
        )  # fmt: skip
    dead += lists.n_pairs - n_pairs
    n_beams, beam_lost = remove_beam(beams, lists.n_beams, a, lists.least_beam, beam_place, slopes)
    scratch.alive[a] = 0
    if b < 0:
        if rank() == 0:
            insert_jet(workspace.pseudojets, slot_a, jets, scratch.jet_pt2)
    else:
        n_beams, other_lost = remove_beam(beams, n_beams, b, lists.least_beam, beam_place, slopes)
        beam_lost = beam_lost or other_lost
        scratch.alive[b] = 0
    end_lists(pairs, n_pairs, beams, n_beams, safe)
    lists = Lists(
        n_pairs, n_beams, n_parts, lists.least_pair, lists.least_beam, lists.least_row,
        lists.threshold, n_pairs, n_beams, n_parts, lists.minimum, lists.scale,
    )  # fmt: skip
    return lists, pair_lost, beam_lost, dead


@jit
def recombine(
    workspace: Workspace,
    slot_a: int,
    slot_b: int,
    new_id: int,
    power: float,
    radius: EffectiveRadius,
    wide: bool,
) -> int:
    """Put the sum of two objects in the slot of the first, with id ``new_id``; returns a status."""
    scratch, status = workspace.scratch, OK
    if not merge(workspace.pseudojets, slot_a, slot_b, new_id, power, radius):
        status = ZERO_PT
    if wide:
        scratch.log_pt2[new_id] = math.log(workspace.pseudojets.pt2[slot_a])
    scratch.slot[new_id] = slot_a
    scratch.beam_place[new_id] = -1
    scratch.alive[new_id] = 1
    return status


@jit
def leave_slot(workspace: Workspace, slot: int, m: int, live: int, ordered: bool) -> int:
    """Remove the object in ``slot``; returns the slots that the ``live`` others take.

    The last object takes its slot, unless slots are ``ordered``.
    """
    pseudojets, slots = workspace.pseudojets, workspace.scratch.slot
    sync()
    if seldom(ordered):
        if rank() == 0:
            empty_slot(pseudojets, slot)
        sync()
        if 5 * live < 4 * m:
            m = close_up(pseudojets, m, slots)
            end_slots(pseudojets, m)
            bound_tiles(pseudojets, m)
    else:
        remove_slot(pseudojets, slot, m, slots)
        m -= 1
    sync()
    return m


@jit
def renew_least(workspace: Workspace, lists: Lists, pair_lost: bool, beam_lost: bool) -> Lists:
    """Find the smallest distances again if they went.

    This comes after the step: reading the lists in lanes right after writing them stalls the
    processor.
    """
    least_pair, least_beam = lists.least_pair, lists.least_beam
    least_row = math.inf
    if seldom(has_rows(workspace, lists.n_parts)):
        least_row = least_of_rows(workspace, lists.n_parts)
    if pair_lost:
        least_pair = smallest(workspace.pairs.q, lists.n_pairs)
    if beam_lost:
        least_beam = smallest(workspace.beams.q, lists.n_beams)
    return Lists(
        lists.n_pairs, lists.n_beams, lists.n_parts, least_pair, least_beam, least_row,
        lists.threshold, lists.weighed_pairs, lists.weighed_beams, lists.weighed_parts,
        lists.minimum, lists.scale,
    )  # fmt: skip


@jit
def append_sum(
    workspace: Workspace, m: int, new_id: int, lists: Lists, asymmetry: float, in_row: bool
) -> tuple[int, Lists]:
    """Put the candidates of the new object on the lists, in one pass over the live objects.

    With ``in_row`` its pairs begin a row.
    """
    pseudojets, pairs, beams, scratch = (
        workspace.pseudojets,
        workspace.pairs,
        workspace.beams,
        workspace.scratch,
    )
    n_beams, n_parts = lists.n_beams, lists.n_parts
    least_pair, least_beam, least_row = lists.least_pair, lists.least_beam, lists.least_row
    slot, status = int(scratch.slot[new_id]), OK
    first = lists.n_pairs
    if seldom(in_row):
        first = natural(int(workspace.parts.place[n_parts]))
    n_pairs, nearest = append_new(
        pseudojets, m, slot, lists.threshold, pairs, first, scratch, asymmetry
    )
    if seldom(not in_row and is_full(workspace.parts, n_pairs)):
        status = LIST_FULL
    else:
        if seldom(in_row):
            add_row(workspace, n_parts, new_id, n_pairs - first, nearest, asymmetry > 0.0)
            least_row = smaller(least_row, workspace.parts.least[n_parts])
            n_pairs, n_parts = lists.n_pairs, natural(n_parts + 1)
        elif nearest < lists.threshold:
            least_pair = smaller(least_pair, nearest)
        if pseudojets.beam[slot] < lists.threshold:
            put_beam(pseudojets, slot, beams, n_beams, scratch.beam_place)
            n_beams += 1
            least_beam = smaller(least_beam, pseudojets.beam[slot])
        end_lists(pairs, n_pairs, beams, n_beams, asymmetry > 0.0)
    lists = Lists(
        n_pairs, n_beams, n_parts, least_pair, least_beam, least_row, lists.threshold,
        lists.weighed_pairs, lists.weighed_beams, lists.weighed_parts, lists.minimum, lists.scale,
    )  # fmt: skip
    return status, lists
