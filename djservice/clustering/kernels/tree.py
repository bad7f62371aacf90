"""One event, one tree: stochastic generalised-kT clustering with its log-probability and score.

At each step the candidates k (pairs and beams) have weights exp(-alpha (q_k - q_min) / S), where
q = D R^2 and S = q_min (the published scale, Qanti-kT, arXiv:1304.2394) or
S = min_k q_k (pT_max/pT_min)^asymmetry (the safe scale). One is drawn. A pair is replaced by its
sum, a beam makes its object a jet. Candidates that weigh next to nothing are left out
(:func:`truncation`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from djservice.clustering.kernels.alternative import Flip, flipped_candidate, no_flip, write_flip
from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.choices import (
    Likelihood,
    add_step,
    draw_candidate,
    imposed_candidate,
    probability_and_score,
)
from djservice.clustering.kernels.extremes import larger
from djservice.clustering.kernels.input_score import (
    add_choice,
    add_ended,
    end_slopes,
    note_sum,
    nothing_pending,
    settle_weights,
    start_candidates,
    start_slopes,
)
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural, seldom, word
from djservice.clustering.kernels.lanes.team import rank, size, sync, value_of_rank
from djservice.clustering.kernels.leading_jets import clear_jets
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.philox import uniform
from djservice.clustering.kernels.pseudojets import (
    EffectiveRadius,
    Floats,
    Ints,
    copy_pseudojets,
)
from djservice.clustering.kernels.records import States, Tree, record_state, write_step
from djservice.clustering.kernels.rows import begins_row, clear_parts
from djservice.clustering.kernels.scores import N_SCORES, candidate_scores
from djservice.clustering.kernels.steps import (
    OK,
    Lists,
    Scale,
    Weights,
    append_sum,
    leave_slot,
    no_lists,
    raise_threshold,
    recombine,
    remove_chosen,
    renew_least,
    weigh_candidates,
)
from djservice.clustering.kernels.stopping import Spread, largest_pt, spread_of_event, updated
from djservice.clustering.kernels.tiles import are_ordered, widen_tile


class Setting(NamedTuple):
    """The distribution that trees are drawn from.

    ``power`` is p, ``rigidity`` alpha, and ``asymmetry`` the exponent of the safe scale, 0 without
    it. With ``stops`` a tree ends once its leading jets above ``settled_pt`` cannot change.
    ``sharp`` says that the rigidity is infinite. With ``wide`` all scores of
    :mod:`djservice.clustering.kernels.scores` are kept, otherwise only that in R. ``main`` is the
    score that traces show.
    """

    power: float
    rigidity: float
    asymmetry: float
    settled_pt: float
    stops: bool
    main: int
    sharp: bool
    wide: bool


class Key(NamedTuple):
    """The key and counter of a tree's random numbers."""

    key: np.uint64
    iteration: int
    sample: int


@jit
def truncation(n: int, large: bool) -> float:
    """L: a candidate with alpha (q - q_min) / S > L weighs less than e^-L and is left out.

    At a step with m objects at most m^2 / 2 candidates are left out, and the closest weighs 1. So L
    = 40 + 2 ln n changes probabilities by less than the rounding of their sum. Large events have
    L = 20 + 3 ln n. Over all steps of a tree that is a total variation below n^3 e^-L / 6 < 4e-10.
    """
    log_n = math.log(max(n, 1))
    return 40.0 + 2.0 * log_n if not large else 20.0 + 3.0 * log_n


