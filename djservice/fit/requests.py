"""What the fit asks for, an evaluation at a time, and what it is answered."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.sampling import Sampling
from djservice.estimators.base import Estimator
from djservice.evaluation.moments import Moments
from djservice.evaluation.reduce import PerEvent
from djservice.fit.minibatches import HeldBack, MiniBatch
from djservice.objectives.losses import Loss
from djservice.radius_models.prediction import Prediction


@dataclass(frozen=True)
class RunSetup:
    """What stays the same through a run: what is evaluated, and how trees are grown."""

    loss: Loss
    estimator: Estimator
    sampling: Sampling
    #: With variable-R jets: the pT in GeV at which an object has the radius R, and the bounds of what it has.
    reference_pt: float | None = None
    reach: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True)
class Request:
    """One evaluation: the radius, trees per event, the random stream, and which events (None: all)."""

    #: One number, one per event, or what gives each event its own.
    radius: float | NDArray[np.float64] | Prediction
    trees: int
    stream: str
    iteration: int = 0
    subset: MiniBatch | HeldBack | None = None
    per_event: bool = False
    #: What to differentiate in, R by default.
    parameters: tuple[str, ...] = ()
    #: Instead of those of the run.
    estimator: Estimator | None = None
    rigidity: float | None = None


Answer = tuple[Moments, PerEvent | None]

Evaluate = Callable[[Request], Awaitable[Answer]]
