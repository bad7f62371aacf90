"""Columns of trees: what is summed over the trees of each event, for one version of the events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import TreeSample
from djservice.core.array_module import array_module, to_host
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, Estimator, ExtraJets, StateValues, TreeValues
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, Term
from djservice.objectives.robust import Robust


@dataclass(frozen=True)
class Grown:
    """The trees of events in one version, with what an estimator made of them.

    Attributes
    ----------
    events, sample
        Events and their trees. If the trees are on a GPU, the work is done there, and only sums
        over the trees of an event are copied back.
    extra
        Result of :meth:`djservice.estimators.base.Estimator.extra_jets`.
    rigidity
        alpha of the trees.
    """

    events: EventBatch
    sample: TreeSample
    extra: ExtraJets
    rigidity: float = 1.0


@dataclass(frozen=True)
class Columns:
    """What is summed of each tree, shape (event, tree) each.

    Attributes
    ----------
    z, influences
        z of each tree, whose mean over trees is that of the event; and the influence of each tree
        on that mean, times the number of trees.
    value, accepted
        The first term's observable, and whether the term accepts the tree.
    share
        Share of the state baseline, shape (event,).
    """

    z: list[Floats]
    influences: list[Floats]
    value: Floats
    accepted: NDArray[np.bool_]
    share: Floats


def columns_of(grown: Grown, loss: Loss | Robust, estimator: Estimator) -> Columns:
    """What is summed of each tree of one version of the events."""
    events, sample, module = grown.events, grown.sample, array_module(grown.sample.scores)
    # Evaluated once for all terms, because estimators make the extra jets lazily.
    extra_values = [
        [
            (*_evaluated(term, jets, events.truth, module), module.asarray(weight))
            for term in loss.terms
        ]
        for jets, weight in grown.extra
    ]
    z: list[Floats] = []
    influences: list[Floats] = []
    first: tuple[Any, ...] = ()
    for number, term in enumerate(loss.terms):
        value, quantities, mask = term.evaluate(sample.jets, events.truth)
        accepted = mask.astype(np.float64)
        term_extra = [terms[number] for terms in extra_values]
        slopes = _slopes(grown, term_extra, term, estimator, quantities, accepted)
        of_term, influences_of_term = term_columns(term, quantities, accepted, slopes)
        z, influences = z + of_term, influences + influences_of_term
        if not first:
            share = slopes[0][0].share
            shares = np.full(len(mask), math.nan) if share is None else to_host(share.mean(axis=1))
            first = np.where(mask, value, 0.0), mask, shares
    return Columns(z, influences, *first)


def _slopes(
    grown: Grown,
    extra_values: list[tuple[list[Floats], Floats, Floats]],
    term: Term,
    estimator: Estimator,
    quantities: list[Floats],
    accepted: Floats,
) -> list[list[Contributions]]:
    """Contributions to the derivatives of each quantity of a term, in each parameter."""
    sample, trees = grown.sample, accepted.shape[1]
    states = sample.states
    if term.needs_constituents:  # states have none
        states = None
    if states is not None:
        module = array_module(accepted)
        truth = module.asarray(grown.events.truth)[states.tree // trees]
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
            extra = tuple((of[k], mask, weight) for of, mask, weight in extra_values)
            values = TreeValues(
                quantity, accepted, score, state_values, extra, grown.rigidity, term.jets
            )
            row.append(estimator.slopes(values))
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


def term_columns(
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