@jit
def cluster_tree(
    n: int,
    radius: EffectiveRadius,
    setting: Setting,
    key: np.uint64,
    iteration: int,
    sample: int,
    workspace: Workspace,
    slopes: ObjectSlopes | None,
    first_state: int,
    replay: Ints,
    forced: Floats,
    tree: Tree,
) -> int:
    """Grow one tree; returns a status code.

    Parameters
    ----------
    n, radius, setting
        Particles and radius of this event, and the distribution that trees are drawn from.
    key, iteration, sample
        Key and counter of the random numbers.
    workspace
        The event in ``origin`` and ``close_pairs``; the rest is overwritten.
    slopes
        Output: the slopes of the score in the particles, or None. Without them a tree is compiled
        without that score.
    first_state
        The row of ``tree.state_jets`` where the states of this tree begin.
    replay
        Shape (n, 2): choices to follow instead of drawing, or length 0.
    forced
        A flip as four numbers, or length 0. The tree takes its candidate at its step and draws all
        other steps.
    tree
        The output arrays.
    """
    pseudojets, scratch = workspace.pseudojets, workspace.scratch
    asymmetry, sharp, wide = setting.asymmetry, setting.sharp, setting.wide
    ordered, keys = are_ordered(pseudojets, n), Key(key, iteration, sample)
    length = truncation(n, ordered)
    start_tree(n, workspace, wide, tree)
    m, lists, likelihood = n, no_lists(), Likelihood(0.0, 1.0)
    score, n_jets, steps, uniform_ahead = 0.0, 0, 0, 0.0
    states = States(first_state - 1, True, math.inf)
    flip, n_flips = no_flip(), natural(0)  # a literal would compile callees twice
    pending = nothing_pending()
    if slopes is not None:
        start_slopes(n, pseudojets, slopes)
    spread = Spread(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    if setting.stops:
        spread = spread_of_event(pseudojets, n)
    # Where no candidate gains, a rate that is only rounding error has no candidate to flip to.
    forced_step = int(forced[1]) if len(forced) > 0 and forced[2] >= 0.0 else -1

    # All paths through a step meet at its end. There the teams of a warp that took different
    # branches of a step continue together. A return within a branch would put that point at the
    # end of the tree.
    status, step = OK, 0
    while word(step) < word(n):
        if setting.stops and is_settled(spread, setting.settled_pt, scratch.jet_pt2):
            break
        steps += 1
        status, lists, scale = raise_threshold(
            workspace, m, setting.rigidity, asymmetry, length, lists
        )
        sync()
        if word(status) != OK:
            break

        if slopes is not None and not sharp:
            pending = settle_weights(workspace, slopes, radius, asymmetry, lists, scale, pending)
        former = lists
        lists, weights = weigh_candidates(workspace, setting.rigidity, sharp, length, lists, scale)
        if slopes is not None:
            start_candidates(workspace, slopes, former, lists, pending)
        if word(step) % size() == 0 and len(replay) == 0 and not sharp:
            # Each thread of a team draws for one of the next steps.
            uniform_ahead = uniform(key, iteration, sample, step + rank(), natural(0))
        if step == forced_step:
            status, choice = imposed_candidate(
                workspace, m, n + step, np.int64(forced[2]), np.int64(forced[3])
            )
        elif len(replay) > 0:
            status, choice = imposed_candidate(
                workspace, m, n + step, np.int64(replay[step, 0]), np.int64(replay[step, 1])
            )
        else:
            drawn = value_of_rank(uniform_ahead, word(step) % size())
            choice = draw_candidate(workspace, sharp, lists, scale, weights, drawn)
        sync()
        if word(status) != OK:
            break

        a, b = natural(choice.a), choice.b
        slot_a, slot_b = int(scratch.slot[a]), int(scratch.slot[b]) if b >= 0 else -1
        probability, step_score, q = probability_and_score(
            workspace, m, slot_a, slot_b, choice, scale, weights, sharp
        )
        if step_score < 0.0:
            flip = next_flip(flip, keys, step, step_score, workspace, lists, scale, weights, tree)
            n_flips = write_next_flip(
                n_flips, keys, step, step_score, workspace, lists, scale, weights, tree
            )
        if len(tree.state_jets) > 0:
            status, states = record_state(
                states, first_state, setting.settled_pt, m, workspace, tree
            )
        sync()
        if word(status) != OK:
            break

        if wide:
            add_scores(
                radius, setting, workspace, lists, scale, weights, slot_a, slot_b, q,
                states.row if states.row >= first_state else -1, tree,
            )  # fmt: skip
            step_score = scratch.step_scores[setting.main]
        else:
            score += step_score
            if states.row >= first_state and rank() == 0:
                tree.state_scores[states.row, 0] += step_score
        likelihood = add_step(likelihood, probability, q, scale, weights)
        write_step(step, choice, probability, step_score, workspace, lists, scale, weights, tree)

        if slopes is not None:
            if not sharp:
                pending = add_choice(
                    workspace, slopes, radius, choice, q, lists, scale, weights, pending
                )
            add_ended(workspace, slopes, radius, choice, lists, pending.weight)
        lists, pair_lost, beam_lost, dead = remove_chosen(
            workspace, slopes, choice, slot_a, lists, asymmetry > 0.0, tree.jets, pending.weight
        )
        if setting.stops:
            spread = updated(spread, pseudojets.px[slot_a], pseudojets.py[slot_a], -1.0)
            if b >= 0:
                spread = updated(spread, pseudojets.px[slot_b], pseudojets.py[slot_b], -1.0)
        if b < 0:
            n_jets += 1
            slot_b = slot_a
        else:
            is_old = larger(pseudojets.pt2[slot_a], pseudojets.pt2[slot_b]) >= states.edge
            if seldom(ordered) and pseudojets.pt2[slot_a] < pseudojets.pt2[slot_b]:
                slot_a, slot_b = slot_b, slot_a  # the sum lies near its harder part
            status = recombine(workspace, slot_a, slot_b, n + step, setting.power, radius, wide)
            if seldom(ordered):
                widen_tile(pseudojets, slot_a)
            if slopes is not None:
                note_sum(pseudojets, slopes, n + step, slot_a, choice.a, b)
            is_old = is_old or pseudojets.pt2[slot_a] >= states.edge
            states = States(states.row, states.is_old or is_old, states.edge)
            if setting.stops:
                spread = updated(spread, pseudojets.px[slot_a], pseudojets.py[slot_a], 1.0)
        m = leave_slot(workspace, slot_b, m, n - 1 - step, ordered)
        lists = renew_least(workspace, lists, pair_lost, beam_lost)
        if b >= 0:
            list_status, lists = append_sum(
                workspace, m, n + step, lists, asymmetry, begins_row(ordered, lists.n_parts, dead)
            )
            if status == OK:
                status = list_status
        sync()
        if word(status) != OK:
            break
        step += 1

    if status == OK:
        if slopes is not None:
            end_slopes(workspace, slopes, radius, asymmetry, lists, pending)
        if not wide:
            tree.scores[0] = score
        if len(tree.flip) > 0:
            write_flip(flip, tree.flip)
        for k in range(n_flips, len(tree.all_flips)):
            write_flip(no_flip(), tree.all_flips[k])
        tree.numbers[0] = likelihood.log_prob + math.log(likelihood.product)
        tree.numbers[1] = n_jets
        tree.numbers[2] = steps
        tree.numbers[3] = states.row + 1 - first_state
    return status


@jit
def start_tree(n: int, workspace: Workspace, wide: bool, tree: Tree) -> None:
    """Copy the event, and clear the sums and jets of the tree."""
    scratch = workspace.scratch
    sync()  # the tree before may have ended where others still read it
    copy_pseudojets(workspace.origin, workspace.pseudojets, n)
    sync()
    j = natural(rank())
    while j < n:
        scratch.beam_place[j] = -1
        scratch.alive[j] = 1
        j = natural(j + size())
    slot = natural(rank())
    while slot < n:
        ident = natural(int(workspace.origin.ident[slot]))
        scratch.slot[ident] = slot
        if wide:
            scratch.log_pt2[ident] = math.log(workspace.origin.pt2[slot])
        slot = natural(slot + size())
    for k in range(len(tree.scores)):
        tree.scores[k] = 0.0
    clear_parts(workspace)
    clear_jets(tree.jets, scratch.jet_pt2)


@jit
def is_settled(spread: Spread, settled_pt: float, jet_pt2: Floats) -> bool:
    """Whether no jet that can still form belongs among the leading ones above ``settled_pt``."""
    largest = largest_pt(spread)
    return largest < settled_pt or largest * largest < jet_pt2[-1]


@jit
def next_flip(
    flip: Flip, key: Key, step: int, step_score: float, workspace: Workspace, lists: Lists,
    scale: Scale, weights: Weights, tree: Tree,
) -> Flip:  # fmt: skip
    """The flip that is kept after this step, which is its own in proportion to its rate."""
    if len(tree.flip) > 0:
        rate = -step_score
        total = flip.rate + rate
        flip = Flip(total, flip.step, flip.a, flip.b)
        if uniform(key.key, key.iteration, key.sample, step, natural(1)) * total < rate:
            drawn = uniform(key.key, key.iteration, key.sample, step, natural(2))
            a, b = flipped_candidate(
                workspace, lists.n_pairs, lists.n_parts, lists.n_beams, scale.is_beam,
                weights.mean, drawn,
            )  # fmt: skip
            flip = Flip(total, step, a, b)
    return flip


@jit
def write_next_flip(
    number: int, key: Key, step: int, step_score: float, workspace: Workspace, lists: Lists,
    scale: Scale, weights: Weights, tree: Tree,
) -> int:  # fmt: skip
    """Write the flip of this step if all flips are kept; returns the number of flips."""
    if len(tree.all_flips) > 0:
        drawn = uniform(key.key, key.iteration, key.sample, step, natural(2))
        a, b = flipped_candidate(
            workspace,
            lists.n_pairs,
            lists.n_parts,
            lists.n_beams,
            scale.is_beam,
            weights.mean,
            drawn,
        )
        write_flip(Flip(-step_score, step, a, b), tree.all_flips[number])
        number += 1
    return number


@jit
def add_scores(
    radius: EffectiveRadius, setting: Setting, workspace: Workspace, lists: Lists, scale: Scale,
    weights: Weights, slot_a: int, slot_b: int, q: float, state: int, tree: Tree,
) -> None:  # fmt: skip
    """Add the scores of a step in all parameters to those of the tree and of its current state."""
    step_scores = workspace.scratch.step_scores
    if rank() == 0:
        for k in range(N_SCORES):
            step_scores[k] = 0.0
        if not weights.tied and not setting.sharp:
            candidate_scores(
                workspace.pseudojets, radius, setting.rigidity, scale.scale, scale.is_beam,
                setting.asymmetry > 0.0, workspace, lists.n_pairs, lists.n_parts, lists.n_beams,
                weights.norm, slot_a, slot_b, q, step_scores,
            )  # fmt: skip
        for k in range(N_SCORES):
            tree.scores[k] += step_scores[k]
            if state >= 0:
                tree.state_scores[state, k] += step_scores[k]
    sync()
