"""Mergeable sums over events, sufficient for a loss, its gradient, a spectrum and their errors.

Each event has one vector z. For each term of the loss it holds the sums (A_1, ..., A_k, B) and
their derivatives in each parameter. It ends with (acceptance, mean f, mean f^2) of the observable.
All entries are multiplied by the event weight.

A loss of histograms has categories of events, such as bins of the true mass. Sums over the events of
a category then stand apart, and an axis of categories comes first.

Every result is a function of the sum of z. Its standard error over events follows from the sum of
z z^T (delta method). The part of the error that is due to the finite number of trees follows from
the sum of the covariances of z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.formatting import counted
from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.evaluation.spread import combined, second_along
from djservice.objectives.binned_statistics import BinnedStatistic
from djservice.objectives.pooled_statistics import PooledStatistic


@dataclass(frozen=True)
class MomentLayout:
    """Meaning of the entries of z.

    Attributes
    ----------
    statistics, coefficients
        Statistic and coefficient of each term of the loss.
    parameters
        Number of parameters of the derivatives.
    versions
        Number of versions of the events. The terms of the first version come first.
    spread
        Factor of the standard deviation of the losses of the versions.
    """

    statistics: tuple[PooledStatistic, ...]
    coefficients: tuple[float, ...]
    parameters: int
    versions: int = 1
    spread: float = 0.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of sums of each term, including B."""
        return tuple(statistic.sums for statistic in self.statistics)

    @property
    def categories(self) -> tuple[int, ...]:
        """Number of categories of events, as the shape of an axis; empty without categories."""
        binned = (s for s in self.statistics if isinstance(s, BinnedStatistic))
        return next(((statistic.categories,) for statistic in binned), ())

    @property
    def binned(self) -> int:
        """Number of the term that is a histogram; there is at most one."""
        return next(i for i, s in enumerate(self.statistics) if isinstance(s, BinnedStatistic))

    @property
    def is_extensive(self) -> bool:
        """Whether the loss depends on the scale of the weights."""
        return any(isinstance(s, BinnedStatistic) and s.is_extensive for s in self.statistics)

    @property
    def length(self) -> int:
        """Number of entries of z."""
        return sum(self.sizes) * (1 + self.parameters) + 3

    def sums(self, term: int) -> slice:
        """Entries that hold the sums of a term."""
        start = sum(self.sizes[:term]) * (1 + self.parameters)
        return slice(start, start + self.sizes[term])

    def slopes(self, term: int, parameter: int) -> slice:
        """Entries that hold the derivatives of a term's sums in a parameter."""
        sums, size = self.sums(term), self.sizes[term]
        return slice(sums.stop + parameter * size, sums.stop + (parameter + 1) * size)


