"""minimise: quasi-Newton steps between bounds, whose bits do not depend on the processor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from djservice.core.inner import inner
from djservice.core.typing import Floats

#: Share of the decrease that the slope promises which a step must give, share of the slope that may
#: be left after it, and number of points that are tried.
_DECREASE, _FLATTER, _MOST_TRIED = 1e-4, 0.9, 8
#: Curvature below which a step says nothing of the second derivatives.
_LEAST_CURVATURE = 1e-10


def minimise(
    cost: Callable[[Floats], tuple[float, Floats]],
    x: Floats,
    low: Floats,
    high: Floats,
    change: float,
    steps: int,
) -> None:
    """Lower a cost until its decrease in a step is below ``change``, or after so many steps.

    These are the steps of BFGS (Nocedal and Wright, Numerical Optimization, equation 6.17), cut at
    the bounds. Its sums are einsum's, for those of a BLAS depend on the processor; the cost sees
    every point that is tried.
    """
    value, slope = cost(x)
    start = np.eye(len(x)) / max(1.0, float(np.sqrt(inner(slope, slope))))
    inverse, fresh = start, True
    for _ in range(steps):
        free = ~(((x <= low) & (slope > 0.0)) | ((x >= high) & (slope < 0.0)))
        step = -np.einsum("ij,j->i", inverse, np.where(free, slope, 0.0)) * free
        reached = _lower(cost, x, value, slope, step, low, high)
        if reached is None:
            if fresh:
                return
            inverse, fresh = start, True
            continue
        moved, decrease, bend = reached[0] - x, value - reached[1], reached[2] - slope
        x, value, slope = reached
        inverse, fresh = _updated(inverse, moved, bend, fresh), False
        if decrease < change:
            return


def _lower(
    cost: Callable[[Floats], tuple[float, Floats]],
    x: Floats,
    value: float,
    slope: Floats,
    step: Floats,
    low: Floats,
    high: Floats,
) -> tuple[Floats, float, Floats] | None:
    """A point along a step that is low enough, and from where the cost falls far less steeply.

    The cost has kinks where the plan changes. There these two, the weak conditions of Wolfe, find a
    point on the other side (Lewis and Overton, Math. Program. 141 (2013) 135).
    """
    shortest, longest, size = 0.0, np.inf, 1.0
    lowest = None
    for _ in range(_MOST_TRIED):
        trial = np.clip(x + size * step, low, high)
        promised = float(inner(slope, trial - x))
        if promised >= 0.0:
            break
        there, slope_there = cost(trial)
        if there > value + _DECREASE * promised:
            longest = size
        else:
            lowest = trial, there, slope_there
            if inner(slope_there, trial - x) >= _FLATTER * promised:
                break
            shortest = size
        size = 2.0 * size if longest == np.inf else 0.5 * (shortest + longest)
    return lowest


def _updated(inverse: Floats, moved: Floats, bend: Floats, fresh: bool) -> Floats:
    """The inverse of the second derivatives, after a step in which the slope changed."""
    curvature = float(inner(moved, bend))
    size = float(inner(bend, bend))
    if curvature <= _LEAST_CURVATURE * size:
        return inverse
    if fresh:
        inverse = np.eye(len(moved)) * (curvature / size)
    image = np.einsum("ij,j->i", inverse, bend)
    factor = (1.0 + float(inner(bend, image)) / curvature) / curvature
    mixed = np.multiply.outer(moved, image) / curvature
    updated: Floats = inverse + factor * np.multiply.outer(moved, moved) - mixed - mixed.T
    return updated
