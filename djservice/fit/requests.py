"""Requests: one evaluation that a fit needs, and the answer to it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.sampling import Sampling
from djservice.estimators.base import Estimator
from djservice.evaluation.joint_gradient import JointEvents, JointSums
from djservice.evaluation.moments import Moments
from djservice.evaluation.per_event import PerEvent
from djservice.evaluation.taggers import Network
from djservice.evaluation.vector_moments import VectorMoments
from djservice.evaluation.weight_gradient import InWeights
from djservice.fit.minibatches import HeldBack, MiniBatch
from djservice.objectives.losses import Loss
from djservice.objectives.robust import Robust
from djservice.radius_models.prediction import Prediction
from djservice.weight_models.weighting import Weights


@dataclass(frozen=True)
class RunSetup:
    """The constant part of a run: loss, estimator, and how trees are sampled."""

    loss: Loss
    estimator: Estimator
    sampling: Sampling
    #: Variable-R jets: the pT in GeV at which an object has the radius R, and the bounds of its
    #: effective radius.
    reference_pt: float | None = None
    reach: tuple[float, float] = (0.0, math.inf)
    #: The loss over several versions of the events, in place of the loss.
    robust: Robust | None = None


@dataclass(frozen=True)
class Request:
    """One evaluation: radius, trees per event, random stream, and the events (None: all)."""

    #: One radius, one per event, or a model that predicts one per event.
    radius: float | NDArray[np.float64] | Prediction
    trees: int
    stream: str
    iteration: int = 0
    subset: MiniBatch | HeldBack | None = None
    per_event: bool = False
    #: Parameters of the gradient, R by default.
    parameters: tuple[str, ...] = ()
    #: Estimator and rigidity in place of those of the run.
    estimator: Estimator | None = None
    rigidity: float | None = None
    #: The only version of the events that is evaluated; all of them by default.
    version: int | None = None
    #: Weights of the particles, whose events were prepared for them.
    weights: Weights | None = None
    #: Derivatives in the parameters of the weights instead of in R.
    in_weights: InWeights | None = None
    #: A network on the leading jets, whose loss takes the place of that of the run.
    network: Network | None = None
    #: Trees of each event in place of ``trees``, which is then their mean.
    allotted: NDArray[np.int64] | None = None
    #: Whether the results per event have the spread of the trees.
    spread: bool = False


Answer = tuple[Moments, PerEvent | None]

Evaluate = Callable[[Request], Awaitable[Answer]]
#: Answers a request with ``in_weights``.
EvaluateSlopes = Callable[[Request], Awaitable[VectorMoments]]
JointAnswer = tuple[JointSums, JointEvents | None]
#: Answers a request with a ``network``.
EvaluateJoint = Callable[[Request], Awaitable[JointAnswer]]
