"""The stages of one clustering step: raise the threshold, weigh, draw, score, take the step.

Each stage is inlined into :func:`djservice.clustering.kernels.tree.cluster_tree` and hands on what
the next one needs as a named tuple, so they cost nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from djservice.clustering.kernels.candidates import (
    Workspace,
    count_relevant,
    end_lists,
    index_of,
    put_beam,
    smallest,
)
from djservice.clustering.kernels.close_pairs import edge_above
from djservice.clustering.kernels.draw import choose, choose_zero, sum_weights, weigh, weighted_sum
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.lanes.team import rank, sync
from djservice.clustering.kernels.leading_jets import insert_jet
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import (
    EffectiveRadius,
    Floats,
    candidate_distance,
    end_slots,
    is_live,
    merge,
    remove_slot,
)
from djservice.clustering.kernels.refill import append_new, lower_bound, refill
from djservice.clustering.kernels.removal import remove_beam, remove_pairs
from djservice.clustering.kernels.tiles import bound_tiles, close_up, empty_slot

OK, LIST_FULL, ZERO_PT, BAD_HISTORY, STATES_FULL, NO_DISTANCE = 0, 1, 2, 3, 4, 5

#: The threshold is raised to at least HEADROOM * minimum above the cut.
HEADROOM = 1.5


class Lists(NamedTuple):
    """The lists of pairs and beams: lengths, smallest distances, and whose weights are up to date.

    The lists hold every live candidate below ``threshold``. The first ``weighed_pairs`` and
    ``weighed_beams`` of them have the weights of ``minimum`` and ``scale``.
    """

    n_pairs: int
    n_beams: int
    least_pair: float
    least_beam: float
    threshold: float
    weighed_pairs: int
    weighed_beams: int
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


class Likelihood(NamedTuple):
    """The log-probability of the steps so far: a sum of logarithms, and a product to be added."""

    log_prob: float
    product: float


@jit
def no_lists() -> Lists:
    """The lists before the first step: empty, with threshold 0."""
    zero = natural(0)  # a literal would compile callees twice
    return Lists(zero, zero, math.inf, math.inf, 0.0, zero, zero, -1.0, -1.0)


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
        minimum = min(least_pair, least_beam)
        scale, scale_is_beam = minimum, least_beam < least_pair
        if asymmetry > 0.0:
            pair_scale = smallest(pairs.s, n_pairs)
            scale, scale_is_beam = min(pair_scale, least_beam), least_beam < pair_scale
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
        higher = edge_above(max(cut, scale) + HEADROOM * minimum)
        if (
            threshold < workspace.close_pairs.top[0]
        ):  # beyond the close pairs, particles have further pairs
            higher = min(higher, workspace.close_pairs.top[0])
        n_pairs, n_beams = refill(
            workspace.pseudojets, m, threshold, higher, workspace.close_pairs, pairs, n_pairs,
            beams, n_beams, workspace.scratch, asymmetry,
        )  # fmt: skip
        if n_pairs < 0:
            status = LIST_FULL
            break
        threshold = higher
        end_lists(pairs, n_pairs, beams, n_beams, asymmetry > 0.0)
        least_pair, least_beam = smallest(pairs.q, n_pairs), smallest(beams.q, n_beams)
    lists = Lists(
        n_pairs, n_beams, least_pair, least_beam, threshold, lists.weighed_pairs,
        lists.weighed_beams, lists.minimum, lists.scale,
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
        zero_pairs = natural(count_relevant(pairs, n_pairs, 0.0))
        norm = float(zero_pairs + count_relevant(beams, n_beams, 0.0))
    elif not sharp:
        weighed_pairs, weighed_beams = lists.weighed_pairs, lists.weighed_beams
        if minimum != lists.minimum or scale.scale != lists.scale:
            weighed_pairs = weighed_beams = natural(0)
        weigh(pairs, weighed_pairs, n_pairs, minimum, rate, length)
        weigh(beams, weighed_beams, n_beams, minimum, rate, length)
        beam_norm = sum_weights(beams.w, n_beams, scratch)
        pair_norm = sum_weights(pairs.w, n_pairs, scratch)
        norm = pair_norm + beam_norm
        opposite = weighted_sum(pairs, n_pairs) if scale.is_beam else weighted_sum(beams, n_beams)
        mean = opposite / norm
    lists = Lists(
        n_pairs, n_beams, lists.least_pair, lists.least_beam, lists.threshold, n_pairs, n_beams,
        minimum, scale.scale,
    )  # fmt: skip
    return lists, Weights(norm, pair_norm, mean, rate, tied, zero_pairs)


@jit
def draw_candidate(
    workspace: Workspace, sharp: bool, lists: Lists, scale: Scale, weights: Weights, uniform: float
) -> Choice:
    """The candidate that a uniform in [0, 1) falls on; the closest if the rigidity is infinite."""
    pairs, beams, scratch = workspace.pairs, workspace.beams, workspace.scratch
    n_pairs, n_beams, target = lists.n_pairs, lists.n_beams, uniform * weights.norm
    if sharp:
        is_beam = lists.least_beam < lists.least_pair
        place = index_of(beams.q if is_beam else pairs.q, scale.minimum)
    elif weights.tied:
        is_beam = target >= weights.zero_pairs
        if is_beam:
            place = choose_zero(beams, n_beams, target - weights.zero_pairs)
        else:
            place = choose_zero(pairs, n_pairs, target)
    else:
        is_beam = target >= weights.pair_norm and n_beams > 0
        if is_beam:
            target -= weights.pair_norm
            sum_weights(beams.w, n_beams, scratch)
        w = beams.w if is_beam else pairs.w
        place = choose(w, n_beams if is_beam else n_pairs, scratch, target)
    place = natural(place)
    a = natural(int(beams.owner[place]) if is_beam else int(pairs.owner[place]))
    b = -1 if is_beam else int(pairs.other[place])
    return Choice(a, b, place)


@jit
def imposed_candidate(workspace: Workspace, m: int, ids: int, a: Any, b: Any) -> tuple[int, Choice]:
    """The candidate of a history or flip, and whether its objects are live, as a status."""
    slots, pseudojets = workspace.scratch.slot, workspace.pseudojets
    status = OK
    if not is_live(a, ids, m, slots, pseudojets) or (
        b >= 0 and (a == b or not is_live(b, ids, m, slots, pseudojets))
    ):
        status = BAD_HISTORY
    return status, Choice(a, b, -1)


@jit
def probability_and_score(
    workspace: Workspace, m: int, slot_a: int, slot_b: int, choice: Choice, scale: Scale,
    weights: Weights, sharp: bool,
) -> tuple[float, float, float]:  # fmt: skip
    """P of the drawn candidate, d log P / d log R, and its distance q.

    d log P / d log R^2 = -alpha (x'_k - sum P x'), x' = x (is beam - scale is beam).
    """
    probability, score, q, place = 1.0, 0.0, 0.0, choice.place
    pairs, beams, is_beam = workspace.pairs, workspace.beams, choice.b < 0
    if weights.tied:
        probability = 1.0 / weights.norm
        if (
            place < 0
            and candidate_distance(workspace.pseudojets, m, slot_a, slot_b, workspace.scratch.row)
            > 0.0
        ):
            probability = 0.0
    elif not sharp:
        if place < 0:
            q = candidate_distance(workspace.pseudojets, m, slot_a, slot_b, workspace.scratch.row)
            probability = math.exp((scale.minimum - q) * weights.rate) / weights.norm
        else:
            q = beams.q[place] if is_beam else pairs.q[place]
            probability = (beams.w[place] if is_beam else pairs.w[place]) / weights.norm
        if scale.is_beam:
            score = 2.0 * weights.rate * ((0.0 if is_beam else q) - weights.mean)
        else:
            score = -2.0 * weights.rate * ((q if is_beam else 0.0) - weights.mean)
    return probability, score, q


@jit
def add_step(
    likelihood: Likelihood, probability: float, q: float, scale: Scale, weights: Weights
) -> Likelihood:
    """The likelihood with one more step.

    An exponential may underflow, but its logarithm does not.
    """
    log_prob, product = likelihood.log_prob, likelihood.product
    if probability >= 1e-100:
        product *= probability
    elif weights.tied:  # a replayed choice that cannot be drawn
        log_prob = -math.inf
    else:
        log_prob += (scale.minimum - q) * weights.rate - math.log(weights.norm)
    if product < 1e-200:
        log_prob += math.log(product)
        product = 1.0
    return Likelihood(log_prob, product)


@jit
def remove_chosen(
    workspace: Workspace, slopes: ObjectSlopes | None, choice: Choice, slot_a: int, lists: Lists,
    safe: bool, jets: Floats, weight: float,
) -> tuple[Lists, bool, bool]:  # fmt: skip
    """Remove the candidates of the chosen objects, and put the object of a beam among the jets.

    Also returns whether the smallest pair and the smallest beam went. ``slopes`` and ``weight`` are
    for the score in the particles (:mod:`djservice.clustering.kernels.input_score`).
    """
    pairs, beams, scratch = workspace.pairs, workspace.beams, workspace.scratch
    a, b, beam_place = choice.a, choice.b, workspace.scratch.beam_place
    n_pairs, pair_lost = remove_pairs(
        pairs, lists.n_pairs, a, b if b >= 0 else a, lists.least_pair, safe, scratch.dead, slopes,
        weight,
    )  # fmt: skip
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
        n_pairs, n_beams, lists.least_pair, lists.least_beam, lists.threshold, n_pairs, n_beams,
        lists.minimum, lists.scale,
    )  # fmt: skip
    return lists, pair_lost, beam_lost


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
    if not ordered:
        if rank() == 0:
            remove_slot(pseudojets, slot, m, slots)
        m -= 1
    else:
        if rank() == 0:
            empty_slot(pseudojets, slot)
        sync()
        if 5 * live < 4 * m:
            m = close_up(pseudojets, m, slots)
            end_slots(pseudojets, m)
            bound_tiles(pseudojets, m)
    sync()
    return m


@jit
def renew_least(workspace: Workspace, lists: Lists, pair_lost: bool, beam_lost: bool) -> Lists:
    """Find the smallest distances again if they went.

    This comes after the step: reading the lists in lanes right after writing them stalls the
    processor.
    """
    least_pair, least_beam = lists.least_pair, lists.least_beam
    if pair_lost:
        least_pair = smallest(workspace.pairs.q, lists.n_pairs)
    if beam_lost:
        least_beam = smallest(workspace.beams.q, lists.n_beams)
    return Lists(
        lists.n_pairs, lists.n_beams, least_pair, least_beam, lists.threshold, lists.weighed_pairs,
        lists.weighed_beams, lists.minimum, lists.scale,
    )  # fmt: skip


@jit
def append_sum(
    workspace: Workspace, m: int, new_id: int, lists: Lists, asymmetry: float
) -> tuple[int, Lists]:
    """Put the candidates of the new object on the lists, in one pass over the live objects."""
    pseudojets, pairs, beams, scratch = (
        workspace.pseudojets,
        workspace.pairs,
        workspace.beams,
        workspace.scratch,
    )
    n_beams, least_pair, least_beam = lists.n_beams, lists.least_pair, lists.least_beam
    slot, status = int(scratch.slot[new_id]), OK
    n_pairs, nearest = append_new(
        pseudojets, m, slot, lists.threshold, pairs, lists.n_pairs, scratch, asymmetry
    )
    if n_pairs < 0:
        status = LIST_FULL
    else:
        if nearest < lists.threshold:
            least_pair = min(least_pair, nearest)
        if pseudojets.beam[slot] < lists.threshold:
            put_beam(pseudojets, slot, beams, n_beams, scratch.beam_place)
            n_beams += 1
            least_beam = min(least_beam, pseudojets.beam[slot])
        end_lists(pairs, n_pairs, beams, n_beams, asymmetry > 0.0)
    lists = Lists(
        n_pairs, n_beams, least_pair, least_beam, lists.threshold, lists.weighed_pairs,
        lists.weighed_beams, lists.minimum, lists.scale,
    )  # fmt: skip
    return status, lists
