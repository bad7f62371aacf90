"""Estimators against the analytic derivative of one decision: unbiased, with an honest standard error."""

from __future__ import annotations

import numpy as np
import pytest
from every_estimator import FINITE, SCORE_TYPE, one_decision

from djservice.estimators.alternative_path import AlternativePath
from djservice.estimators.base import TreeValues
from djservice.estimators.finite_difference import FiniteDifference
from djservice.estimators.score_function import (
    LeaveOneOut,
    OptimalBaseline,
    ScoreEstimator,
)
from djservice.estimators.sigmoid_relaxation import SigmoidRelaxation


@pytest.mark.parametrize("estimator", SCORE_TYPE, ids=lambda e: e.name)
@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
@pytest.mark.parametrize("trees", [2, 3, 50])
def test_unbiased_on_one_decision(estimator: ScoreEstimator, t: float, trees: int) -> None:
    value, score, slope = one_decision(t, 20_000, trees, seed=int(100 * (t + 5)) + trees)
    estimates = (estimator.contributions(value, score) + slope).mean(axis=1)
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    z = (estimates.mean() - exact) / (estimates.std(ddof=1) / np.sqrt(len(estimates)))
    assert abs(z) < 4


@pytest.mark.parametrize("rare", [0.02, 0.1])
def test_the_error_of_a_fitted_baseline_holds_where_rare_trees_rule(rare: float) -> None:
    """Two rare kinds of trees have nearly all of S^2; few draws of the rarest skew the error of leave-one-out, too."""
    probability = np.array([1.0 - 1.2 * rare, rare, 0.2 * rare])
    value, score = np.array([10.0, 40.0, 70.0]), np.array([0.0, 1.0, 3.0])
    score -= probability @ score
    kind = np.random.default_rng(7).choice(3, size=(400, 1000), p=probability)

    def mean_square_of_z(estimator: ScoreEstimator) -> float:
        found = estimator.contributions(value[kind], score[kind])
        error = found.std(axis=1, ddof=1) / np.sqrt(kind.shape[1])
        return float(np.mean(((found.mean(axis=1) - (probability * value) @ score) / error) ** 2))

    # The baseline that is optimal for the drawn trees has 5,000 times the one of leave-one-out.
    assert mean_square_of_z(OptimalBaseline()) < 1.5 * mean_square_of_z(LeaveOneOut())


@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
def test_alternative_path_on_one_decision(t: float) -> None:
    """cos t loses probability to sin t at the rate p; what is sin t already stays."""
    value, score, slope = one_decision(t, 20_000, 3, seed=int(100 * (t + 5)))
    alternative = np.where(score < 0, np.sin(t), value)
    rate = np.maximum(-score, 0.0)
    values = TreeValues(
        value, np.ones_like(value), score, extra=((alternative, np.ones_like(value), rate),)
    )
    estimates = (AlternativePath().slopes(values).quantity + slope).mean(axis=1)
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    assert abs(estimates.mean() - exact) < 4 * estimates.std(ddof=1) / np.sqrt(len(estimates))


@pytest.mark.parametrize("estimator", FINITE, ids=["common", "independent"])
@pytest.mark.parametrize("step", [0.05, 0.2])
def test_finite_difference_on_one_decision(estimator: FiniteDifference, step: float) -> None:
    """Its estimand is the central difference, which differs from the derivative by step^2 / 6 of the third."""
    t, trees = -1.0, 400_000

    def expectation(t: float) -> float:
        p = 1.0 / (1.0 + np.exp(-t))
        return p * np.sin(t) + (1 - p) * np.cos(t)

    seeds = (1, 1) if estimator.common else (1, 2)
    ends = [
        one_decision(t + s, 1, trees, seed)[0] for s, seed in zip((step, -step), seeds, strict=True)
    ]
    one = np.ones_like(ends[0])
    weight = np.array(0.5 / step)
    values = TreeValues(one, one, one, extra=((ends[0], one, weight), (ends[1], one, -weight)))
    found = FiniteDifference(step, estimator.common).slopes(values).quantity
    central = (expectation(t + step) - expectation(t - step)) / (2 * step)
    error = found.std() / np.sqrt(trees)
    assert abs(found.mean() - central) < 4 * error
    h = 1e-3
    slope = (expectation(t + h) - expectation(t - h)) / (2 * h)
    third = (
        expectation(t + 2 * h * 10)
        - 2 * expectation(t + h * 10)
        + 2 * expectation(t - h * 10)
        - expectation(t - 2 * h * 10)
    ) / (2 * (h * 10) ** 3)
    assert central - slope == pytest.approx(step**2 / 6 * third, rel=0.1)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.5, -0.0515), (0.1, 0.3362)])
def test_sigmoid_relaxation_on_one_decision(temperature: float, bias: float) -> None:
    """sigmoid(t/T) sin t + (1 - sigmoid(t/T)) cos t instead of the expectation: the same at T = 1 alone; the bias as it is."""
    t, one = 0.3, np.ones((1, 1))

    def relaxed(t: float) -> np.ndarray:
        p = 1.0 / (1.0 + np.exp(-t / temperature))
        return np.full((1, 1), p * np.sin(t) + (1 - p) * np.cos(t))

    step = 1e-4  # the estimator's own
    values = TreeValues(
        one,
        one,
        one,
        extra=(
            (relaxed(t + step), one, 0.5 * one / step),
            (relaxed(t - step), one, -0.5 * one / step),
        ),
    )
    found = SigmoidRelaxation(temperature).slopes(values).quantity[0, 0]
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    q = 1.0 / (1.0 + np.exp(-t / temperature))
    of_relaxed = (
        q * (1 - q) / temperature * (np.sin(t) - np.cos(t)) + q * np.cos(t) - (1 - q) * np.sin(t)
    )
    assert found == pytest.approx(of_relaxed, rel=1e-6)
    assert found - exact == pytest.approx(bias, abs=1e-4)
