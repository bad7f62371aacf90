"""Functions of pooled sums: their derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from djservice.objectives.pooled_statistics import (
    PooledMean,
    QuantileWidth,
    RelativeVariance,
    UnbinnedStatistic,
)


@pytest.mark.parametrize(
    "statistic",
    [PooledMean(), RelativeVariance(), QuantileWidth(0.0, 10.0, 8)],
    ids=lambda f: type(f).__name__,
)
def test_derivatives_of_statistics(statistic: UnbinnedStatistic) -> None:
    """Against central differences, of a sample and of several events at once."""
    sums = np.random.default_rng(3).uniform(1.0, 2.0, (5, statistic.sums))
    step = 1e-6
    gradient_there, hessian = np.empty_like(sums), np.empty((5, statistic.sums, statistic.sums))
    for i in range(statistic.sums):
        shift = np.zeros(statistic.sums)
        shift[i] = step
        gradient_there[:, i] = (statistic.value(sums + shift) - statistic.value(sums - shift)) / (
            2 * step
        )
        hessian[:, i] = (statistic.gradient(sums + shift) - statistic.gradient(sums - shift)) / (
            2 * step
        )
    assert statistic.gradient(sums) == pytest.approx(gradient_there, rel=1e-7, abs=1e-8)
    assert statistic.hessian(sums) == pytest.approx(hessian, rel=1e-6, abs=1e-7)
    assert statistic.value(sums[2]) == pytest.approx(statistic.value(sums)[2], rel=1e-15)
    assert statistic.gradient(sums[2]) == pytest.approx(statistic.gradient(sums)[2], rel=1e-15)
