"""Gradient descent in the learned parameters.

The path is a pure function of the gradients so far, so it can be replayed from a store.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from djservice.config.sections import RadiusSection
from djservice.core.typing import Floats
from djservice.fit.optimisers import Optimiser, learning_rate

#: Iterations between two convergence checks, which compare the averages with those before.
CHECK_EVERY = 20


@dataclass(frozen=True)
class Parameter:
    """A parameter that is learned: a radius, a rigidity, or a weight of a radius model.

    Attributes
    ----------
    name
        Name in tables and messages.
    start, minimum, maximum
        First value, and the bounds.
    positive
        True if steps and averages are taken in the logarithm.
    pace
        Size of the steps relative to the learning rate.
    """

    name: str
    start: float
    minimum: float = -math.inf
    maximum: float = math.inf
    positive: bool = False
    pace: float = 1.0

    def inside(self, value: float) -> float:
        """The value clipped to the bounds, which rounding may exceed."""
        return min(max(value, self.minimum), self.maximum)

    def place(self, value: float) -> float:
        """The coordinate of a value on the scale of the steps: log(value) if positive."""
        return (math.log(value) if self.positive else value) / self.pace

    def value(self, place: float) -> float:
        """The value at a coordinate, clipped to the bounds; the inverse of :meth:`place`."""
        place *= self.pace
        return self.inside(math.exp(place) if self.positive else place)


def radius_parameter(bounds: RadiusSection, start: float, pace: float = 1.0) -> Parameter:
    """R as a parameter; its bounds are those of the run, or a start outside of them."""
    low, high = min(bounds.minimum, start), max(bounds.maximum, start)
    return Parameter("R", start, low, high, positive=True, pace=pace)


def real_parameters(names: Iterable[str], start: Iterable[float]) -> list[Parameter]:
    """Parameters of a model that may have any value."""
    return [Parameter(name, float(value)) for name, value in zip(names, start, strict=True)]


@dataclass
class Descent:
    """Gradient descent within bounds, with iterate averaging.

    Attributes
    ----------
    parameters
        Parameters that are learned.
    optimiser, rate, decay_iterations
        Update rule, first learning rate, and the scale of its decay in iterations.
    averaging_start
        Iteration from which the iterates are averaged, each on the scale of its steps.
    tolerance
        The descent has converged when no average moved more than this over CHECK_EVERY iterations,
        at two consecutive checks. None: never.
    """

    parameters: tuple[Parameter, ...]
    optimiser: Optimiser
    rate: float
    decay_iterations: float | None
    averaging_start: int
    tolerance: float | None = None
    iteration: int = 0
    _places: Floats = field(init=False)
    _state: Any = field(init=False)
    _sums: Floats = field(init=False)
    _averages: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._places = np.array([p.place(p.start) for p in self.parameters])
        self._sums = np.zeros(len(self.parameters))
        self._state = self.optimiser.init(self._places)

    @property
    def values(self) -> list[float]:
        """Values of the parameters at the next iteration."""
        return self._values(self._places)

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next iteration."""
        return learning_rate(self.rate, self.decay_iterations, self.iteration)

    @property
    def average(self) -> list[float]:
        """Mean of each parameter since ``averaging_start``, geometric for a positive parameter.

        Before ``averaging_start`` it is the latest value.
        """
        return self._averages[-1] if self._averages else self.values

    def update(self, gradients: list[float]) -> None:
        """Take one step, given the derivatives of L in the parameters at their current values."""
        values = self.values
        places = [p.place(value) for p, value in zip(self.parameters, values, strict=True)]
        if self.iteration >= self.averaging_start:
            self._sums = self._sums + places
            self._averages.append(
                self._values(self._sums / (self.iteration - self.averaging_start + 1))
            )
        else:
            self._averages.append(values)
        # A positive parameter moves in its logarithm, and dL / d log R = R dL/dR.
        factors = [
            p.pace * (value if p.positive else 1.0)
            for p, value in zip(self.parameters, values, strict=True)
        ]
        step, self._state = self.optimiser.update(
            np.array(factors) * gradients, self._state, self.learning_rate
        )
        low = np.array([p.place(p.minimum) for p in self.parameters])
        high = np.array([p.place(p.maximum) for p in self.parameters])
        self._places = np.clip(self._places + step, low, high)
        self.iteration += 1

    @property
    def converged(self) -> bool:
        """True if the averages moved less than ``tolerance`` at the last two checks."""
        averaged = self.iteration - self.averaging_start
        if (
            self.tolerance is None
            or averaged < 2 * CHECK_EVERY + 1
            or (averaged - 1) % CHECK_EVERY != 0
        ):
            return False
        now, before, earlier = (np.array(self._averages[-1 - k * CHECK_EVERY]) for k in range(3))
        return bool(
            max(np.abs(now - before).max(), np.abs(before - earlier).max()) < self.tolerance
        )

    def _values(self, places: Floats) -> list[float]:
        return [p.value(float(place)) for p, place in zip(self.parameters, places, strict=True)]
