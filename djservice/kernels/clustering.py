"""One event, one tree: stochastic generalised-kT clustering with its log-probability and score.

At each step the options k (pairs and beams) have weights exp(-alpha (q_k - q_min) / S), where q = D R^2 and S = q_min
(the published scale, Qanti-kT, arXiv:1304.2394) or S = min_k q_k (pT_max/pT_min)^asymmetry (the safe scale). One is
drawn; a pair is replaced by its sum, a beam makes its object a jet. Options with alpha (q_k - q_min)/S > 40 + 2 ln n
weigh less than the rounding of the sum and are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from djservice.kernels.draw import block_sums, choose, choose_zero, pick, weigh, weighted_sum
from djservice.kernels.jit import jit
from djservice.kernels.objects import (
    Floats,
    Ints,
    Objects,
    is_live,
    merge,
    move_object,
    option_distance,
    row_distances,
)
from djservice.kernels.options import (
    Options,
    Scratch,
    append_beam,
    append_row,
    count_matter,
    lower_bound,
    refill,
    remove_beam,
    remove_pairs,
    smallest,
    smallest_scale,
)
from djservice.kernels.random import uniform
from djservice.kernels.settled import Reach, changed, largest_pt

OK, LIST_FULL, ZERO_PT, BAD_HISTORY = 0, 1, 2, 3


#: How far above the cut the threshold of the list is set when it has to be raised.
HEADROOM = 1.5


class Setting(NamedTuple):
    """What is sampled: power p, rigidity alpha, and the asymmetry of the safe scale (0 for the published one).

    With ``settled_pt`` >= 0 a tree stops once its leading jets above that pT cannot change; -1: at its end.
    """

    power: float
    rigidity: float
    asymmetry: float
    settled_pt: float


class Tree(NamedTuple):
    """Where the results of one tree go. Arrays of length 0 are not filled."""

    jets: Floats  # (jets, 4): px, py, pz, E
    jet_pt2: Floats  # (jets,), scratch
    history: Ints  # (n, 2)
    trace: Floats  # (n, 6)
    numbers: Floats  # (4,): score, log_prob, number of jets, steps


@jit
def truncation(n: int) -> float:
    """L: an option with alpha (q - q_min) / S > L weighs less than e^-L and is left out."""
    return 40.0 + 2.0 * math.log(n)


@jit
def raised(cut: float, least_scale: float) -> float:
    """The next threshold of the list."""
    return HEADROOM * max(cut, least_scale, 1e-300)


@jit
def first_list(
    objects: Objects, n: int, setting: Setting, pairs: Options, beams: Options, scratch: Scratch
) -> tuple[int, int, float]:
    """The list before the first step, the same for every tree: lengths (-1: too short) and threshold."""
    least = math.inf
    for slot in range(n):
        row_distances(scratch.row, objects, n, slot)
        bound = math.inf
        for j in range(slot):
            bound = scratch.row[j] if scratch.row[j] < bound else bound
        objects.lower[slot] = bound
        least = min(least, bound, objects.beam[slot])
    threshold = raised(least * (1.0 + truncation(n) / setting.rigidity), 0.0)
    n_pairs, n_beams = refill(objects, n, 0.0, threshold, pairs, 0, beams, 0, scratch, setting.asymmetry)
    return n_pairs, n_beams, threshold


@jit
def cluster_tree(
    n: int,
    radius: float,
    setting: Setting,
    key: np.uint64,
    iteration: int,
    sample: int,
    objects: Objects,
    pairs: Options,
    n_pairs: int,
    beams: Options,
    n_beams: int,
    threshold: float,
    scratch: Scratch,
    replay: Ints,
    tree: Tree,
) -> int:
    """Grow one tree from the first list; returns a status code.

    Parameters
    ----------
    n, radius, setting
        Particles, radius of this event, and what is sampled.
    key, iteration, sample
        What the random numbers are keyed by.
    objects, pairs, n_pairs, beams, n_beams, threshold
        The state before the first step; overwritten.
    scratch
        Work space.
    replay
        Shape (n, 2): follow these choices instead of drawing, or length 0.
    tree
        Where the results go.
    """
    alpha, asymmetry = setting.rigidity, setting.asymmetry
    safe, sharp = asymmetry > 0.0, math.isinf(alpha)
    length = truncation(n)
    radius2 = radius * radius
    slots, beam_at, blocks = scratch.slot, scratch.beam_at, scratch.blocks
    for j in range(n):
        slots[objects.ident[j]] = j
        beam_at[j] = -1
    for k in range(n_beams):
        beam_at[beams.owner[k]] = k
    for j in range(len(tree.jet_pt2)):
        tree.jet_pt2[j] = -1.0
        for c in range(4):  # an earlier attempt may have run out of room
            tree.jets[j, c] = math.nan

    m = n
    weighed_pairs = weighed_beams = 0  # entries whose weights are those of (old_minimum, old_scale)
    old_minimum = old_scale = -1.0
    least_pair, least_beam = smallest(pairs.q, pairs.bits, n_pairs), smallest(beams.q, beams.bits, n_beams)
    pair_lost = beam_lost = False
    score, log_prob, probability, n_jets = 0.0, 0.0, 1.0, 0
    stops, steps = setting.settled_pt >= 0.0, 0
    reach = Reach(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if stops:
        reach = whole_event(objects, n)

    for step in range(n):
        if stops and is_settled(reach, setting.settled_pt, tree):
            break
        steps += 1
        # The list holds every option below the threshold: bring the threshold above everything that matters.
        while True:
            if pair_lost:
                least_pair, pair_lost = smallest(pairs.q, pairs.bits, n_pairs), False
            if beam_lost:
                least_beam, beam_lost = smallest(beams.q, beams.bits, n_beams), False
            minimum = min(least_pair, least_beam)
            if safe:
                pair_scale = smallest_scale(pairs, n_pairs)
                scale, scale_is_beam = min(pair_scale, least_beam), least_beam < pair_scale
            else:
                scale, scale_is_beam = minimum, least_beam < least_pair
            if math.isinf(minimum):
                minimum = scale = lower_bound(objects, m, threshold)
                cut = minimum * (1.0 + length / alpha)
            else:
                cut = minimum + scale * (length / alpha)
                if (cut < threshold and scale < threshold) or math.isinf(threshold):
                    break
            higher = raised(cut, scale)
            old_pairs, old_beams = n_pairs, n_beams
            n_pairs, n_beams = refill(objects, m, threshold, higher, pairs, n_pairs, beams, n_beams, scratch, asymmetry)
            if n_pairs < 0:
                return LIST_FULL
            threshold = higher
            # New entries may be smaller than a minimum of "none".
            for k in range(old_pairs, n_pairs):
                least_pair = min(least_pair, pairs.q[k])
            for k in range(old_beams, n_beams):
                least_beam = min(least_beam, beams.q[k])

        # Weigh and draw.
        norm = mean = pair_norm = 0.0
        zero_pairs = 0
        rate = alpha / scale
        drawn, is_beam = -1, False
        tied = minimum == 0.0 and not sharp
        if tied:  # objects at the same point: they share the probability
            zero_pairs = count_matter(pairs, n_pairs, 0.0)
            norm = float(zero_pairs + count_matter(beams, n_beams, 0.0))
        elif not sharp:
            if minimum != old_minimum or scale != old_scale:
                weighed_pairs = weighed_beams = 0
            weigh(pairs, weighed_pairs, n_pairs, minimum, rate, scratch)
            weigh(beams, weighed_beams, n_beams, minimum, rate, scratch)
            pair_norm = block_sums(pairs.w, n_pairs, blocks)
            beam_norm = 0.0
            for k in range(n_beams):
                beam_norm += beams.w[k]
            norm = pair_norm + beam_norm
            mean = (weighted_sum(pairs, n_pairs) if scale_is_beam else weighted_sum(beams, n_beams)) / norm
        old_minimum, old_scale = minimum, scale

        if len(replay) > 0:
            a, b = replay[step, 0], replay[step, 1]
            if not is_live(a, n + step, m, slots, objects) or (
                b >= 0 and (a == b or not is_live(b, n + step, m, slots, objects))
            ):
                return BAD_HISTORY
            is_beam = b < 0
        elif sharp:
            is_beam = least_beam < least_pair
            chosen = beams if is_beam else pairs
            drawn = 0
            while chosen.q[drawn] != minimum:
                drawn += 1
            a, b = chosen.owner[drawn], (-1 if is_beam else chosen.other[drawn])
        else:
            target = uniform(key, iteration, sample, step) * norm
            if tied:
                is_beam = target >= zero_pairs
                drawn = (
                    choose_zero(beams, n_beams, target - zero_pairs) if is_beam else choose_zero(pairs, n_pairs, target)
                )
            elif target < pair_norm or n_beams == 0:
                drawn = choose(pairs.w, n_pairs, blocks, target)
            else:
                is_beam = True
                drawn = pick(beams.w, 0, n_beams, target - pair_norm)
            a, b = beams.owner[drawn] if is_beam else pairs.owner[drawn], (-1 if is_beam else pairs.other[drawn])

        # Its probability and score.
        slot_a = slots[a]
        slot_b = slots[b] if b >= 0 else -1
        chance, step_score, q = 1.0, 0.0, 0.0
        if tied:
            chance = 1.0 / norm
            if drawn < 0 and option_distance(objects, m, slot_a, slot_b, scratch.row) > 0.0:
                chance = 0.0
        elif not sharp:
            if drawn < 0:
                q = option_distance(objects, m, slot_a, slot_b, scratch.row)
                chance = math.exp((minimum - q) * rate) / norm
            else:
                q = beams.q[drawn] if is_beam else pairs.q[drawn]
                chance = (beams.w[drawn] if is_beam else pairs.w[drawn]) / norm
            # d log P / d log R^2 = -alpha (x'_k - sum P x'), x' = x (is beam - scale is beam)
            if scale_is_beam:
                step_score = rate * ((0.0 if is_beam else q) - mean)
            else:
                step_score = -rate * ((q if is_beam else 0.0) - mean)
        score += step_score
        if chance >= 1e-100:
            probability *= chance
        elif tied:  # a replayed choice that cannot be drawn
            log_prob = -math.inf
        else:  # its exponential may underflow, its logarithm does not
            log_prob += (minimum - q) * rate - math.log(norm)
        if probability < 1e-200:
            log_prob += math.log(probability)
            probability = 1.0
        if len(tree.history) > 0:
            tree.history[step, 0] = a
            tree.history[step, 1] = b
        if len(tree.trace) > 0:
            tree.trace[step, 0] = minimum
            tree.trace[step, 1] = scale
            tree.trace[step, 2] = norm
            tree.trace[step, 3] = chance
            tree.trace[step, 4] = step_score * 2.0 / radius
            tree.trace[step, 5] = count_matter(pairs, n_pairs, cut) + count_matter(beams, n_beams, cut)

        # Take the dead off the list.
        n_pairs, lost = remove_pairs(pairs, n_pairs, a, b if b >= 0 else a, least_pair, scratch, safe)
        pair_lost = pair_lost or lost
        beam_lost = beam_lost or objects.beam[slot_a] <= least_beam
        n_beams = remove_beam(beams, n_beams, a, beam_at)
        weighed_pairs = n_pairs
        if stops:
            reach = changed(reach, objects.px[slot_a], objects.py[slot_a], -1.0)
        if is_beam:
            n_jets += 1
            record_jet(objects, slot_a, tree)
            m -= 1
            if slot_a != m:
                move_object(objects, m, slot_a, slots)
            weighed_beams = n_beams
            continue
        beam_lost = beam_lost or objects.beam[slot_b] <= least_beam
        n_beams = remove_beam(beams, n_beams, b, beam_at)
        weighed_beams = n_beams
        if stops:
            reach = changed(reach, objects.px[slot_b], objects.py[slot_b], -1.0)
        new = n + step
        if not merge(objects, slot_a, slot_b, new, setting.power, radius2):
            return ZERO_PT
        if stops:
            reach = changed(reach, objects.px[slot_a], objects.py[slot_a], 1.0)
        slots[new] = slot_a
        beam_at[new] = -1
        m -= 1
        if slot_b != m:
            move_object(objects, m, slot_b, slots)
        slot = slots[new]

        # The sum's options: one pass over the live objects.
        before = n_pairs
        row_distances(scratch.row, objects, m, slot)
        n_pairs, objects.lower[slot] = append_row(scratch, objects, m, slot, 0.0, threshold, pairs, n_pairs, asymmetry)
        if n_pairs < 0:
            return LIST_FULL
        for k in range(before, n_pairs):
            least_pair = min(least_pair, pairs.q[k])
        if objects.beam[slot] < threshold:
            n_beams = append_beam(objects, slot, beams, n_beams, beam_at)
            least_beam = min(least_beam, objects.beam[slot])

    tree.numbers[0] = score * 2.0 / radius
    tree.numbers[1] = log_prob + math.log(probability)
    tree.numbers[2] = n_jets
    tree.numbers[3] = steps
    return OK


@jit
def record_jet(objects: Objects, slot: int, tree: Tree) -> None:
    """Insert a final jet among the leading ones, in falling pT."""
    kept = len(tree.jet_pt2)
    pt2 = objects.pt2[slot]
    at = kept
    while at > 0 and pt2 > tree.jet_pt2[at - 1]:
        at -= 1
    if at == kept:
        return
    for j in range(kept - 1, at, -1):
        tree.jet_pt2[j] = tree.jet_pt2[j - 1]
        for c in range(4):
            tree.jets[j, c] = tree.jets[j - 1, c]
    tree.jet_pt2[at] = pt2
    tree.jets[at, 0] = objects.px[slot]
    tree.jets[at, 1] = objects.py[slot]
    tree.jets[at, 2] = objects.pz[slot]
    tree.jets[at, 3] = objects.e[slot]


@jit
def whole_event(objects: Objects, n: int) -> Reach:
    """The reach of all particles together."""
    reach = Reach(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for j in range(n):
        reach = changed(reach, objects.px[j], objects.py[j], 1.0)
    return Reach(reach.px, reach.py, reach.a0, reach.a1, reach.a2, reach.a3, reach.a0 + reach.a1)


@jit
def is_settled(reach: Reach, settled_pt: float, tree: Tree) -> bool:
    """Whether no jet that can still form is among the leading ones and above ``settled_pt``."""
    pt = largest_pt(reach)
    return bool(pt < settled_pt or pt * pt < tree.jet_pt2[-1])
