"""Mergeable sums over events: everything a loss, its gradient, a spectrum and their standard errors need.

Per event there is one vector z: for each term of the loss its sums (A_1, ..., A_k, B) and their derivatives in each
parameter, then (acceptance, mean f, mean f^2) of the observable, all times the event weight. Every result is a function
of the sum of z, so its standard error over events follows from the sum of z z^T (delta method), and the part of it that
comes from the finite number of trees from the sum of the covariances of z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.objectives.pooled_statistics import PooledStatistic


@dataclass(frozen=True)
class MomentLayout:
    """What the entries of z are.

    Attributes
    ----------
    statistics, coefficients
        Of the terms of the loss.
    parameters
        Number of parameters that there are derivatives in.
    """

    statistics: tuple[PooledStatistic, ...]
    coefficients: tuple[float, ...]
    parameters: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of sums of each term, B among them."""
        return tuple(statistic.sums for statistic in self.statistics)

    @property
    def length(self) -> int:
        """Of z."""
        return sum(self.sizes) * (1 + self.parameters) + 3

    def sums(self, term: int) -> slice:
        """Where the sums of a term are."""
        start = sum(self.sizes[:term]) * (1 + self.parameters)
        return slice(start, start + self.sizes[term])

    def slopes(self, term: int, parameter: int) -> slice:
        """Where their derivatives are."""
        sums, size = self.sums(term), self.sizes[term]
        return slice(sums.stop + parameter * size, sums.stop + (parameter + 1) * size)


@dataclass(frozen=True)
class Moments:
    """Sums over events; ``+`` merges. Sums of floats depend on the order in the last bits: merge in a fixed one.

    Attributes
    ----------
    layout
        What the entries of z are.
    total, outer, tree_covariance
        Sum of z, of z z^T, and of the covariance of z over trees; shapes (dim,), (dim, dim), (dim, dim).
    weight
        Sum of the event weights.
    events, events_without
        Number of events, and of those without a single accepted tree.
    trees, trees_accepted
        Number of trees, and of those accepted by the first term.
    state_share
        Sum over events of the share of the state baseline in the first term's gradient (NaN with another estimator).
    """

    layout: MomentLayout
    total: Floats
    outer: Floats
    tree_covariance: Floats
    weight: float
    events: int
    events_without: int
    trees: int
    trees_accepted: int
    state_share: float

    def __add__(self, other: Moments) -> Moments:
        summed = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name != "layout"
        }
        return Moments(layout=self.layout, **summed)

    def scaled(self, parameter: int, factor: float) -> Moments:
        """The same with the derivatives in a parameter that is ``factor`` times smaller."""
        factors = np.ones(self.layout.length)
        for term in range(len(self.layout.statistics)):
            factors[self.layout.slopes(term, parameter)] = factor
        both = np.outer(factors, factors)
        return replace(
            self,
            total=self.total * factors,
            outer=self.outer * both,
            tree_covariance=self.tree_covariance * both,
        )

    @property
    def acceptance(self) -> float:
        """Weighted fraction of trees that the first term accepts."""
        return float(self.total[-3] / self.weight)

    def loss(self) -> Quantity:
        """L, the sum over terms of F(A_1, ..., A_k, B)."""
        value, slope = 0.0, np.zeros_like(self.total)
        for term, (statistic, coefficient) in enumerate(self._terms()):
            sums = self._sums(term)
            value += coefficient * float(statistic.value(sums))
            slope[self.layout.sums(term)] += coefficient * statistic.gradient(sums)
        return self._quantity(value, slope)

    def gradient(self, parameter: int = 0) -> Quantity:
        """dL/dR, or the derivative in another parameter: the sum over terms of F'(A, B) (GA, GB)."""
        value, slope = 0.0, np.zeros_like(self.total)
        for term, (statistic, coefficient) in enumerate(self._terms()):
            sums, at = self._sums(term), self.layout.slopes(term, parameter)
            first = statistic.gradient(sums)
            value += coefficient * float(first @ self.total[at])
            slope[at] += coefficient * first
            slope[self.layout.sums(term)] += coefficient * (
                statistic.hessian(sums) @ self.total[at]
            )
        return self._quantity(value, slope)

    def gradients(self) -> list[Quantity]:
        """The derivatives in all parameters."""
        return [self.gradient(parameter) for parameter in range(self.layout.parameters)]

    def mean(self) -> Quantity:
        """Mean of the observable over accepted trees, pooled over events."""
        weight, first, _ = self._spectrum()
        slope = np.zeros_like(self.total)
        slope[-3:-1] = -first / weight**2, 1.0 / weight
        return self._quantity(first / weight, slope)

    def sd(self) -> Quantity:
        """Standard deviation of the observable over accepted trees, pooled over events."""
        weight, first, second = self._spectrum()
        mean = first / weight
        sd = math.sqrt(max(second / weight - mean**2, 0.0))
        slope = np.zeros_like(self.total)
        if sd > 0.0:
            slope[-3:] = np.array([mean**2 - sd**2, -2.0 * mean, 1.0]) / (2.0 * sd * weight)
        return self._quantity(sd, slope)

    def _spectrum(self) -> tuple[float, float, float]:
        weight, first, second = (float(x) for x in self.total[-3:])
        self._positive(weight)
        return weight, first, second

    def _terms(self) -> list[tuple[PooledStatistic, float]]:
        return list(zip(self.layout.statistics, self.layout.coefficients, strict=True))

    def _sums(self, term: int) -> Floats:
        sums = self.total[self.layout.sums(term)]
        self._positive(float(sums[-1]))
        return sums

    def _positive(self, weight: float) -> None:
        if not weight > 0.0:
            found = (
                "no tree passed the selection"
                if self.trees_accepted == 0
                else f"the accepted weight sums to {weight:g}"
            )
            raise NothingAcceptedError(
                f"{found} in {self.events} events with {self.trees} trees, so the loss is not defined. Loosen the cuts, use more "
                "events per batch, or check the event weights for negative sums."
            )

    def _quantity(self, value: float, slope: Floats) -> Quantity:
        n = self.events
        over_events = n / (n - 1) * float(slope @ self.outer @ slope) if n > 1 else math.nan
        over_trees = float(slope @ self.tree_covariance @ slope)
        # Rounding may take a variance below 0; NaN passes through.
        error, tree_error = (math.sqrt(0.0 if x < 0.0 else x) for x in (over_events, over_trees))
        return Quantity(float(value), error, tree_error)


@dataclass(frozen=True)
class Quantity:
    """A number with its standard error, and the part of that which more trees on the same events would remove.

    Attributes
    ----------
    value
        The estimate.
    error
        Standard error, covering events and trees; NaN with one event.
    tree_error
        Standard error over trees, the events being given.
    """

    value: float
    error: float
    tree_error: float
