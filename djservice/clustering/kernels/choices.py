"""The choice of a step: the candidate that is drawn or imposed, its probability and its score."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from djservice.clustering.kernels.candidates import Workspace, index_of
from djservice.clustering.kernels.draw import (
    choose,
    choose_part,
    choose_zero,
    choose_zero_pair,
    sum_weights,
)
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural, seldom
from djservice.clustering.kernels.pseudojets import candidate_distance, is_live
from djservice.clustering.kernels.rows import has_rows
from djservice.clustering.kernels.steps import BAD_HISTORY, OK, Choice, Lists, Scale, Weights


class Likelihood(NamedTuple):
    """The log-probability of the steps so far: a sum of logarithms, and a product to be added."""

    log_prob: float
    product: float


@jit
def draw_candidate(
    workspace: Workspace, sharp: bool, lists: Lists, scale: Scale, weights: Weights, uniform: float
) -> Choice:
    """The candidate that a uniform in [0, 1) falls on; the closest if the rigidity is infinite."""
    pairs, beams, scratch = workspace.pairs, workspace.beams, workspace.scratch
    n_pairs, n_beams, target = lists.n_pairs, lists.n_beams, uniform * weights.norm
    if sharp:
        is_beam, first = lists.least_beam < min(lists.least_pair, lists.least_row), natural(0)
        if not is_beam and lists.least_row < lists.least_pair:
            part = natural(index_of(workspace.parts.least, scale.minimum))
            first = natural(int(workspace.parts.place[part]))
        place = first + index_of(beams.q if is_beam else pairs.q[first:], scale.minimum)
    elif weights.tied:
        is_beam = target >= weights.zero_pairs
        if is_beam:
            place = choose_zero(beams, n_beams, target - weights.zero_pairs)
        else:
            place = choose_zero_pair(workspace, n_pairs, lists.n_parts, target)
    else:
        is_beam, first = target >= weights.pair_norm and n_beams > 0, natural(0)
        w, count = pairs.w, n_pairs
        if is_beam:
            target -= weights.pair_norm
            w, count = beams.w, n_beams
            sum_weights(w, count, scratch)
        elif seldom(has_rows(workspace, lists.n_parts)):
            w, first, count, target = choose_part(workspace, n_pairs, lists.n_parts, target)
        place = first + choose(w, count, scratch, target)
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
