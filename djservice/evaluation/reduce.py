"""Reduction of trees to sums over events (:mod:`djservice.evaluation.moments`).

It also gives the results of each event by itself (:mod:`djservice.evaluation.per_event`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import TreeSample
from djservice.core.array_module import array_module, to_host
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.estimators.base import Contributions, Estimator, ExtraJets, StateValues, TreeValues
from djservice.evaluation.bootstrap import replica_sums
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.per_event import PerEvent, results_per_event
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, Term


def reduce_events(
    events: EventBatch,
    sample: TreeSample,
    extra: ExtraJets,
    loss: Loss,
    estimator: Estimator,
    jacobian: Floats | None,
    sizes: Sequence[int],
    bootstrap: bool = True,
) -> list[tuple[Moments, PerEvent]]:
    """Sums over each of several parts of the events, and the results per event.

    Parameters
    ----------
    events, sample
        Events and their trees. If the trees are on a GPU, the work is done there, and only sums
        over the trees of an event are copied back.
    extra
        Result of :meth:`djservice.estimators.base.Estimator.extra_jets`.
    loss, estimator
        Loss and the estimator of its derivative.
    jacobian
        dR/dtheta, shape (event, theta), or None. With it the sums hold derivatives in theta.
    sizes
        Number of events of each part, in the order of the events. The sums of a part have the same
        bits whatever the other parts are.
    bootstrap
        Whether the sums have replicas, if the loss has a binned term.

    Raises
    ------
    RunError
        If an event's sums are not finite.
    """
    trees, module = sample.scores.shape[1], array_module(sample.scores)
    layout = layout_of(loss, len(sample.parameters))
    categories = loss.categories(events.truth, events.dataset)
    # z of each tree, shape (event, tree); the mean over trees is z of the event.
    columns: list[Floats] = []
    # Influence of each tree on that mean, times the number of trees.
    influences: list[Floats] = []
    first_value, first_accepted, share = np.empty(0), np.empty(0, np.bool_), np.empty(0)
    # Evaluated once for all terms, because estimators make the extra jets lazily.
    extra_values = [
        [
            (*_evaluated(term, jets, events.truth, module), module.asarray(weight))
            for term in loss.terms
        ]
        for jets, weight in extra
    ]
    for number, term in enumerate(loss.terms):
        value, quantities, mask = term.evaluate(sample.jets, events.truth)
        accepted = mask.astype(np.float64)
        term_extra = [terms[number] for terms in extra_values]
        slopes = _slopes(events, sample, term_extra, term, estimator, quantities, accepted)
        term_columns, term_influences = _term_columns(term, quantities, accepted, slopes)
        columns, influences = columns + term_columns, influences + term_influences
        if term is loss.terms[0]:
            first_value, first_accepted = np.where(mask, value, 0.0), mask
            first = slopes[0][0].share
            share = np.full(len(mask), math.nan) if first is None else to_host(first.mean(axis=1))
    spectrum = [first_accepted.astype(np.float64), first_value, first_value**2]
    mean = to_host(np.stack(columns + spectrum, axis=-1).mean(axis=1))
    centred = np.stack(influences + spectrum, axis=-1)
    centred -= centred.mean(axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(mean * events.weight[:, np.newaxis]).all(axis=1))
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the gradient is not finite in {len(bad)} events: {names}. Check the observable and "
            "the event weights."
        )
    accepted_trees = to_host(first_accepted.sum(axis=1))
    per_event = results_per_event(
        layout, mean, centred, accepted_trees, first_value, first_accepted, trees
    )
    results = []
    for stop, size in zip(np.cumsum(sizes), sizes, strict=True):
        rows = slice(stop - size, stop)
        of_events = mean[rows], centred[rows], events.weight[rows]
        part_jacobian = None if jacobian is None else jacobian[rows]
        sums = (
            _sums(layout, part_jacobian, *of_events)
            if categories is None
            else _sums_by_category(layout, part_jacobian, *of_events, categories[rows])
        )
        moments = Moments(
            layout if part_jacobian is None else layout_of(loss, part_jacobian.shape[1]),
            *sums,
            weight=float(events.weight[rows].sum()),
            events=size,
            events_without=int((accepted_trees[rows] == 0).sum()),
            trees=size * trees,
            trees_accepted=int(accepted_trees[rows].sum()),
            state_share=float(share[rows].sum()),
            replicas=np.zeros(())
            if categories is None or not bootstrap
            else replica_sums(
                mean[rows, layout.sums(layout.binned)] * events.weight[rows, np.newaxis],
                events.key[rows],
                categories[rows],
                *layout.categories,
            ),
        )
        part_events = PerEvent(*(getattr(per_event, f.name)[rows] for f in fields(PerEvent)))
        results.append((moments, part_events))
    return results


def _sums(
    layout: MomentLayout, jacobian: Floats | None, mean: Floats, centred: Floats, weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """Sums over events of z, of z z^T, and of the covariance of z over trees."""
    if jacobian is None:
        return reduced(mean, centred, weight)
    return _reduce_in_theta(jacobian, layout, mean, centred, weight)


def _sums_by_category(
    layout: MomentLayout,
    jacobian: Floats | None,
    mean: Floats,
    centred: Floats,
    weight: Floats,
    categories: NDArray[np.int64],
) -> tuple[Floats, Floats, Floats]:
    """Sums as of :func:`_sums`, those of each category apart, on a first axis."""
    module, parts = array_module(centred), []
    for category in range(*layout.categories):
        events = np.flatnonzero(categories == category)
        of_category = None if jacobian is None else jacobian[events]
        parts.append(
            _sums(
                layout, of_category, mean[events], centred[module.asarray(events)], weight[events]
            )
        )
    total, outer, tree_covariance = (np.stack(sums) for sums in zip(*parts, strict=True))
    return total, outer, tree_covariance


def reduced(mean: Floats, centred: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
    """Sums over events of z, of z z^T, and of the covariance of z over trees."""
    trees = centred.shape[1]
    z = mean * weight[:, np.newaxis]
    weighted = (centred * array_module(centred).asarray(weight)[:, np.newaxis, np.newaxis]).reshape(
        -1, z.shape[1]
    )
    return z.sum(axis=0), gram(z), to_host(gram(weighted)) / (trees * max(trees - 1, 1))


def gram(rows: Floats) -> Floats:
    """Sum over rows of x x^T, in the order of the rows.

    A product of matrices is left to BLAS, whose order depends on the processor and the threads.
    """
    products: Floats = np.einsum("ei,ej->ij", rows, rows)
    return products


def _reduce_in_theta(
    jacobian: Floats, layout: MomentLayout, mean: Floats, centred: Floats, weight: Floats
) -> tuple[Floats, Floats, Floats]:
    """Sums as of :func:`_reduce`, with derivatives in theta.

    Each derivative in theta is that in R of an event times its dR/dtheta.
    """
    # For each entry of z in theta: the entry of z in R that it comes from, and its factor.
    source, factor = [], []
    ones = np.ones(len(mean))
    for term in range(len(layout.sizes)):
        sums, slopes = (
            np.arange(layout.length)[entries]
            for entries in (layout.sums(term), layout.slopes(term, 0))
        )
        source += [*sums, *np.tile(slopes, jacobian.shape[1])]
        factor += [ones] * len(sums) + [theta for theta in jacobian.T for _ in slopes]
    source += list(range(layout.length - 3, layout.length))
    factors = np.stack(factor + [ones] * 3, axis=1) * weight[:, np.newaxis]
    z = mean[:, source] * factors
    trees = centred.shape[1]
    # Covariance of z in R of each event.
    covariance = to_host(np.einsum("eti,etj->eij", centred, centred)) / (trees * max(trees - 1, 1))
    sources = np.asarray(source)
    tree_covariance = np.empty((len(sources), len(sources)))
    for i in range(layout.length):
        for j in range(layout.length):
            rows, columns = np.flatnonzero(sources == i), np.flatnonzero(sources == j)
            block = np.einsum(
                "ei,ej->ij", factors[:, rows] * covariance[:, i, j, np.newaxis], factors[:, columns]
            )
            tree_covariance[np.ix_(rows, columns)] = block
    return z.sum(axis=0), gram(z), tree_covariance


def _slopes(
    events: EventBatch,
    sample: TreeSample,
    extra_values: list[tuple[list[Floats], Floats, Floats]],
    term: Term,
    estimator: Estimator,
    quantities: list[Floats],
    accepted: Floats,
) -> list[list[Contributions]]:
    """Contributions to the derivatives of each quantity of a term, in each parameter."""
    states, trees = sample.states, accepted.shape[1]
    if term.needs_constituents:  # states have none
        states = None
    if states is not None:
        module = array_module(accepted)
        truth = module.asarray(events.truth)[states.tree // trees]
        state_quantities, state_accepted = _evaluated(
            term, states.jets[:, np.newaxis], truth, module
        )
    contributions = []
    for parameter, name in enumerate(sample.parameters):
        score, row = sample.score_in(name), []
        for k, quantity in enumerate(quantities):
            state_values = None
            if states is not None:
                state_values = StateValues(
                    state_quantities[k][:, 0],
                    state_accepted[:, 0],
                    states.scores[:, parameter],
                    states.tree,
                )
            extra = tuple((values[k], mask, weight) for values, mask, weight in extra_values)
            row.append(estimator.slopes(TreeValues(quantity, accepted, score, state_values, extra)))
        contributions.append(row)
    return contributions


def _evaluated(term: Term, jets: Any, truth: Floats, module: Any) -> tuple[list[Floats], Floats]:
    """I times each quantity, and I, as arrays of a module.

    The jets that an estimator made may be on the host.
    """
    _, quantities, accepted = term.evaluate(jets, truth)
    return [module.asarray(quantity) for quantity in quantities], module.asarray(
        accepted.astype(np.float64)
    )


def _term_columns(
    term: Term, quantities: list[Floats], accepted: Floats, slopes: list[list[Contributions]]
) -> tuple[list[Floats], list[Floats]]:
    """Sums of each tree and their derivatives for one term, and each tree's influence on the means.

    The influence is defined up to a constant.
    """
    sums = [*quantities, accepted]
    derivatives = [[*(s.quantity for s in row), row[0].accepted] for row in slopes]
    if not term.squares_expectation:
        columns = [*sums, *(column for row in derivatives for column in row)]
        return columns, columns
    partners = [_leave_one_out_mean(column) for column in sums]
    columns = [column * partner for column, partner in zip(sums, partners, strict=True)]
    # A tree is in its own product and in those of all other trees (Hoeffding's projection of a
    # U-statistic).
    influences = [2.0 * column for column in columns]
    for row in derivatives:
        for column, partner, slope in zip(sums, partners, row, strict=True):
            columns.append(2.0 * partner * slope)
            influences.append(columns[-1] + 2.0 * column * _leave_one_out_mean(slope))
    return columns, influences


def _leave_one_out_mean(values: Floats) -> Floats:
    """For each tree, the mean over the other trees of its event."""
    mean: Floats = (values.sum(axis=1, keepdims=True) - values) / (values.shape[1] - 1)
    return mean


def layout_of(loss: Loss, parameters: int) -> MomentLayout:
    """Layout of the moments of a loss."""
    return MomentLayout(
        tuple(term.statistic for term in loss.terms),
        tuple(term.coefficient for term in loss.terms),
        parameters,
    )


def zero_moments(loss: Loss, parameters: int) -> Moments:
    """The sums over no events."""
    layout = layout_of(loss, parameters)
    size, categories = layout.length, layout.categories
    total, outer = np.zeros((*categories, size)), np.zeros((*categories, size, size))
    return Moments(layout, total, outer, outer.copy(), 0.0, 0, 0, 0, 0, 0.0)
