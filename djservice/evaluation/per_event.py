"""The results of each event by itself: the formulas of a sample of one event, errors over trees."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.array_module import array_module, to_host
from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.spread import combined, second_along
from djservice.objectives.pooled_statistics import PooledStatistic, UnbinnedStatistic


@dataclass(frozen=True)
class PerEvent:
    """Results per event; NaN for an event without an accepted tree.

    Attributes
    ----------
    mean, mean_error
        Mean of the first term's observable over accepted trees, and its standard error over trees,
        shape (event,).
    accepted
        Number of accepted trees, shape (event,).
    loss
        L of each event alone, shape (event,).
    gradients, gradient_errors
        dL/dR of each event alone, or the derivatives in other parameters, and their standard errors
        over trees, shape (event, parameter).
    spread
        Standard deviation of what one tree of the event contributes to dL/dR of the whole sample,
        times the weight of the sample, shape (event,). It is that of the first parameter. NaN where
        it was not asked for or is not defined.
    """

    mean: Floats
    mean_error: Floats
    accepted: NDArray[np.int64]
    loss: Floats
    gradients: Floats
    gradient_errors: Floats
    spread: Floats

    def take(self, order: NDArray[np.int64]) -> PerEvent:
        """The results of the events at ``order``."""
        return PerEvent(*(getattr(self, f.name)[order] for f in fields(self)))

    @property
    def gradient(self) -> Floats:
        """The derivative in the first parameter, shape (event,)."""
        return self.gradients[:, 0]

    @property
    def gradient_error(self) -> Floats:
        """The standard error of :attr:`gradient`, shape (event,)."""
        return self.gradient_errors[:, 0]


def results_per_event(
    layout: MomentLayout,
    mean: Floats,
    centred: Floats,
    accepted_trees: NDArray[np.int64],
    value: Floats,
    accepted: NDArray[np.bool_],
    trees: int,
) -> PerEvent:
    """The results of each event, from z of the event and the deviations of its trees.

    Parameters
    ----------
    mean, centred
        z of each event, shape (event, entry), and each tree's influence on it less their mean,
        shape (event, tree, entry).
    accepted_trees, value, accepted
        Accepted trees of each event; the first observable and its selection, shape (event, tree).
    """
    centre, centre_error = (to_host(x) for x in mean_of_accepted(value, accepted))
    size = len(mean), layout.parameters
    gradients, errors = np.full(size, math.nan), np.full(size, math.nan)
    nothing = np.full(len(mean), math.nan)
    if layout.categories:  # histograms mean nothing for a single event
        return PerEvent(centre, centre_error, accepted_trees, nothing, gradients, errors, nothing)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        losses, moves_of_losses = _losses(layout, mean, centred)
        total, first = combined(losses, layout.spread)
        for parameter in range(layout.parameters):
            slopes, moves = _gradients(layout, parameter, mean, centred)
            gradients[:, parameter] = (first * slopes).sum(axis=1)
            influence = _along(moves, first)
            if layout.spread:
                second = second_along(losses, slopes, layout.spread)
                influence += _along(moves_of_losses, second)
            squares = to_host((influence**2).sum(axis=1))
            errors[:, parameter] = np.sqrt(squares / (trees * (trees - 1)))
    return PerEvent(centre, centre_error, accepted_trees, total, gradients, errors, nothing)


def spread_of_trees(
    moments: Moments, centred: Floats, weight: Floats, categories: NDArray[np.int64] | None
) -> Floats:
    """:attr:`PerEvent.spread` of the events of some sums; NaN where their gradient is not defined.

    Parameters
    ----------
    moments
        Sums over the events.
    centred, weight, categories
        Influence of each tree less its mean, shape (event, tree, entry), and weight and category of
        each event, as in :func:`djservice.evaluation.reduce.sums_over_events`.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of few events
        try:
            slope = np.atleast_2d(moments.gradient_slope())
        except NothingAcceptedError:
            return np.full(len(weight), math.nan)
        slopes = slope[np.zeros(len(weight), np.int64) if categories is None else categories]
        squares = to_host((_along(centred, slopes) ** 2).sum(axis=1))
        spread = np.abs(moments.weight * weight) * np.sqrt(squares / max(centred.shape[1] - 1, 1))
    return np.asarray(spread, np.float64)


def _losses(layout: MomentLayout, mean: Floats, centred: Floats) -> tuple[Floats, Floats]:
    """L of each version of each event, shape (event, version), and what a tree moves it by."""
    losses = np.zeros((len(mean), layout.versions))
    moves = array_module(centred).zeros((*centred.shape[:2], layout.versions))
    for term, (statistic, coefficient) in enumerate(_terms(layout)):
        version, entries = _version(layout, term), layout.sums(term)
        sums = mean[:, entries]
        losses[:, version] += coefficient * statistic.value(sums)
        slopes = coefficient * statistic.gradient(sums)
        moves[..., version] += _along(centred[:, :, entries], slopes)
    return losses, moves


def _gradients(
    layout: MomentLayout, parameter: int, mean: Floats, centred: Floats
) -> tuple[Floats, Floats]:
    """dL/d parameter of each version of each event, and what a tree moves it by."""
    gradients = np.zeros((len(mean), layout.versions))
    moves = array_module(centred).zeros((*centred.shape[:2], layout.versions))
    for term, (statistic, coefficient) in enumerate(_terms(layout)):
        version = _version(layout, term)
        sum_entries, slope_entries = layout.sums(term), layout.slopes(term, parameter)
        sums, slopes = mean[:, sum_entries], mean[:, slope_entries]
        assert isinstance(statistic, UnbinnedStatistic)
        first = coefficient * statistic.gradient(sums)
        second = coefficient * np.einsum("eij,ej->ei", statistic.hessian(sums), slopes)
        gradients[:, version] += (first * slopes).sum(axis=1)
        moves[..., version] += _along(centred[:, :, sum_entries], second)
        moves[..., version] += _along(centred[:, :, slope_entries], first)
    return gradients, moves


def _terms(layout: MomentLayout) -> Iterable[tuple[PooledStatistic, float]]:
    return zip(layout.statistics, layout.coefficients, strict=True)


def _version(layout: MomentLayout, term: int) -> int:
    return term // (len(layout.statistics) // layout.versions)


def _along(columns: Floats, slopes: Floats) -> Floats:
    """The sum of columns of trees, shape (event, tree, column), times slopes of their event."""
    along: Floats = np.einsum("eti,ei->et", columns, array_module(columns).asarray(slopes))
    return along


def concatenated(parts: Sequence[PerEvent], parameters: int = 1) -> PerEvent:
    """Results of several batches of events, in order."""
    empty, no_counts, of_none = np.empty(0), np.empty(0, np.int64), np.empty((0, parameters))
    parts = parts or [PerEvent(empty, empty, no_counts, empty, of_none, of_none, empty)]
    columns: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(PerEvent)
    }
    return PerEvent(**columns)


def mean_of_accepted(value: Floats, accepted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean over the accepted trees of each event and its standard error; NaN with too few trees.

    Parameters
    ----------
    value, accepted
        Value and acceptance of each tree, shape (event, tree); the value is 0 where a tree is not
        accepted.
    """
    number = accepted.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = value.sum(axis=1) / number
        spread = (np.where(accepted, value - mean[:, np.newaxis], 0.0) ** 2).sum(axis=1)
        return mean, np.sqrt(spread / (number - 1) / number)
