"""One radius per event: every event descends on its own loss, all of them together.

The optimum of an event uses its truth, so it is an oracle bound: how sharp a resonance could be if the best R of each event
were known. It is chosen on one set of trees and scored on others; on its own trees it looks better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.sampling import Sampling
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.fit.optimisers import Optimiser, adam, learning_rate
from djservice.objectives.losses import Loss

#: Random streams of the descents, of the choice between their ends, and of the scores of what was chosen.
DESCEND, CHOOSE, SCORE = "per-event", "per-event-choose", "per-event-score"


@dataclass(frozen=True)
class PerEventSettings:
    """How the radius of each event is looked for.

    Attributes
    ----------
    starts
        Radii that every event descends from.
    minimum, maximum
        Bounds of R.
    iterations, trees
        Of each descent, and trees per event and iteration.
    choose_trees
        Trees per event on which the ends of the descents are compared.
    accepted
        Accepted trees that an event needs of these, else it is left at the global radius.
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
                f"starts are {self.starts}, expected radii between the bounds {self.minimum} and {self.maximum}."
            )


@dataclass(frozen=True)
class PerEventRadii:
    """Radii of some events, shape (event,) each unless said otherwise.

    Attributes
    ----------
    radius
        The end with the least loss among those of the descents and the global radius.
    left
        Whether too few trees were accepted, so that the event stays at the global radius.
    ends
        Shape (event, start): where the descents ended.
    agree
        Whether all ends agree.
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
    descents: PerEventSettings,
    *,
    global_radius: float,
    optimiser: Optimiser | None = None,
) -> PerEventRadii:
    """The radius of least loss of each event.

    Every event descends in log R from every start with fresh trees at every iteration; the end of a descent is the
    geometric mean of its second half. The ends and the global radius are then compared on one further set of trees,
    the same for all.

    Parameters
    ----------
    global_radius
        Where events without enough accepted trees stay.
        The radii do not depend on which events are in the batch.
    """
    optimiser = optimiser or adam()
    ends = np.stack(
        [
            _descend(events, loss, estimator, sampling, descents, i, optimiser)
            for i in range(len(descents.starts))
        ],
        axis=1,
    )
    candidates = np.concatenate([ends, np.full((len(events), 1), global_radius)], axis=1)
    scores, accepted = [], []
    for radius in candidates.T:
        _, found = evaluate(
            events,
            loss,
            estimator,
            sampling,
            radius=radius,
            trees=descents.choose_trees,
            stream=CHOOSE,
        )
        scores.append(np.where(found.accepted >= descents.accepted, found.loss, np.inf))
        accepted.append(found.accepted)
    best = np.argmin(scores, axis=0)
    left = np.isinf(np.min(scores, axis=0))
    radius = np.where(left, global_radius, candidates[np.arange(len(events)), best])
    spread = ends.max(axis=1) / ends.min(axis=1)
    return PerEventRadii(radius, left, ends, spread <= descents.agree)


def _descend(
    events: EventBatch,
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    descents: PerEventSettings,
    number: int,
    optimiser: Optimiser,
) -> Floats:
    """Where the descents from one start end, shape (event,)."""
    low, high = np.log(descents.minimum), np.log(descents.maximum)
    place = np.full(len(events), np.log(descents.starts[number]))
    state, total, averaged = optimiser.init(place), np.zeros(len(events)), 0
    for iteration in range(descents.iterations):
        if 2 * iteration >= descents.iterations:
            total, averaged = total + place, averaged + 1
        radius = np.exp(place)
        _, found = evaluate(
            events,
            loss,
            estimator,
            sampling,
            radius=radius,
            trees=descents.trees,
            stream=DESCEND,
            iteration=number * descents.iterations + iteration,
        )
        slope = np.nan_to_num(found.gradient * radius)  # no accepted tree: no step
        step, state = optimiser.update(
            slope, state, learning_rate(descents.rate, descents.decay_iterations, iteration)
        )
        place = np.clip(place + step, low, high)
    ends: Floats = np.exp(total / averaged)
    return ends
