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

from djservice.clustering.kernels.alternative import Flip, flipped_option, no_flip, write_flip
from djservice.clustering.kernels.candidates import (
    Work,
    append_new,
    count_matter,
    end_lists,
    index_of,
    lower_bound,
    put_beam,
    refill,
    smallest,
)
from djservice.clustering.kernels.close_pairs import edge_above
from djservice.clustering.kernels.draw import choose, choose_zero, sum_weights, weigh, weighted_sum
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.lanes.team import of_rank, rank, size, sync
from djservice.clustering.kernels.leading_jets import clear_jets, insert_jet, leading_so_far
from djservice.clustering.kernels.philox import uniform
from djservice.clustering.kernels.pseudojets import (
    Floats,
    Ints,
    Reach,
    copy_objects,
    is_live,
    merge,
    option_distance,
    remove_slot,
)
from djservice.clustering.kernels.removal import remove_beam, remove_pairs
from djservice.clustering.kernels.scores import SLOPES, step_slopes
from djservice.clustering.kernels.stopping import Spread, changed, largest_pt, whole_event

OK, LIST_FULL, ZERO_PT, BAD_HISTORY, STATES_FULL, NO_DISTANCE = 0, 1, 2, 3, 4, 5

#: How far above the cut the threshold of the list is set when it has to be raised, at least.
HEADROOM = 1.5


class Setting(NamedTuple):
    """What is sampled: power p, rigidity alpha, and the asymmetry of the safe scale (0 for the published one).

    With ``stops`` a tree ends once its leading jets above ``settled_pt`` cannot change. ``main`` is the score that
    there is, or among those of :mod:`djservice.clustering.kernels.scores` the one that traces show.
    """

    power: float
    rigidity: float
    asymmetry: float
    settled_pt: float
    stops: bool
    main: int
    sharp: bool
    wide: bool


class Tree(NamedTuple):
    """Where the results of one tree go. Arrays of length 0 are not filled."""

    jets: Floats  # (jets, 4): px, py, pz, E
    history: Ints  # (n, 2)
    trace: Floats  # (n, 6)
    scores: Floats  # (1,): in R; or (5,): see slopes
    numbers: Floats  # (4,): log_prob, number of jets, steps, states
    state_jets: Floats  # (rows, jets, 4)
    state_scores: Floats  # (rows, 1 or 5)
    flip: Floats  # (4,): see flip
    all_flips: Floats  # (n, 4): those of all steps, from the first row on; the rest have step -1


@jit
def truncation(n: int) -> float:
    """L: an option with alpha (q - q_min) / S > L weighs less than e^-L and is left out."""
    return 40.0 + 2.0 * math.log(max(n, 1))


