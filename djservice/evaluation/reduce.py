"""Reduce: the trees of some events -> their sums (:mod:`djservice.evaluation.moments`), and the results of each event by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import TreeSample
from djservice.core.array_module import module_of, to_host
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.estimators.base import Contributions, Estimator, ExtraJets, StateValues, TreeValues
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, Term


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


def reduce_events(
    events: EventBatch,
    sample: TreeSample,
    extra: ExtraJets,
    loss: Loss,
    estimator: Estimator,
    jacobian: Floats | None,
    sizes: Sequence[int],
) -> list[tuple[Moments, PerEvent]]:
    """Sums over each of some parts of the events, and the results per event.

    Parameters
    ----------
    events, sample
        The events and their trees. Where these are on a GPU, so is the work, and sums over the trees of an event come back.
    extra
        What :meth:`djservice.estimators.base.Estimator.extra_jets` gave.
    loss, estimator
        What is evaluated.
    jacobian
        Shape (event, theta), or None: dR/dtheta, which makes the sums hold derivatives in theta.
    sizes
        Events of each part: one follows the other. Its sums have the same bits whatever the other parts.

    Raises
    ------
    RunError
        If an event's sums are not finite.
    """
    trees, module = sample.scores.shape[1], module_of(sample.scores)
    layout = _layout(loss, len(sample.parameters))
    columns: list[
        Floats
    ] = []  # z of each tree, shape (event, tree): its mean over trees is z of the event
    moves: list[Floats] = []  # how much each tree moves that mean, times the number of trees
    first_value, first_accepted, share = np.empty(0), np.empty(0, np.bool_), np.empty(0)
    # Once each, for all terms: estimators make them as they are asked for.
    others = [
        [
            (*_evaluated(term, other, events.truth, module), module.asarray(weight))
            for term in loss.terms
        ]
        for other, weight in extra
    ]
    for number, term in enumerate(loss.terms):
        value, quantities, mask = term.evaluate(sample.jets, events.truth)
        accepted = mask.astype(np.float64)
        slopes = _slopes(
            events, sample, [of[number] for of in others], term, estimator, quantities, accepted
        )
        own, own_moves = _term_columns(term, quantities, accepted, slopes)
        columns, moves = columns + own, moves + own_moves
        if term is loss.terms[0]:
            first_value, first_accepted = np.where(mask, value, 0.0), mask
            first = slopes[0][0].share
            share = np.full(len(mask), math.nan) if first is None else to_host(first.mean(axis=1))
    spectrum = [first_accepted.astype(np.float64), first_value, first_value**2]
    mean = to_host(np.stack(columns + spectrum, axis=-1).mean(axis=1))
    centred = np.stack(moves + spectrum, axis=-1)
    centred -= centred.mean(axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(mean * events.weight[:, np.newaxis]).all(axis=1))
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the gradient is not finite in {len(bad)} events: {names}. Check the observable and the event weights."
        )
    accepted_trees = to_host(first_accepted.sum(axis=1))
    per_event = _per_event(
        layout, mean, centred, accepted_trees, first_value, first_accepted, trees
    )
    found = []
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        rows = slice(stop - size, stop)
        weight, through = events.weight[rows], None if jacobian is None else jacobian[rows]
        sums = (
            _reduce(mean[rows], centred[rows], weight)
            if through is None
            else _through(through, layout, mean[rows], centred[rows], weight)
        )
        moments = Moments(
            layout if through is None else _layout(loss, through.shape[1]),
            *sums,
            weight=float(weight.sum()),
            events=size,
            events_without=int((accepted_trees[rows] == 0).sum()),
            trees=size * trees,
            trees_accepted=int(accepted_trees[rows].sum()),
            state_share=float(share[rows].sum()),
        )
        found.append(
            (moments, PerEvent(*(getattr(per_event, f.name)[rows] for f in fields(PerEvent))))
        )
    return found


def _reduce(mean: Floats, centred: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Sum over events of z, of z z^T, and of the covariance of z over trees."""
    trees = centred.shape[1]
    z = mean * weight[:, np.newaxis]
    weighted = (centred * module_of(centred).asarray(weight)[:, np.newaxis, np.newaxis]).reshape(
        -1, z.shape[1]
    )
    return z.sum(axis=0), z.T @ z, to_host(weighted.T @ weighted) / (trees * max(trees - 1, 1))


