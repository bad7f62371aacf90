"""Evaluate a loss and its gradient on a batch: sample trees, form each event's sums, reduce them over events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.batch import EventBatch
from djservice.cluster import Scale
from djservice.errors import InputError, RunError
from djservice.estimators import Draw, Estimator, Follow, Slopes, Values, default_estimator
from djservice.losses import Loss, Term, as_loss
from djservice.moments import Moments, Quantity
from djservice.observables import Observable
from djservice.radius import Radius, VariableR, radius_per_event
from djservice.trees import TreeSample

Floats = NDArray[np.float64]

#: Trees in memory together, of whole events: their jets, scores and states and nothing else.
TREES_AT_ONCE = 20_000


@dataclass(frozen=True)
class Sampling:
    """How trees are grown: what stays the same through a run.

    Attributes
    ----------
    rigidity, power, scale, asymmetry
        As in :func:`djservice.cluster`.
    seed
        Of the run.
    """

    rigidity: float = 1.0
    power: float = -1.0
    scale: Scale = "minimum"
    asymmetry: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class PerEvent:
    """Results per event, shape (event,) each; NaN for an event without an accepted tree.

    Attributes
    ----------
    mean, mean_error
        Of the first term's observable over accepted trees, and its standard error.
    accepted
        Number of accepted trees.
    loss
        L of each event alone.
    gradient, gradient_error
        dL/dR of each event alone, and its standard error over trees.
    """

    mean: Floats
    mean_error: Floats
    accepted: NDArray[np.int64]
    loss: Floats
    gradient: Floats
    gradient_error: Floats


@dataclass(frozen=True)
class Gradient:
    """dL/dR, or the derivative in another parameter, over a sample.

    Attributes
    ----------
    value, error, tree_error
        dL/dR; its standard error over events and trees; the part of it that comes from the trees.
    loss
        L with its errors.
    acceptance
        Weighted fraction of accepted trees.
    per_event
        The same event by event.
    moments
        The sums that all of it follows from.
    """

    value: float
    error: float
    tree_error: float
    loss: Quantity
    acceptance: float
    per_event: PerEvent
    moments: Moments


def gradient(
    events: EventBatch,
    objective: Loss | Observable,
    *,
    radius: Radius,
    parameter: str | None = None,
    estimator: Estimator | None = None,
    trees: int = 100,
    rigidity: float = 1.0,
    power: float = -1.0,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
) -> Gradient:
    """Loss of a sample of events and its derivative, in R by default.

    Parameters
    ----------
    events
        The particles.
    objective
        A loss, or an observable, which is then its own objective: d E[f] / dR.
    radius, rigidity, power, scale, asymmetry, seed, threads
        As in :func:`djservice.cluster`.
    parameter
        What to differentiate in, as the ``parameters`` of :func:`djservice.cluster`; R, or with variable-R jets rho, by
        default. Others need an estimator that is made of the score.
    estimator
        :class:`djservice.StateBaseline` by default; with fewer than 8 trees :class:`djservice.LeaveOneOut`.
    trees
        Per event.

    Raises
    ------
    InputError
        If an argument has no meaning.
    RunError
        If no tree passes the selection, or the accepted weights do not sum to more than 0.
    """
    sampling = Sampling(rigidity, power, scale, asymmetry, seed)
    moments, per_event = evaluate(
        events,
        as_loss(objective),
        estimator or default_estimator(trees),
        sampling,
        radius=radius,
        parameter=parameter,
        trees=trees,
        threads=threads,
    )
    value = moments.gradient()
    return Gradient(value.value, value.error, value.tree_error, moments.loss(), moments.acceptance, per_event, moments)


def evaluate(
    events: EventBatch,
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    *,
    radius: Radius,
    parameter: str | None = None,
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
    threads: int | None = None,
) -> tuple[Moments, PerEvent]:
    """Sums over the events of a batch, and the results per event.

    Parameters
    ----------
    radius
        R: one number, one per event, or a :class:`djservice.VariableR`.
    parameter
        What to differentiate in.
    trees
        Per event.
    stream, iteration
        What the random numbers are keyed by, beside the seed and the identity of each event.
    """
    needed = trees_needed(loss, estimator)
    if trees < needed:
        raise InputError(
            f"trees is {trees}, expected {needed} or more with the {estimator.name} estimator and this loss."
        )
    if len(events) == 0:
        return _no_events(loss), PerEvent(*(np.empty(0),) * 2, np.empty(0, np.int64), *(np.empty(0),) * 3)
    in_radius = parameter in (None, "radius") and not isinstance(radius, VariableR)
    if not in_radius and not estimator.in_any_parameter:
        raise InputError(f"the {estimator.name} estimator gives d/dR of one R or of one per event, and nothing else.")
    radii = None if isinstance(radius, VariableR) else radius_per_event(events, radius)
    parts = []
    at_once = max(1, TREES_AT_ONCE // (trees * estimator.bulk))
    for start in range(0, len(events), at_once):
        rows = slice(start, start + at_once)
        some = events if len(events) <= at_once else events.select(np.arange(len(events))[rows])
        draw = Draw(
            some,
            {
                "rigidity": sampling.rigidity,
                "power": sampling.power,
                "scale": sampling.scale,
                "asymmetry": sampling.asymmetry,
                "trees": trees,
                "jets": loss.jets,
                "seed": sampling.seed,
                "stream": stream,
                "iteration": iteration,
                "settled_pt": loss.settled_pt,
                "threads": threads,
            },
        )
        own = radius if radii is None else radii[rows]
        named = () if parameter is None else (parameter,)
        sample = draw(radius=own, states=estimator.follows, flips=estimator.flips, parameters=named)
        further = () if radii is None else estimator.further(draw, radii[rows], sample)
        parts.append(_sums(some, sample, further, loss, estimator))
    moments = parts[0][0]
    for part, _ in parts[1:]:
        moments = moments + part
    joined = (np.concatenate([getattr(p, name) for _, p in parts]) for name in PerEvent.__dataclass_fields__)
    return moments, PerEvent(*joined)


def trees_needed(loss: Loss, estimator: Estimator) -> int:
    """The least number of trees per event that a loss and an estimator are defined for."""
    return max(estimator.minimum_trees, *(2 if term.squares_expectation else 1 for term in loss.terms))


def _sums(
    events: EventBatch,
    sample: TreeSample,
    further: Iterable[tuple[Any, Floats | float]],
    loss: Loss,
    estimator: Estimator,
) -> tuple[Moments, PerEvent]:
    """Sums over some events, and the results per event."""
    jets, score = sample.jets, sample.score
    trees = score.shape[1]
    columns: list[Floats] = []  # z of each tree, shape (event, tree): its mean over trees is z of the event
    moves: list[Floats] = []  # how much each tree moves that mean, times the number of trees
    first_value, first_accepted, share = np.empty(0), np.empty(0, np.bool_), math.nan
    others = [
        [(*_evaluated(term, other, events.truth), np.asarray(weight)) for term in loss.terms]
        for other, weight in further
    ]
    for number, term in enumerate(loss.terms):
        value, quantity, accepted = term.evaluate(jets, events.truth)
        slopes = estimator.slopes(
            Values(
                quantity,
                accepted.astype(np.float64),
                score,
                _follow(events, sample, term, estimator),
                tuple(of_terms[number] for of_terms in others),
            )
        )
        own, own_moves = _term_columns(term, quantity, accepted.astype(np.float64), slopes)
        columns, moves = columns + own, moves + own_moves
        if term is loss.terms[0]:
            first_value, first_accepted = np.where(accepted, value, 0.0), accepted
            share = math.nan if slopes.share is None else float(slopes.share.mean(axis=1).sum())
    spectrum = [first_accepted.astype(np.float64), first_value, first_value**2]
    mean = np.stack(columns + spectrum, axis=-1).mean(axis=1)
    centred = np.stack(moves + spectrum, axis=-1)
    centred -= centred.mean(axis=1, keepdims=True)
    z = mean * events.weight[:, np.newaxis]
    weighted = centred * events.weight[:, np.newaxis, np.newaxis]
    scale = 1.0 / (trees * max(trees - 1, 1))
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the gradient is not finite in {len(bad)} events: {names}. Check the observable and the event weights."
        )
    accepted_trees = first_accepted.sum(axis=1)
    moments = Moments(
        coefficients=np.array([term.coefficient for term in loss.terms]),
        total=z.sum(axis=0),
        outer=z.T @ z,
        tree_covariance=scale * np.einsum("eti,etj->ij", weighted, weighted),
        weight=float(events.weight.sum()),
        events=len(events),
        events_without=int((accepted_trees == 0).sum()),
        trees=score.size,
        trees_accepted=int(accepted_trees.sum()),
        state_share=share,
    )
    return moments, _per_event(loss, mean, centred, accepted_trees, first_value, first_accepted)


def _follow(events: EventBatch, sample: TreeSample, term: Term, estimator: Estimator) -> Follow | None:
    """What the estimator reads of the states of growing trees, if it does."""
    if not estimator.follows:
        return None
    states, trees = sample.states, sample.scores.shape[1]
    assert states is not None
    quantity, accepted = _evaluated(term, states.jets[:, np.newaxis], events.truth[states.tree // trees])
    return Follow(quantity[:, 0], accepted[:, 0], states.scores[:, 0], states.tree)


def _evaluated(term: Term, jets: Any, truth: Floats) -> tuple[Floats, Floats]:
    """I l and I."""
    _, quantity, accepted = term.evaluate(jets, truth)
    return quantity, accepted.astype(np.float64)


def _term_columns(term: Term, quantity: Floats, accepted: Floats, slopes: Slopes) -> tuple[list[Floats], list[Floats]]:
    """(a, b, ga, gb) of each tree for one term, and how much each tree moves their means, but for a constant."""
    slope, accepted_slope = slopes.quantity, slopes.accepted
    if not term.squares_expectation:
        columns = [quantity, accepted, slope, accepted_slope]
        return columns, columns
    others, others_accepted = _mean_of_others(quantity), _mean_of_others(accepted)
    columns = [
        quantity * others,
        accepted * others_accepted,
        2.0 * others * slope,
        2.0 * others_accepted * accepted_slope,
    ]
    # A tree is in its own term and in those of all others (Hoeffding's projection of a U-statistic).
    moves = [
        2.0 * columns[0],
        2.0 * columns[1],
        columns[2] + 2.0 * quantity * _mean_of_others(slope),
        columns[3] + 2.0 * accepted * _mean_of_others(accepted_slope),
    ]
    return columns, moves


def _mean_of_others(values: Floats) -> Floats:
    """For each tree the mean over the other trees of its event."""
    others: Floats = (values.sum(axis=1, keepdims=True) - values) / (values.shape[1] - 1)
    return others


def _per_event(
    loss: Loss,
    mean: Floats,
    centred: Floats,
    accepted_trees: NDArray[np.int64],
    value: Floats,
    accepted: NDArray[np.bool_],
) -> PerEvent:
    """Each event by itself: the formulas of the sample with one event, errors over its trees."""
    trees = value.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = value.sum(axis=1) / accepted_trees
        spread = (np.where(accepted, value - centre[:, np.newaxis], 0.0) ** 2).sum(axis=1)
        centre_error = np.sqrt(spread / (accepted_trees - 1) / accepted_trees)
        gradient, influence, total = np.zeros(len(mean)), np.zeros(centred.shape[:2]), np.zeros(len(mean))
        for term, coefficient in enumerate(t.coefficient for t in loss.terms):
            a, b, ga, gb = mean[:, 4 * term : 4 * term + 4].T
            slope = (ga - a / b * gb) / b
            along = np.stack([-gb / b, gb / b * a / b - slope, np.ones_like(a), -a / b], axis=-1) / b[:, np.newaxis]
            gradient += coefficient * slope
            total += coefficient * a / b
            influence += coefficient * np.einsum("eti,ei->et", centred[:, :, 4 * term : 4 * term + 4], along)
        gradient_error = np.sqrt((influence**2).sum(axis=1) / (trees * (trees - 1)))
    return PerEvent(centre, centre_error, accepted_trees, total, gradient, gradient_error)


def _no_events(loss: Loss) -> Moments:
    size = 4 * len(loss.terms) + 3
    coefficients = np.array([term.coefficient for term in loss.terms])
    return Moments(coefficients, np.zeros(size), np.zeros((size, size)), np.zeros((size, size)), 0.0, 0, 0, 0, 0, 0.0)
