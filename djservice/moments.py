"""Mergeable sums over events: everything a loss, its gradient, a spectrum and their standard errors need.

Per event there is one vector z: for each term of the loss (a, b, ga, gb), its numerator, denominator and their
derivatives, then (acceptance, mean f, mean f^2) of the observable, all times the event weight. Every result is a
function of the sum of z, so its standard error over events follows from the sum of z z^T (delta method), and the part
of it that comes from the finite number of trees from the sum of the covariances of z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from djservice.errors import NothingAcceptedError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over events; ``+`` merges. Sums of floats depend on the order in the last bits: merge in a fixed one.

    Attributes
    ----------
    coefficients
        Of the terms of the loss, shape (term,).
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

    coefficients: Floats
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
            f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "coefficients"
        }
        return Moments(coefficients=self.coefficients, **summed)

    @property
    def acceptance(self) -> float:
        """Weighted fraction of trees that the first term accepts."""
        return float(self.total[-3] / self.weight)

    def loss(self) -> Quantity:
        """L, the pooled ratio A / B of each term."""
        value, slope = 0.0, np.zeros_like(self.total)
        for term, coefficient in enumerate(self.coefficients):
            a, b = self._ratio(term)
            value += coefficient * a / b
            slope[4 * term] += coefficient / b
            slope[4 * term + 1] -= coefficient * a / b**2
        return self._quantity(value, slope)

    def gradient(self) -> Quantity:
        """dL/dR = (GA - L GB) / B of each term."""
        value, slope = 0.0, np.zeros_like(self.total)
        for term, coefficient in enumerate(self.coefficients):
            a, b = self._ratio(term)
            ga, gb = (float(x) for x in self.total[4 * term + 2 : 4 * term + 4])
            loss, gradient = a / b, (ga - a / b * gb) / b
            value += coefficient * gradient
            slope[4 * term : 4 * term + 4] += (
                coefficient * np.array([-gb / b, gb / b * loss - gradient, 1.0, -loss]) / b
            )
        return self._quantity(value, slope)

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

    def _ratio(self, term: int) -> tuple[float, float]:
        a, b = (float(x) for x in self.total[4 * term : 4 * term + 2])
        self._positive(b)
        return a, b

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