@dataclass(frozen=True)
class Moments:
    """Sums over events, which merge with ``+``.

    The last bits of a sum of floats depend on the order, so merge in a fixed order.

    Attributes
    ----------
    layout
        Meaning of the entries of z.
    total, outer, tree_covariance
        Sum of z, of z z^T, and of the covariance of z over trees; shapes (dim,), (dim, dim),
        (dim, dim), after the axis of categories if there is one.
    weight
        Sum of the event weights.
    events, events_without
        Number of events, and number of events without any accepted tree.
    trees, trees_accepted
        Number of trees, and number of trees accepted by the first term.
    state_share
        Sum over events of the share of the state baseline in the first term's gradient; NaN with
        other estimators.
    replicas
        Sums of the binned term with the events of each replica of the sample, shape (replica,
        category, entry) (:mod:`djservice.evaluation.bootstrap`); a zero where there are none.
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
    replicas: Floats = field(default_factory=lambda: np.zeros(()), repr=False)

    def __add__(self, other: Moments) -> Moments:
        mine, its = vars(self), vars(other)
        summed = {name: mine[name] + its[name] for name in mine if name != "layout"}
        return Moments(self.layout, **summed)

    def scaled(self, parameter: int, factor: float) -> Moments:
        """These sums, with the derivatives in a parameter multiplied by ``factor``."""
        factors = np.ones(self.layout.length)
        for term in range(len(self.layout.statistics)):
            factors[self.layout.slopes(term, parameter)] = factor
        outer_factors = np.outer(factors, factors)
        return replace(
            self,
            total=self.total * factors,
            outer=self.outer * outer_factors,
            tree_covariance=self.tree_covariance * outer_factors,
        )

    @property
    def acceptance(self) -> float:
        """Weighted fraction of trees that the first term accepts."""
        return float(self.total[..., -3].sum() / self.weight)

    def loss(self) -> Quantity:
        """Loss L, the sum over terms of F(A_1, ..., A_k, B), less the bias of a binned statistic.

        Of several versions of the events it is the mean and a multiple of the spread
        (:mod:`djservice.evaluation.spread`).
        """
        moments = self._near_one()
        losses, slopes = moments._losses()
        value, first = combined(losses, self.layout.spread)
        return moments._quantity(float(value), _sum(first, slopes))

    def gradient(self, parameter: int = 0) -> Quantity:
        """Derivative of L in R or another parameter: the sum over terms of F'(A, B) (GA, GB).

        The bias of a binned statistic has a derivative too, which is subtracted.
        """
        moments = self._near_one()
        return moments._quantity(*moments._gradient_and_slope(parameter))

    def gradient_slope(self, parameter: int = 0) -> Floats:
        """Derivatives of :meth:`gradient` in the entries of z, of the shape of :attr:`total`."""
        _, slope = self._near_one()._gradient_and_slope(parameter)
        return slope * self._factor()

    def _gradient_and_slope(self, parameter: int) -> tuple[float, Floats]:
        spread = self.layout.spread
        gradients, slopes = self._gradients(parameter)
        losses, slopes_of_losses = self._losses()
        _, first = combined(losses, spread)
        slope = _sum(first, slopes)
        if spread:
            slope += _sum(second_along(losses, gradients, spread), slopes_of_losses)
        return float(_sum(first, gradients)), slope

    def loss_along(self, factors: Floats) -> Quantity:
        """The sum of the losses of the versions, each times a factor."""
        moments = self._near_one()
        return moments._along(factors, *moments._losses())

    def _along(self, factors: Floats, values: Floats, slopes: Floats) -> Quantity:
        return self._quantity(float(_sum(factors, values)), _sum(factors, slopes))

    def gradient_along(self, factors: Floats, parameter: int = 0) -> Quantity:
        """The derivative of :meth:`loss_along`."""
        moments = self._near_one()
        return moments._along(factors, *moments._gradients(parameter))

    def _losses(self) -> tuple[Floats, Floats]:
        """Loss of each version, shape (version,), and its derivatives in the entries of z."""
        versions, terms = self.layout.versions, self._terms()
        values, slopes = np.zeros(versions), np.zeros((versions, *self.total.shape))
        for term, (statistic, coefficient) in enumerate(terms):
            version = term * versions // len(terms)
            entries, sums = self.layout.sums(term), self._sums(term)
            values[version] += coefficient * float(statistic.value(sums))
            if isinstance(statistic, BinnedStatistic):
                bias = statistic.bias(sums, self.outer[:, entries, entries])
                values[version] -= coefficient * bias
            slopes[version][..., entries] += coefficient * statistic.gradient(sums)
        return values, slopes

    def _gradients(self, parameter: int) -> tuple[Floats, Floats]:
        """Derivative of the loss of each version, and its derivatives in the entries of z."""
        versions, terms = self.layout.versions, self._terms()
        values, all_slopes = np.zeros(versions), np.zeros((versions, *self.total.shape))
        for term, (statistic, coefficient) in enumerate(terms):
            version = term * versions // len(terms)
            of_sums, entries = self.layout.sums(term), self.layout.slopes(term, parameter)
            sums, slopes = self._sums(term), self._entries(term, entries)
            first = statistic.gradient(sums)
            values[version] += coefficient * float((first * slopes).sum())
            if isinstance(statistic, BinnedStatistic):
                outer = self.outer[:, of_sums]
                values[version] -= coefficient * statistic.bias_along(
                    sums, slopes, outer[:, :, of_sums], outer[:, :, entries]
                )
            all_slopes[version][..., entries] += coefficient * first
            all_slopes[version][..., of_sums] += coefficient * (
                statistic.curvature_along(sums, slopes)
            )
        return values, all_slopes

    def bootstrap_error(self) -> float:
        """Standard error over events of the binned term, from replicas of the sample.

        Its bias is that of the replicas too. NaN if it is not defined in one of them, or there are
        none.
        """
        if self.replicas.ndim == 0:
            return math.nan
        moments = self._near_one()
        statistic, coefficient = moments._terms()[self.layout.binned]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = [float(statistic.value(sums)) for sums in moments.replicas]
        return abs(coefficient) * float(np.std(values, ddof=1))

    def histogram(self) -> Histogram:
        """Histogram of the binned term of the loss."""
        term = self.layout.binned
        statistic, entries = self._terms()[term][0], self.layout.sums(term)
        assert isinstance(statistic, BinnedStatistic)
        bins = np.arange(entries.start, entries.stop - 1)
        error = np.sqrt(self.outer[:, bins, bins])
        return Histogram(self.total[:, bins], error, statistic.merged)

    def rescaled(self, factor: float) -> Moments:
        """These sums with all weights multiplied by a factor."""
        return replace(
            self,
            total=self.total * factor,
            outer=self.outer * factor**2,
            tree_covariance=self.tree_covariance * factor**2,
            weight=self.weight * factor,
            replicas=self.replicas * factor,
        )

    def gradients(self) -> list[Quantity]:
        """Derivatives of L in all parameters."""
        return [self.gradient(parameter) for parameter in range(self.layout.parameters)]

    def mean(self) -> Quantity:
        """Mean of the observable over accepted trees, pooled over events."""
        moments = self._near_one()
        weight, first, _ = moments._spectrum()
        slope = np.zeros_like(moments.total)
        slope[..., -3:-1] = -first / weight**2, 1.0 / weight
        return moments._quantity(first / weight, slope)

    def sd(self) -> Quantity:
        """Standard deviation of the observable over accepted trees, pooled over events."""
        moments = self._near_one()
        weight, first, second = moments._spectrum()
        mean = first / weight
        sd = math.sqrt(max(second / weight - mean**2, 0.0))
        slope = np.zeros_like(moments.total)
        if sd > 0.0:
            slope[..., -3:] = np.array([mean**2 - sd**2, -2.0 * mean, 1.0]) / (2.0 * sd * weight)
        return moments._quantity(sd, slope)

    def _near_one(self) -> Moments:
        """These sums of weights multiplied by a power of two, so that squares and cubes are finite.

        No result depends on the factor, and no bit of it, unless the loss is extensive.
        """
        factor = self._factor()
        return self if factor == 1.0 else self.rescaled(factor)

    def _factor(self) -> float:
        """The power of two of :meth:`_near_one`."""
        size = float(np.abs(self.total).max(initial=0.0))
        if size == 0.0 or 1e-50 < size < 1e50 or self.layout.is_extensive:
            return 1.0
        return math.ldexp(1.0, -math.frexp(size)[1])

    def _spectrum(self) -> tuple[float, float, float]:
        spectrum = self.total[..., -3:].reshape(-1, 3).sum(axis=0)
        weight, first, second = (float(x) for x in spectrum)
        self._require_positive(weight)
        return weight, first, second

    def _terms(self) -> list[tuple[PooledStatistic, float]]:
        """Statistic, as the sums allow, and coefficient of each term."""
        statistics = [
            statistic.usable(self._sums(term), self.outer[:, sums, sums])
            if isinstance(statistic, BinnedStatistic)
            else statistic
            for term, statistic in enumerate(self.layout.statistics)
            for sums in [self.layout.sums(term)]
        ]
        return list(zip(statistics, self.layout.coefficients, strict=True))

    def _sums(self, term: int) -> Floats:
        sums = self._entries(term, self.layout.sums(term))
        self._require_positive(float(sums[..., -1].sum()))
        return sums

    def _entries(self, term: int, entries: slice) -> Floats:
        """Some entries of a term, summed over categories unless its statistic has these."""
        values = self.total[..., entries]
        with_categories = isinstance(self.layout.statistics[term], BinnedStatistic)
        return values if with_categories or values.ndim == 1 else values.sum(axis=0)

    def _require_positive(self, weight: float) -> None:
        if not weight > 0.0:
            problem = (
                "no tree passed the selection"
                if self.trees_accepted == 0
                else f"the accepted weight sums to {weight:g}"
            )
            raise NothingAcceptedError(
                f"{problem} in {counted(self.events, 'event')} with {counted(self.trees, 'tree')}, so the loss is not "
                "defined. Loosen the cuts, use more events per batch, or check the event weights "
                "for negative sums."
            )

    def _quantity(self, value: float, slope: Floats) -> Quantity:
        n = self.events
        over_events = n / (n - 1) * _form(self.outer, slope) if n > 1 else math.nan
        over_trees = _form(self.tree_covariance, slope)
        # Rounding can make a variance negative; NaN passes through.
        error, tree_error = (math.sqrt(0.0 if x < 0.0 else x) for x in (over_events, over_trees))
        return Quantity(float(value), error, tree_error)


def _sum(factors: Floats, values: Floats) -> Floats:
    """The sum of values of the versions, on the first axis, each times a factor."""
    weights = factors.reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray((weights * values).sum(axis=0))


@dataclass(frozen=True)
class Histogram:
    """Sums of weights in the bins of an observable, those of each category of events apart.

    Attributes
    ----------
    contents, error
        Sum of weights and its standard error over events, shape (category, bin).
    group
        Number of the merged bin that each bin is in, shape (bin,).
    """

    contents: Floats
    error: Floats
    group: NDArray[np.int64]


def _form(matrix: Floats, vector: Floats) -> float:
    """The quadratic form v^T M v, summed over categories, in an order that no BLAS decides."""
    return float((np.einsum("...ij,...j->...i", matrix, vector) * vector).sum())


@dataclass(frozen=True)
class Quantity:
    """A number with its standard error, and the part of the error that more trees would remove.

    Attributes
    ----------
    value
        Estimate.
    error
        Standard error over events and trees; NaN with one event.
    tree_error
        Standard error over trees for fixed events.
    """

    value: float
    error: float
    tree_error: float
