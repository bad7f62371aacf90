"""One radius per event: every event descends on its own loss, all events in parallel.

The optimum of an event uses its truth. The result is therefore an oracle bound: how sharp a
resonance could be if the best R of each event were known. The radius is chosen on one set of trees
and scored on another, because the trees of the choice overestimate its quality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.sampling import Sampling
from djservice.core.elementary import exp
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.fit.optimisers import Optimiser, adam, learning_rate
from djservice.objectives.losses import Loss

#: Random streams of the descents, of the choice between their ends, and of the final scores.
DESCEND, CHOOSE, SCORE = "per-event", "per-event-choose", "per-event-score"


@dataclass(frozen=True)
class PerEventSettings:
    """Settings of the fit of one radius per event.

    Attributes
    ----------
    starts
        Radii that every event descends from.
    minimum, maximum
        Bounds of R.
    iterations, trees
        Iterations of each descent, and trees per event and iteration.
    choose_trees
        Trees per event on which the ends of the descents are compared.
    accepted
        Accepted trees that an event needs among these; with fewer it keeps the global radius.
    rate, decay_iterations
        Learning rate in log R, and its decay.
    agree
        Ends within this factor of each other agree.
    """

    starts: tuple[float, ...] = (0.4, 0.7, 1.0)
    minimum: float = 0.1
    maximum: float = 2.0
    iterations: int = 40
    trees: int = 20
    choose_trees: int = 100
    accepted: int = 20
    rate: float = 0.2
    decay_iterations: float | None = 10.0
    agree: float = 1.1

    def __post_init__(self) -> None:
        if not self.starts or not all(
            self.minimum <= start <= self.maximum for start in self.starts
        ):
            raise InputError(
                f"starts are {self.starts}, expected radii between the bounds {self.minimum} and "
                f"{self.maximum}."
            )


@dataclass(frozen=True)
class PerEventRadii:
    """Radii of some events; arrays have shape (event,) unless noted.

    Attributes
    ----------
    radius
        The end with the least loss among those of the descents and the global radius.
    left
        True if too few trees were accepted, so the event keeps the global radius.
    ends
        Radii at the ends of the descents, shape (event, start).
    agree
        True if all ends agree.
    """

    radius: Floats
    left: NDArray[np.bool_]
    ends: Floats
    agree: NDArray[np.bool_]


def fit_per_event(
    events: EventBatch,
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    settings: PerEventSettings,
    *,
    global_radius: float,
    optimiser: Optimiser | None = None,
) -> PerEventRadii:
    """The radius of least loss of each event.

    Every event descends in log R from every start, with fresh trees at every iteration. The end of
    a descent is the geometric mean of its second half. The ends and the global radius are then
    compared on one further set of trees, common to all. The radii do not depend on the other events
    of the batch.

    Parameters
    ----------
    global_radius
        Radius of events without enough accepted trees.
    """
    optimiser = optimiser or adam()
    ends = np.stack(
        [
            _descend(events, loss, estimator, sampling, settings, i, optimiser)
            for i in range(len(settings.starts))
        ],
        axis=1,
    )
    candidates = np.concatenate([ends, np.full((len(events), 1), global_radius)], axis=1)
    scores, accepted = [], []
    for radius in candidates.T:
        _, per_event = evaluate(
            events,
            loss,
            estimator,
            sampling,
            radius=radius,
            trees=settings.choose_trees,
            stream=CHOOSE,
        )
        scores.append(np.where(per_event.accepted >= settings.accepted, per_event.loss, np.inf))
        accepted.append(per_event.accepted)
    best = np.argmin(scores, axis=0)
    at_global = np.isinf(np.min(scores, axis=0))
    radius = np.where(at_global, global_radius, candidates[np.arange(len(events)), best])
    spread = ends.max(axis=1) / ends.min(axis=1)
    return PerEventRadii(radius, at_global, ends, spread <= settings.agree)


def _descend(
    events: EventBatch,
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    settings: PerEventSettings,
    number: int,
    optimiser: Optimiser,
) -> Floats:
    """Radii at the ends of the descents from one start, shape (event,)."""
    low, high = math.log(settings.minimum), math.log(settings.maximum)
    place = np.full(len(events), math.log(settings.starts[number]))
    state, total, averaged = optimiser.init(place), np.zeros(len(events)), 0
    for iteration in range(settings.iterations):
        if 2 * iteration >= settings.iterations:
            total, averaged = total + place, averaged + 1
        radius = exp(place)
        _, per_event = evaluate(
            events,
            loss,
            estimator,
            sampling,
            radius=radius,
            trees=settings.trees,
            stream=DESCEND,
            iteration=number * settings.iterations + iteration,
        )
        slope = np.nan_to_num(per_event.gradient * radius)  # NaN without an accepted tree: no step
        step, state = optimiser.update(
            slope, state, learning_rate(settings.rate, settings.decay_iterations, iteration)
        )
        place = np.clip(place + step, low, high)
    ends: Floats = exp(total / averaged)
    return ends
