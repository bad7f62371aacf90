"""Pooled statistics: functions L = F(A_1, ..., A_k, B) of the sums of a loss term.

B is the sum of the accepted weights, and A_1 ... A_k are the sums of the term's quantities. Because
the sums are plain, chunks can return them and their derivatives GA, and dL/dt = F'(A) GA. F'' gives
the standard error of dL/dt (delta method). All functions take sums of shape (..., k + 1), so that
they serve a whole sample and each event by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats


@dataclass(frozen=True)
class PooledStatistic(ABC):
    """A function of the sums of a term."""

    @property
    @abstractmethod
    def sums(self) -> int:
        """Number of sums, k + 1."""

    @abstractmethod
    def value(self, sums: Floats) -> Floats:
        """Value of L, shape (...)."""

    @abstractmethod
    def gradient(self, sums: Floats) -> Floats:
        """First derivatives dL / d sums, shape (..., k + 1)."""

    @abstractmethod
    def curvature_along(self, sums: Floats, slopes: Floats) -> Floats:
        """F'' times slopes of the sums, of their shape."""


@dataclass(frozen=True)
class UnbinnedStatistic(PooledStatistic):
    """A function of a few sums over all events, which has a meaning for a single event too."""

    @abstractmethod
    def hessian(self, sums: Floats) -> Floats:
        """Second derivatives d^2 L / d sums^2, shape (..., k + 1, k + 1)."""

    def curvature_along(self, sums: Floats, slopes: Floats) -> Floats:
        return np.asarray(np.einsum("ij,j->i", self.hessian(sums), slopes))


@dataclass(frozen=True)
class PooledMean(UnbinnedStatistic):
    """Mean over accepted trees, A / B."""

    @property
    def sums(self) -> int:
        return 2

    def value(self, sums: Floats) -> Floats:
        a, b = np.moveaxis(sums, -1, 0)
        return np.asarray(a / b)

    def gradient(self, sums: Floats) -> Floats:
        a, b = np.moveaxis(sums, -1, 0)
        return np.stack([1.0 / b, -a / b / b], axis=-1)

    def hessian(self, sums: Floats) -> Floats:
        a, b = np.moveaxis(sums, -1, 0)
        cross, zero = -1.0 / b**2, np.zeros_like(a)
        return _matrix([[zero, cross], [cross, 2.0 * a / (b * b * b)]])


@dataclass(frozen=True)
class RelativeVariance(UnbinnedStatistic):
    """Relative variance Var(f) / mean(f)^2 from (sum f, sum f^2, B): A_2 B / A_1^2 - 1."""

    @property
    def sums(self) -> int:
        return 3

    def value(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        return np.asarray(second * b / first**2 - 1.0)

    def gradient(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        return np.stack(
            [-2.0 * second * b / (first * first * first), b / first**2, second / first**2], axis=-1
        )

    def hessian(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        d_first_second, d_first_b, d_second_b, zero = (
            -2.0 * b / (first * first * first),
            -2.0 * second / (first * first * first),
            1.0 / first**2,
            np.zeros_like(b),
        )
        return _matrix(
            [
                [6.0 * second * b / (first**2) ** 2, d_first_second, d_first_b],
                [d_first_second, zero, d_second_b],
                [d_first_b, d_second_b, zero],
            ]
        )


@dataclass(frozen=True)
class QuantileWidth(UnbinnedStatistic):
    """Relative width (q_84 - q_16) / (2 q_50) from the contents of equal bins.

    This is half of the central 68 % interval divided by the median. Quantiles are interpolated
    linearly within a bin. Values outside the bins are left out.

    Attributes
    ----------
    low, high, bins
        Lower edge, upper edge and number of the bins.
    """

    low: float
    high: float
    bins: int

    @property
    def sums(self) -> int:
        return self.bins + 1

    def value(self, sums: Floats) -> Floats:
        low, middle, high = (self._quantile(sums, p)[0] for p in QUANTILES)
        return np.asarray((high - low) / (2.0 * middle))

    def gradient(self, sums: Floats) -> Floats:
        (low, d_low), (middle, d_middle), (high, d_high) = (
            self._quantile(sums, p)[:2] for p in QUANTILES
        )
        width, middle = (high - low)[..., np.newaxis], middle[..., np.newaxis]
        return np.asarray((d_high - d_low) / (2.0 * middle) - width / (2.0 * middle**2) * d_middle)

    def hessian(self, sums: Floats) -> Floats:
        (low, d_low, dd_low), (middle, d_middle, dd_middle), (high, d_high, dd_high) = (
            self._quantile(sums, p) for p in QUANTILES
        )
        width, middle = (
            (high - low)[..., np.newaxis, np.newaxis],
            middle[..., np.newaxis, np.newaxis],
        )
        cross = _outer(d_high - d_low, d_middle)
        return np.asarray(
            (dd_high - dd_low) / (2.0 * middle)
            - (cross + np.swapaxes(cross, -1, -2) + width * dd_middle) / (2.0 * middle**2)
            + width / (middle * middle**2) * _outer(d_middle, d_middle)
        )

    def _quantile(self, sums: Floats, p: float) -> tuple[Floats, Floats, Floats]:
        """A quantile and its first two derivatives in the contents.

        The quantile is e_j + w u / v, with u = p N - (contents below bin j), v the content of bin
        j, e_j its lower edge and w its width.
        """
        contents = sums[..., :-1]
        below = np.cumsum(contents, axis=-1)
        rank = p * below[..., -1:]
        bin_ = np.minimum((below <= rank).sum(axis=-1), self.bins - 1)[..., np.newaxis]
        v = np.take_along_axis(contents, bin_, -1)[..., 0]
        u = rank[..., 0] - (np.take_along_axis(below, bin_, -1)[..., 0] - v)
        number = np.arange(self.bins + 1)
        is_sum = number < self.bins
        du = np.where(is_sum, p - (number < bin_), 0.0)
        dv = (number == bin_).astype(np.float64)
        width = (self.high - self.low) / self.bins
        u_, v_ = u[..., np.newaxis], v[..., np.newaxis]
        slope = width * (du / v_ - u_ * dv / v_**2)
        cross = _outer(du, dv)
        u_, v_ = u_[..., np.newaxis], v_[..., np.newaxis]
        curvature = width * (
            -(cross + np.swapaxes(cross, -1, -2)) / v_**2 + 2.0 * u_ * _outer(dv, dv) / (v_ * v_**2)
        )
        return self.low + width * (bin_[..., 0] + u / v), slope, curvature


#: Normal quantiles at one standard deviation below the median, the median, and one above.
QUANTILES = (0.15865525393145707, 0.5, 0.8413447460685429)


def _matrix(rows: list[list[Floats]]) -> Floats:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _outer(a: Floats, b: Floats) -> Floats:
    return a[..., :, np.newaxis] * b[..., np.newaxis, :]
