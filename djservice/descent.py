"""The path of the radius: a pure function of the gradients seen so far, so it can be replayed from a store."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.optimisers import Optimiser, learning_rate

Floats = NDArray[np.float64]

#: The averaged radius is compared with itself this many iterations earlier, twice in a row.
CHECK_EVERY = 20


@dataclass
class Descent:
    """Gradient descent in log R within bounds, with iterate averaging.

    Attributes
    ----------
    optimiser, rate, decay_iterations
        Moves, and the learning rate's start and decay.
    start, minimum, maximum
        Of R.
    averaging_start
        Iteration from which the iterates of log R are averaged.
    tolerance
        Stop when the averaged radius moved less than this over CHECK_EVERY iterations at two consecutive checks.
    """

    optimiser: Optimiser
    rate: float
    decay_iterations: float | None
    start: float
    minimum: float
    maximum: float
    averaging_start: int
    tolerance: float | None = None
    iteration: int = 0
    _parameters: Floats = field(init=False)
    _state: Any = field(init=False)
    _sum: float = 0.0
    _averages: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parameters = np.array([math.log(self.start)])
        self._state = self.optimiser.init(self._parameters)

    @property
    def radius(self) -> float:
        """R of the iteration that comes next."""
        return self._bounded(math.exp(float(self._parameters[0])))

    @property
    def learning_rate(self) -> float:
        """Of the iteration that comes next."""
        return learning_rate(self.rate, self.decay_iterations, self.iteration)

    @property
    def average(self) -> float:
        """Geometric mean of R over the iterations since ``averaging_start``; before it, the latest R."""
        return self._averages[-1] if self._averages else self.radius

    def update(self, gradient: float) -> None:
        """Take the step that follows from dL/dR at the present radius."""
        radius = self.radius
        if self.iteration >= self.averaging_start:
            self._sum += math.log(radius)
            self._averages.append(self._bounded(math.exp(self._sum / (self.iteration - self.averaging_start + 1))))
        else:
            self._averages.append(radius)
        # dL / d log R = R dL/dR
        step, self._state = self.optimiser.update(np.array([radius * gradient]), self._state, self.learning_rate)
        self._parameters = np.clip(self._parameters + step, math.log(self.minimum), math.log(self.maximum))
        self.iteration += 1

    @property
    def converged(self) -> bool:
        """Whether the averaged radius stood still at the last two checks."""
        averaged = self.iteration - self.averaging_start
        if self.tolerance is None or averaged < 2 * CHECK_EVERY + 1 or (averaged - 1) % CHECK_EVERY != 0:
            return False
        now, before, earlier = (self._averages[-1 - k * CHECK_EVERY] for k in range(3))
        return abs(now - before) < self.tolerance and abs(before - earlier) < self.tolerance

    def _bounded(self, radius: float) -> float:
        return min(max(radius, self.minimum), self.maximum)
