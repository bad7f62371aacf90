"""The fit of a shape with prongs: from several starts with few points to the best with many.

The cost is that of exact transport. Its derivatives are known from the plan (in the parameters) and
from the prices (in the shares), by the envelope theorem. So quasi-Newton steps lower it.
"""

from __future__ import annotations

import numpy as np

from djservice.core.inner import inner
from djservice.core.typing import Floats
from djservice.shapes.forms import Shape
from djservice.shapes.model import LEAST_SHARE, Cloud, Model, State
from djservice.shapes.quasi_newton import minimise
from djservice.shapes.starts import starts

#: By level of points: decrease in a step, over the cost at the start, at which a descent ends, and
#: number of ends that go on.
_LEVELS = ((1e-3, 3), (3e-4, 1), (1e-5, 1))
#: Relative difference of costs below which two ends are one.
_SAME = 1e-3
_MOST_STEPS = 60


def fitted(cloud: Cloud, shape: Shape, radius: float, beta: float) -> tuple[Model, State]:
    """The state of least cost, and the model with many points that it belongs to."""
    models = [Model(shape, radius, beta, level) for level in range(len(_LEVELS))]
    if not shape.n:
        return models[-1], models[-1].solve(cloud, np.empty((0, 2)), np.ones(1))
    begin = [start.of(models[0]) for start in starts(cloud, shape)]
    for model, (change, number) in zip(models, _LEVELS, strict=True):
        ends = [descend(model, cloud, *each, change) for each in begin]
        best = _distinct(ends)[:number]
        begin = [(state.parameters, state.shares) for state in best]
    return model, best[0]


def _distinct(states: list[State]) -> list[State]:
    """States of different costs, the least first."""
    kept: list[State] = []
    for state in sorted(states, key=lambda state: state.value):
        if not kept or state.value > kept[-1].value * (1.0 + _SAME):
            kept.append(state)
    return kept


def descend(model: Model, cloud: Cloud, parameters: Floats, shares: Floats, change: float) -> State:
    """Lower the cost until its decrease in a step is small, by quasi-Newton steps."""
    best: list[State] = []

    def cost(x: Floats) -> tuple[float, Floats]:
        sizes = x[parameters.size :]
        total = sizes.sum()
        state = model.solve(cloud, x[: parameters.size].reshape(parameters.shape), sizes / total)
        best.append(state)
        if len(best) > 2:  # the first, whose cost is the unit, and the best
            best[1:] = [min(best[1:], key=lambda state: state.value)]
        prices = model.prices(state)
        slopes = (prices - inner(state.shares, prices)) / total
        unit = best[0].value or 1.0
        return state.value / unit, np.append(model.slopes(state), slopes) / unit

    least = np.repeat([-np.inf, LEAST_SHARE], [parameters.size, len(shares)])
    most = np.repeat([np.inf, 1.0], [parameters.size, len(shares)])
    minimise(cost, np.append(parameters, shares), least, most, change, _MOST_STEPS)
    return min(best, key=lambda state: state.value)
