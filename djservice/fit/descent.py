"""The path of what is learned: a pure function of the gradients seen so far, so it can be replayed from a store."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from djservice.core.typing import Floats
from djservice.fit.optimisers import Optimiser, learning_rate

#: The averaged values are compared with themselves this many iterations earlier, twice in a row.
CHECK_EVERY = 20


@dataclass(frozen=True)
class Parameter:
    """What is learned: a radius, a rigidity, a weight of a radius model.

    Attributes
    ----------
    name
        For tables and messages.
    start, minimum, maximum
        Where it begins and stays.
    positive
        Whether it is moved, and averaged, in its logarithm.
    """

    name: str
    start: float
    minimum: float = -math.inf
    maximum: float = math.inf
    positive: bool = False

    def inside(self, value: float) -> float:
        """The value within the bounds, which rounding may have left."""
        return min(max(value, self.minimum), self.maximum)

    def place(self, value: float) -> float:
        """Where a value is on the scale on which it moves."""
        return math.log(value) if self.positive else value

    def value(self, place: float) -> float:
        """The other way round."""
        return self.inside(math.exp(place) if self.positive else place)


@dataclass
class Descent:
    """Gradient descent within bounds, with iterate averaging.

    Attributes
    ----------
    parameters
        What is learned.
    optimiser, rate, decay_iterations
        Moves, and the learning rate's start and decay.
    averaging_start
        Iteration from which the iterates are averaged, each on the scale on which it moves.
    tolerance
        Stop when no average moved more than this over CHECK_EVERY iterations at two consecutive checks.
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
        """Of the parameters, at the iteration that comes next."""
        return self._values(self._places)

    @property
    def learning_rate(self) -> float:
        """Of the iteration that comes next."""
        return learning_rate(self.rate, self.decay_iterations, self.iteration)

    @property
    def average(self) -> list[float]:
        """Mean (for a positive parameter the geometric one) since ``averaging_start``; before it, the latest values."""
        return self._averages[-1] if self._averages else self.values

    def update(self, gradients: list[float]) -> None:
        """Take the step that follows from the derivatives of L in the parameters at their present values."""
        values = self.values
        places = [p.place(value) for p, value in zip(self.parameters, values, strict=True)]
        if self.iteration >= self.averaging_start:
            self._sums = self._sums + places
            self._averages.append(
                self._values(self._sums / (self.iteration - self.averaging_start + 1))
            )
        else:
            self._averages.append(values)
        # dL / d log R = R dL/dR
        factors = [
            value if p.positive else 1.0 for p, value in zip(self.parameters, values, strict=True)
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
        """Whether the averages stood still at the last two checks."""
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
