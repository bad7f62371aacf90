"""Pooled statistics: how the sums of a loss's term make its value. L = F(A_1, ..., A_k, B), with its first two derivatives.

B is the sum of the accepted weight and A_1 ... A_k those of the term's quantities. As the sums are plain, chunks return
them and their derivatives GA, and dL/dt = F'(A) GA; F'' gives the standard error of that (delta method). All functions
take sums of shape (..., k + 1), so that they serve a sample and each event by itself alike.
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
        """How many sums, k + 1."""

    @abstractmethod
    def value(self, sums: Floats) -> Floats:
        """L, shape (...)."""

    @abstractmethod
    def gradient(self, sums: Floats) -> Floats:
        """dL / d sums, shape (..., k + 1)."""

    @abstractmethod
    def hessian(self, sums: Floats) -> Floats:
        """d^2 L / d sums^2, shape (..., k + 1, k + 1)."""


@dataclass(frozen=True)
class PooledMean(PooledStatistic):
    """A / B: the mean over accepted trees."""

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
        return _matrix([[zero, cross], [cross, 2.0 * a / b**3]])


@dataclass(frozen=True)
class RelativeVariance(PooledStatistic):
    """Var(f) / mean(f)^2 from (sum f, sum f^2, B): A_2 B / A_1^2 - 1."""

    @property
    def sums(self) -> int:
        return 3

    def value(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        return np.asarray(second * b / first**2 - 1.0)

    def gradient(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        return np.stack([-2.0 * second * b / first**3, b / first**2, second / first**2], axis=-1)

    def hessian(self, sums: Floats) -> Floats:
        first, second, b = np.moveaxis(sums, -1, 0)
        of_second, of_b, both, zero = (
            -2.0 * b / first**3,
            -2.0 * second / first**3,
            1.0 / first**2,
            np.zeros_like(b),
        )
        return _matrix(
            [
                [6.0 * second * b / first**4, of_second, of_b],
                [of_second, zero, both],
                [of_b, both, zero],
            ]
        )


@dataclass(frozen=True)
class QuantileWidth(PooledStatistic):
    """(q_84 - q_16) / (2 q_50) from the contents of equal bins: half of the central 68 % over the median.

    Quantiles are interpolated linearly within a bin. What lies outside the bins is left out.

    Attributes
    ----------
    low, high, bins
        Of the bins.
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
            + width / middle**3 * _outer(d_middle, d_middle)
        )

    def _quantile(self, sums: Floats, p: float) -> tuple[Floats, Floats, Floats]:
        """The quantile and its derivatives in the contents: e_j + w u / v, u = p N - (contents below j), v = content of j."""
        contents = sums[..., :-1]
        below = np.cumsum(contents, axis=-1)
        wanted = p * below[..., -1:]
        bin_ = np.minimum((below <= wanted).sum(axis=-1), self.bins - 1)[..., np.newaxis]
        v = np.take_along_axis(contents, bin_, -1)[..., 0]
        u = wanted[..., 0] - (np.take_along_axis(below, bin_, -1)[..., 0] - v)
        number = np.arange(self.bins + 1)
        is_sum = number < self.bins
        of_u = np.where(is_sum, p - (number < bin_), 0.0)
        of_v = (number == bin_).astype(np.float64)
        width = (self.high - self.low) / self.bins
        u_, v_ = u[..., np.newaxis], v[..., np.newaxis]
        slope = width * (of_u / v_ - u_ * of_v / v_**2)
        cross = _outer(of_u, of_v)
        u_, v_ = u_[..., np.newaxis], v_[..., np.newaxis]
        curvature = width * (
            -(cross + np.swapaxes(cross, -1, -2)) / v_**2 + 2.0 * u_ * _outer(of_v, of_v) / v_**3
        )
        return self.low + width * (bin_[..., 0] + u / v), slope, curvature


#: One standard deviation below the median of a normal distribution, the median, and one above.
QUANTILES = (0.15865525393145707, 0.5, 0.8413447460685429)


def _matrix(rows: list[list[Floats]]) -> Floats:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _outer(a: Floats, b: Floats) -> Floats:
    return a[..., :, np.newaxis] * b[..., np.newaxis, :]
