"""Every estimator, by what is expected of it."""

from __future__ import annotations

import numpy as np

from djservice.estimators.finite_difference import FiniteDifference
from djservice.estimators.score_function import (
    LeaveOneOut,
    MeanBaseline,
    OptimalBaseline,
    Score,
    ScoreEstimator,
)
from djservice.estimators.state_baseline import StateBaseline

#: A new estimator is tested by adding a row.
SCORE_TYPE: list[ScoreEstimator] = [
    Score(),
    LeaveOneOut(),
    StateBaseline(),
    MeanBaseline(),
    OptimalBaseline(),
]
FINITE = [FiniteDifference(), FiniteDifference(common=False)]


def one_decision(
    t: float, events: int, trees: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f = sin t with probability sigmoid(t), else cos t: values, scores and the pathwise df/dt of each sample."""
    p = 1.0 / (1.0 + np.exp(-t))
    taken = np.random.default_rng(seed).random((events, trees)) < p
    value, slope = np.where(taken, np.sin(t), np.cos(t)), np.where(taken, np.cos(t), -np.sin(t))
    return value, np.where(taken, 1.0 - p, -p), slope