def _through(
    jacobian: Floats, layout: MomentLayout, mean: Floats, centred: Floats, weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same with the derivatives in theta: those in R of each event times its dR/dtheta."""
    source, factor = (
        [],
        [],
    )  # of each entry of the new z: the entry of the old one, and what it is multiplied with
    one = np.ones(len(mean))
    for term in range(len(layout.sizes)):
        sums, slopes = (
            np.arange(layout.length)[at] for at in (layout.sums(term), layout.slopes(term, 0))
        )
        source += [*sums, *np.tile(slopes, jacobian.shape[1])]
        factor += [one] * len(sums) + [theta for theta in jacobian.T for _ in slopes]
    source += list(range(layout.length - 3, layout.length))
    factors = np.stack(factor + [one] * 3, axis=1) * weight[:, np.newaxis]
    z = mean[:, source] * factors
    trees = centred.shape[1]
    # Of each event, before it.
    covariance = to_host(centred.transpose(0, 2, 1) @ centred) / (trees * max(trees - 1, 1))
    place = np.asarray(source)
    tree_covariance = np.empty((len(place), len(place)))
    for i in range(layout.length):
        for j in range(layout.length):
            rows, others = np.flatnonzero(place == i), np.flatnonzero(place == j)
            block = (factors[:, rows] * covariance[:, i, j, np.newaxis]).T @ factors[:, others]
            tree_covariance[np.ix_(rows, others)] = block
    return z.sum(axis=0), z.T @ z, tree_covariance


def _slopes(
    events: EventBatch,
    sample: TreeSample,
    others: list[tuple[list[Floats], Floats, Floats]],
    term: Term,
    estimator: Estimator,
    quantities: list[Floats],
    accepted: Floats,
) -> list[list[Contributions]]:
    """The estimator's contributions to the derivatives of each quantity of a term, by parameter."""
    states, trees = sample.states, accepted.shape[1]
    if states is not None:
        module = module_of(accepted)
        truth = module.asarray(events.truth)[states.tree // trees]
        of_states, in_states = _evaluated(term, states.jets[:, np.newaxis], truth, module)
    found = []
    for parameter, name in enumerate(sample.parameters):
        score, own = sample.score_in(name), []
        for k, quantity in enumerate(quantities):
            state_values = None
            if states is not None:
                state_values = StateValues(
                    of_states[k][:, 0], in_states[:, 0], states.scores[:, parameter], states.tree
                )
            extra = tuple((each[k], in_each, weight) for each, in_each, weight in others)
            own.append(estimator.slopes(TreeValues(quantity, accepted, score, state_values, extra)))
        found.append(own)
    return found


def _evaluated(term: Term, jets: Any, truth: Floats, module: Any) -> tuple[list[Floats], Floats]:
    """I times each quantity, and I, as arrays of a module; jets that an estimator made may be on the host."""
    _, quantities, accepted = term.evaluate(jets, truth)
    return [module.asarray(quantity) for quantity in quantities], module.asarray(
        accepted.astype(np.float64)
    )


def _term_columns(
    term: Term, quantities: list[Floats], accepted: Floats, slopes: list[list[Contributions]]
) -> tuple[list[Floats], list[Floats]]:
    """The sums of each tree and their derivatives for one term, and how much each tree moves their means, but for a constant."""
    sums = [*quantities, accepted]
    derived = [[*(s.quantity for s in own), own[0].accepted] for own in slopes]
    if not term.squares_expectation:
        columns = [*sums, *(column for own in derived for column in own)]
        return columns, columns
    others = [_mean_of_others(column) for column in sums]
    columns = [column * other for column, other in zip(sums, others, strict=True)]
    # A tree is in its own term and in those of all others (Hoeffding's projection of a U-statistic).
    moves = [2.0 * column for column in columns]
    for own in derived:
        for column, other, slope in zip(sums, others, own, strict=True):
            columns.append(2.0 * other * slope)
            moves.append(columns[-1] + 2.0 * column * _mean_of_others(slope))
    return columns, moves


def _mean_of_others(values: Floats) -> Floats:
    """For each tree the mean over the other trees of its event."""
    others: Floats = (values.sum(axis=1, keepdims=True) - values) / (values.shape[1] - 1)
    return others


def _per_event(
    layout: MomentLayout,
    mean: Floats,
    centred: Floats,
    accepted_trees: NDArray[np.int64],
    value: Floats,
    accepted: NDArray[np.bool_],
    trees: int,
) -> PerEvent:
    """Each event by itself: the formulas of the sample with one event, errors over its trees."""
    centre, centre_error = (to_host(x) for x in mean_of_accepted(value, accepted))
    module = module_of(centred)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gradient, influence, total = (
            np.zeros(len(mean)),
            module.zeros(centred.shape[:2]),
            np.zeros(len(mean)),
        )
        for term, (statistic, coefficient) in enumerate(
            zip(layout.statistics, layout.coefficients, strict=True)
        ):
            at, slopes_at = layout.sums(term), layout.slopes(term, 0)
            sums, slopes = mean[:, at], mean[:, slopes_at]
            first = statistic.gradient(sums)
            along = np.einsum("eij,ej->ei", statistic.hessian(sums), slopes)
            gradient += coefficient * (first * slopes).sum(axis=1)
            total += coefficient * statistic.value(sums)
            influence += coefficient * np.einsum(
                "eti,ei->et", centred[:, :, at], module.asarray(along)
            )
            influence += coefficient * np.einsum(
                "eti,ei->et", centred[:, :, slopes_at], module.asarray(first)
            )
        gradient_error = np.sqrt(to_host((influence**2).sum(axis=1)) / (trees * (trees - 1)))
    return PerEvent(centre, centre_error, accepted_trees, total, gradient, gradient_error)


def joined(parts: Sequence[PerEvent]) -> PerEvent:
    """The results of several batches of events, in order."""
    none, no_number = np.empty(0), np.empty(0, np.int64)
    parts = parts or [PerEvent(none, none, no_number, none, none, none)]
    columns: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(PerEvent)
    }
    return PerEvent(**columns)


def mean_of_accepted(value: Floats, accepted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean over the accepted trees of each event and its standard error, NaN where there are too few.

    Parameters
    ----------
    value, accepted
        Shape (event, tree); the value is 0 where a tree is not accepted.
    """
    number = accepted.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = value.sum(axis=1) / number
        spread = (np.where(accepted, value - mean[:, np.newaxis], 0.0) ** 2).sum(axis=1)
        return mean, np.sqrt(spread / (number - 1) / number)


def _layout(loss: Loss, parameters: int) -> MomentLayout:
    return MomentLayout(
        tuple(term.statistic for term in loss.terms),
        tuple(term.coefficient for term in loss.terms),
        parameters,
    )


def no_events(loss: Loss, parameters: int) -> Moments:
    layout = _layout(loss, parameters)
    size = layout.length
    return Moments(
        layout, np.zeros(size), np.zeros((size, size)), np.zeros((size, size)), 0.0, 0, 0, 0, 0, 0.0
    )
