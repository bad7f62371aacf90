"""Binned statistics: functions of histograms that are filled for each category of events apart.

An event belongs to one category: a bin of its true mass, or its dataset. So the sums have shape
(category, bin + 1); the last entry is B, the accepted weight of the category. A quantity is the
share of an event's trees in a bin. Nothing is relaxed: an expectation over trees is smooth in R.

Such a function of few events is biased, because it is not linear in the sums. The leading part of
the bias is half the trace of F'' times the covariance of the sums. It is subtracted from the value
(for the mutual information of independent events this is the correction of Miller and Madow), and
its derivative from that of the value.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.objectives.pooled_statistics import PooledStatistic

#: Real or complex numbers.
Numbers = NDArray[Any]


@dataclass(frozen=True)
class BinnedStatistic(PooledStatistic):
    """A function of histograms of several categories of events.

    Attributes
    ----------
    bins
        Number of bins of the observable.
    categories
        Number of categories of events.
    """

    bins: int
    categories: int

    #: Whether the value depends on the scale of the weights, as a significance does.
    is_extensive = False

    @property
    def sums(self) -> int:
        return self.bins + 1

    @property
    def merged(self) -> NDArray[np.int64]:
        """Number of the merged bin that each bin is in, shape (bin,)."""
        return np.arange(self.bins)

    @abstractmethod
    def blocks(self, sums: Numbers) -> Numbers:
        """F'' within each category, shape (category, bin + 1, bin + 1); also of complex sums."""

    def bias(self, sums: Floats, outer: Floats) -> float:
        """Bias of the value in second order, from the sum of z z^T over events of each category."""
        return 0.5 * float((self.blocks(sums) * outer).sum())

    def bias_along(self, sums: Floats, slopes: Floats, outer: Floats, cross: Floats) -> float:
        """Derivative of the bias in a parameter; also the bias of F' times the slopes.

        ``slopes`` are those of the sums, and ``cross`` is the sum of z times its slopes over events
        of each category.
        """
        tiny = 1e-30  # a complex step: nothing cancels, so it is exact
        change = self.blocks(sums + 1j * tiny * slopes).imag / tiny
        return float((0.5 * change * outer + self.blocks(sums) * cross).sum())

    def usable(self, sums: Floats, outer: Floats) -> BinnedStatistic:
        """The statistic to use with these sums; they may ask for wider bins.

        Raises
        ------
        NothingAcceptedError
            If the value is not defined.
        """
        return self


@dataclass(frozen=True)
class NegativeInformation(BinnedStatistic):
    """Minus the mutual information of bin and category in nats: -sum p log(p / (p_bin p_category)).

    Empty cells contribute nothing, and so do cells whose weights do not sum to more than 0.
    """

    def value(self, sums: Floats) -> Floats:
        counts, table, total = _information(sums)
        return np.asarray(-(counts * table).sum() / total)

    def gradient(self, sums: Floats) -> Floats:
        counts, table, total = _information(sums)
        information = (counts * table).sum() / total
        return _with_acceptance(np.where(counts > 0.0, information - table, 0.0) / total)

    def curvature_along(self, sums: Floats, slopes: Floats) -> Floats:
        counts, table, total = _information(sums)
        filled, change = counts > 0.0, np.where(counts > 0.0, slopes[:, :-1], 0.0)
        excess = np.where(filled, table - (counts * table).sum() / total, 0.0)
        of_bin, of_category = (
            _ratio(change.sum(axis=axis, keepdims=True), counts.sum(axis=axis, keepdims=True))
            for axis in (0, 1)
        )
        second = _ratio(change, counts) - of_bin - of_category + change.sum() / total
        second = second - excess * (change.sum() / total) - (excess * change).sum() / total
        return _with_acceptance(-np.where(filled, second, 0.0) / total)

    def blocks(self, sums: Numbers) -> Numbers:
        counts, table, total = _information(sums)
        filled = (counts.real > 0.0).astype(np.float64)
        excess = np.where(counts.real > 0.0, table - (counts * table).sum() / total, 0.0)
        diagonal = _ratio(filled, counts) - filled * _ratio(1.0, counts.sum(axis=0))
        constant = 1.0 / total - _ratio(1.0, counts.sum(axis=1))
        both = filled[:, :, np.newaxis] * filled[:, np.newaxis, :]
        second = both * constant[:, np.newaxis, np.newaxis]
        second = second - (excess[:, :, np.newaxis] + excess[:, np.newaxis, :]) * both / total
        second[:, np.arange(self.bins), np.arange(self.bins)] += diagonal
        padded = np.zeros((self.categories, self.sums, self.sums), second.dtype)
        padded[:, :-1, :-1] = -second / total
        return padded

    def usable(self, sums: Floats, outer: Floats) -> BinnedStatistic:
        filled = int((sums[:, :-1].sum(axis=1) > 0.0).sum())
        if filled < 2:
            raise NothingAcceptedError(
                f"the accepted events fill {filled} of the {self.categories} bins of the true mass, "
                "so there is no mutual information with it. Give events with many true masses, "
                "and a truth_range that they fill."
            )
        return self


def _information(sums: Numbers) -> tuple[Numbers, Numbers, Any]:
    """Counts, T = log(n_ij n / (n_i n_j)) and the sum of the counts; T of an empty cell is 0."""
    counts = np.where(sums[:, :-1].real > 0.0, sums[:, :-1], 0.0)
    total = counts.sum()
    product = counts.sum(axis=0, keepdims=True) * counts.sum(axis=1, keepdims=True)
    inside = np.where(counts.real > 0.0, _ratio(counts * total, product), 1.0)
    return counts, np.log(inside), total


def _ratio(a: Numbers | float, b: Numbers) -> Numbers:
    """a / b, and 0 where b is 0."""
    return np.asarray(np.where(b != 0.0, a / np.where(b != 0.0, b, 1.0), 0.0))


def _with_acceptance(of_bins: Floats) -> Floats:
    """Derivatives in all sums from those in the bins; B does not enter."""
    return np.concatenate([of_bins, np.zeros((len(of_bins), 1))], axis=1)