@jit
def cluster_tree(
    n: int,
    reach: Reach,
    setting: Setting,
    key: np.uint64,
    iteration: int,
    sample: int,
    work: Work,
    first_state: int,
    replay: Ints,
    forced: Floats,
    tree: Tree,
) -> int:
    """Grow one tree; returns a status code.

    Parameters
    ----------
    n, reach, setting
        Particles, radius of this event, and what is sampled.
    key, iteration, sample
        What the random numbers are keyed by.
    work
        The event in ``origin`` and ``stock``; the rest is overwritten.
    first_state
        Where the states of this tree begin in ``tree.state_jets``.
    replay
        Shape (n, 2): follow these choices instead of drawing, or length 0.
    forced
        A flip as four numbers: take its option at its step, drawing before and after as usual; or length 0.
    tree
        Where the results go.
    """
    objects, stock, pairs, beams, scratch = (
        work.objects,
        work.stock,
        work.pairs,
        work.beams,
        work.scratch,
    )
    alpha, asymmetry = setting.rigidity, setting.asymmetry
    safe, sharp, wide = asymmetry > 0.0, setting.sharp, setting.wide
    length = truncation(n)
    slots, beam_at, alive, slopes, jet_pt2 = (
        scratch.slot,
        scratch.beam_at,
        scratch.alive,
        scratch.slopes,
        scratch.jet_pt2,
    )
    copy_objects(work.origin, objects, n)
    sync()
    j = natural(rank())
    while j < n:
        slots[j] = j
        beam_at[j] = -1
        alive[j] = 1
        if wide:
            scratch.log_pt2[j] = math.log(objects.pt2[j])
        j = natural(j + size())
    for k in range(len(tree.scores)):
        tree.scores[k] = 0.0
    clear_jets(tree.jets, jet_pt2)

    m = n
    n_pairs = n_beams = natural(0)  # not a literal, for which callees would be compiled once more
    threshold = 0.0
    weighed_pairs = weighed_beams = 0  # entries whose weights are those of (old_minimum, old_scale)
    old_minimum = old_scale = -1.0
    least_pair = least_beam = math.inf
    score, log_prob, probability, n_jets = 0.0, 0.0, 1.0, 0
    steps, drawn_ahead = 0, 0.0
    spread = whole_event(objects, n) if setting.stops else Spread(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    follows, state, state_is_old, state_edge = (
        len(tree.state_jets) > 0,
        first_state - 1,
        True,
        math.inf,
    )
    flip, flips, all_flips, n_flips = no_flip(), len(tree.flip) > 0, len(tree.all_flips) > 0, 0
    # A flip whose rate is nothing but rounding, as no option gains, leads nowhere.
    forced_step = int(forced[1]) if len(forced) > 0 and forced[2] >= 0.0 else -1
    settled_pt2 = setting.settled_pt * setting.settled_pt

    # No way out of a step but where all trees come by: the teams of a warp of a GPU that took different branches go on together where
    # these meet again, and after a return from within a branch that is the end of the tree.
    status = OK
    for step in range(n):
        if setting.stops:
            most = largest_pt(spread)
            if most < setting.settled_pt or most * most < jet_pt2[-1]:
                break
        steps += 1
        # The list holds every option below the threshold: bring the threshold above everything that matters.
        while True:
            minimum = min(least_pair, least_beam)
            scale, scale_is_beam = minimum, least_beam < least_pair
            if safe:
                pair_scale = smallest(pairs.s, n_pairs)
                scale, scale_is_beam = min(pair_scale, least_beam), least_beam < pair_scale
            if math.isinf(minimum):
                minimum = scale = lower_bound(objects, m, threshold, stock)
                if math.isinf(minimum):  # nothing is left but infinite distances
                    status = NO_DISTANCE
                    break
                cut = minimum * (1.0 + length / alpha)
            else:
                cut = minimum + scale * (length / alpha)
                if (cut < threshold and scale < threshold) or math.isinf(threshold):
                    break
            higher = edge_above(max(cut, scale) + HEADROOM * minimum)
            if threshold < stock.top[0]:  # particles have their other pairs beyond the stock
                higher = min(higher, stock.top[0])
            n_pairs, n_beams = refill(
                objects,
                m,
                threshold,
                higher,
                stock,
                pairs,
                n_pairs,
                beams,
                n_beams,
                scratch,
                asymmetry,
            )
            if n_pairs < 0:
                status = LIST_FULL
                break
            threshold = higher
            end_lists(pairs, n_pairs, beams, n_beams, safe)
            least_pair, least_beam = smallest(pairs.q, n_pairs), smallest(beams.q, n_beams)
        sync()
        if status != OK:
            break

        # Weigh and draw.
        norm = mean = pair_norm = 0.0
        zero_pairs = 0
        rate = alpha / scale if scale > 0.0 else math.inf
        drawn, is_beam = -1, False
        tied = minimum == 0.0 and not sharp
        if tied:  # objects at the same point: they share the probability
            zero_pairs = count_matter(pairs, n_pairs, 0.0)
            norm = float(zero_pairs + count_matter(beams, n_beams, 0.0))
        elif not sharp:
            if minimum != old_minimum or scale != old_scale:
                weighed_pairs = weighed_beams = natural(0)
            weigh(pairs, weighed_pairs, n_pairs, minimum, rate, length)
            weigh(beams, weighed_beams, n_beams, minimum, rate, length)
            beam_norm = sum_weights(beams.w, n_beams, scratch)
            pair_norm = sum_weights(pairs.w, n_pairs, scratch)
            norm = pair_norm + beam_norm
            mean = (
                weighted_sum(pairs, n_pairs) if scale_is_beam else weighted_sum(beams, n_beams)
            ) / norm
        old_minimum, old_scale = minimum, scale

        if (
            step % size() == 0 and len(replay) == 0 and not sharp
        ):  # each thread of a team draws for one of the next steps
            drawn_ahead = uniform(key, iteration, sample, step + rank(), 0)
        if len(replay) > 0 or step == forced_step:
            if step == forced_step:
                a, b = int(forced[2]), int(forced[3])
            else:
                a, b = int(replay[step, 0]), int(replay[step, 1])
            if not is_live(a, n + step, m, slots, objects) or (
                b >= 0 and (a == b or not is_live(b, n + step, m, slots, objects))
            ):
                status = BAD_HISTORY
            is_beam = b < 0
        else:
            target = of_rank(drawn_ahead, step % size()) * norm
            if sharp:
                is_beam = least_beam < least_pair
                drawn = index_of(beams.q if is_beam else pairs.q, minimum)
            elif tied:
                is_beam = target >= zero_pairs
                drawn = (
                    choose_zero(beams, n_beams, target - zero_pairs)
                    if is_beam
                    else choose_zero(pairs, n_pairs, target)
                )
            else:
                is_beam = target >= pair_norm and n_beams > 0
                if is_beam:
                    target -= pair_norm
                    sum_weights(beams.w, n_beams, scratch)
                drawn = choose(
                    beams.w if is_beam else pairs.w,
                    n_beams if is_beam else n_pairs,
                    scratch,
                    target,
                )
            drawn = natural(drawn)
            a = int(beams.owner[drawn]) if is_beam else int(pairs.owner[drawn])
            b = -1 if is_beam else int(pairs.other[drawn])
        sync()
        if status != OK:
            break

        # Its probability and score.
        a = natural(a)
        slot_a = int(slots[a])
        slot_b = int(slots[b]) if b >= 0 else -1
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
                step_score = 2.0 * rate * ((0.0 if is_beam else q) - mean)
            else:
                step_score = -2.0 * rate * ((q if is_beam else 0.0) - mean)
        if flips and step_score < 0.0:
            rate_of_flip = -step_score
            total_rate = flip.rate + rate_of_flip
            flip = Flip(total_rate, flip.step, flip.a, flip.b)
            if uniform(key, iteration, sample, step, 1) * total_rate < rate_of_flip:
                other = uniform(key, iteration, sample, step, 2)
                to_a, to_b = flipped_option(
                    pairs, n_pairs, beams, n_beams, scale_is_beam, mean, other
                )
                flip = Flip(total_rate, step, to_a, to_b)
        if all_flips and step_score < 0.0:
            other = uniform(key, iteration, sample, step, 2)
            to_a, to_b = flipped_option(pairs, n_pairs, beams, n_beams, scale_is_beam, mean, other)
            write_flip(Flip(-step_score, step, to_a, to_b), tree.all_flips[n_flips])
            n_flips += 1
        if follows and (state_is_old or state < first_state) and jet_pt2[0] > settled_pt2:
            if state < first_state or largest(tree.state_scores[state]) > 0.0:
                state += 1  # else the last state is not worth keeping
            if state == len(tree.state_jets):
                status = STATES_FULL
            else:
                for k in range(len(tree.scores)):
                    tree.state_scores[state, k] = 0.0
                if rank() == 0:
                    leading_so_far(
                        objects, m, tree.jets, jet_pt2, tree.state_jets[state], scratch.state_pt2
                    )
                sync()
                state_is_old, state_edge = False, scratch.state_pt2[-1]
        sync()
        if status != OK:
            break
        if wide:
            if rank() == 0:
                for k in range(SLOPES):
                    slopes[k] = 0.0
                if not tied and not sharp:
                    step_slopes(
                        objects, reach, alpha, scale, scale_is_beam, safe, pairs, n_pairs, beams, n_beams, norm,
                        slot_a, slot_b, q, scratch, slopes,
                    )  # fmt: skip
                for k in range(SLOPES):
                    tree.scores[k] += slopes[k]
                    if state >= first_state:
                        tree.state_scores[state, k] += slopes[k]
            sync()
            step_score = slopes[setting.main]
        else:
            score += step_score
            if state >= first_state and rank() == 0:
                tree.state_scores[state, 0] += step_score
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
            tree.trace[step, 4] = step_score
            tree.trace[step, 5] = count_matter(pairs, n_pairs, cut) + count_matter(
                beams, n_beams, cut
            )
            sync()

        # Take the dead off the list.
        n_pairs, pair_lost = remove_pairs(pairs, n_pairs, a, b if b >= 0 else a, least_pair, safe)
        n_beams, beam_lost = remove_beam(beams, n_beams, a, least_beam, beam_at)
        alive[a] = 0
        if setting.stops:
            spread = changed(spread, objects.px[slot_a], objects.py[slot_a], -1.0)
        if is_beam:
            n_jets += 1
            if rank() == 0:
                insert_jet(objects, slot_a, tree.jets, jet_pt2)
            slot_b = slot_a
        else:
            n_beams, other_lost = remove_beam(beams, n_beams, b, least_beam, beam_at)
            beam_lost = beam_lost or other_lost
            alive[b] = 0
            state_is_old = (
                state_is_old or max(objects.pt2[slot_a], objects.pt2[slot_b]) >= state_edge
            )
            if setting.stops:
                spread = changed(spread, objects.px[slot_b], objects.py[slot_b], -1.0)
        end_lists(pairs, n_pairs, beams, n_beams, safe)
        weighed_pairs, weighed_beams = n_pairs, n_beams
        new = n + step
        if not is_beam:
            if not merge(objects, slot_a, slot_b, new, setting.power, reach):
                status = ZERO_PT
            state_is_old = state_is_old or objects.pt2[slot_a] >= state_edge
            if setting.stops:
                spread = changed(spread, objects.px[slot_a], objects.py[slot_a], 1.0)
            if wide:
                scratch.log_pt2[new] = math.log(objects.pt2[slot_a])
            slots[new] = slot_a
            beam_at[new] = -1
            alive[new] = 1
        sync()
        if rank() == 0:
            remove_slot(objects, slot_b, m, slots)
        sync()
        m -= 1
        # Only now, for reading the lists in lanes right after they were written stalls the processor.
        if pair_lost:
            least_pair = smallest(pairs.q, n_pairs)
        if beam_lost:
            least_beam = smallest(beams.q, n_beams)
        if not is_beam:  # the sum's options: one pass over the live objects
            slot = int(slots[new])
            n_pairs, nearest = append_new(
                objects, m, slot, threshold, pairs, n_pairs, scratch.row, asymmetry
            )
            if n_pairs < 0:
                status = LIST_FULL
            else:
                if nearest < threshold:
                    least_pair = min(least_pair, nearest)
                if objects.beam[slot] < threshold:
                    put_beam(objects, slot, beams, n_beams, beam_at)
                    n_beams += 1
                    least_beam = min(least_beam, objects.beam[slot])
                end_lists(pairs, n_pairs, beams, n_beams, safe)
        sync()
        if status != OK:
            break

    if status != OK:
        return status
    if not wide:
        tree.scores[0] = score
    if flips:
        write_flip(flip, tree.flip)
    for k in range(n_flips, len(tree.all_flips)):
        write_flip(no_flip(), tree.all_flips[k])
    tree.numbers[0] = log_prob + math.log(probability)
    tree.numbers[1] = n_jets
    tree.numbers[2] = steps
    tree.numbers[3] = state + 1 - first_state
    return OK


@jit
def largest(scores: Floats) -> float:
    """The largest absolute value."""
    most = 0.0
    for k in range(len(scores)):
        most = max(most, abs(scores[k]))
    return most
