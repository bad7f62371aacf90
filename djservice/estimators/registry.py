"""The estimators that a configuration can name."""

from __future__ import annotations

from djservice.estimators.alternative_path import AlternativePath
from djservice.estimators.base import Estimator
from djservice.estimators.finite_difference import FiniteDifference
from djservice.estimators.gumbel_softmax import GumbelSoftmax
from djservice.estimators.score_function import LeaveOneOut, MeanBaseline, OptimalBaseline, Score
from djservice.estimators.sigmoid_relaxation import SigmoidRelaxation
from djservice.estimators.state_baseline import StateBaseline

#: The estimators a run configuration can name.
ESTIMATORS: tuple[type[Estimator], ...] = (
    StateBaseline,
    LeaveOneOut,
    MeanBaseline,
    OptimalBaseline,
    Score,
    AlternativePath,
    FiniteDifference,
    SigmoidRelaxation,
    GumbelSoftmax,
)
