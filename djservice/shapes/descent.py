"""The fit of a shape with prongs: plans, parameters and shares in turn, each the best for the others.

A plan is exact transport. For a fixed plan the parameters are those of a convex problem, so the cost
falls at each step (the envelope theorem: its derivative is that at the fixed plan). In the shares the
cost is convex; its slopes are the prices of the transport.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from djservice.clustering.medians import medians
from djservice.core.typing import Floats
from djservice.events.batch import fold
from djservice.shapes.forms import Shape
from djservice.shapes.model import LEAST_SHARE, Cloud, Model, State

#: Relative change of the cost at which a descent ends, with few points and with many.
_ROUGH, _FINE = 1e-3, 1e-4
_MOST_ROUNDS = 20
#: Most evaluations of the search along an exchange of shares.
_MOST_TRIED = 12
#: Radii of the starts, over the mean distance of the particles of a prong.
_RADII = (1.0, 0.4)


def fitted(cloud: Cloud, shape: Shape, radius: float, beta: float) -> tuple[Model, State]:
    """The state of least cost, and the model with many points that it belongs to."""
    rough, fine = (Model(shape, radius, beta, fine=fine) for fine in (False, True))
    ends = [
        descend(rough, cloud, rough.solve(cloud, *start), _ROUGH) for start in starts(rough, cloud)
    ]
    best = min(ends, key=lambda state: state.value)
    return fine, descend(fine, cloud, fine.solve(cloud, best.parameters, best.shares), _FINE)


def starts(model: Model, cloud: Cloud) -> Iterator[tuple[Floats, Floats]]:
    """Parameters and shares to begin with: centres of N-pointiness, and several radii above 0."""
    shape = model.shape
    even = [0.1] if shape.uniform is not None else []
    if not shape.n:
        yield np.empty((0, model.length)), np.ones(1)
        return
    for beta in (1.0, 2.0):
        near = medians(cloud.z, cloud.places, shape.n, beta)
        prong = np.bincount(near.owner, cloud.z, shape.n)
        apart = cloud.places - near.centres[near.owner]
        distance = np.hypot(apart[:, 0], fold(apart[:, 1]))
        mean = np.bincount(near.owner, cloud.z * distance, shape.n) / np.maximum(prong, 1e-300)
        shares = np.repeat(prong / len(shape.parts), len(shape.parts)) * (1.0 - sum(even))
        shares = np.maximum(np.concatenate([shares, even]), LEAST_SHARE)
        for factor in _RADII if model.length > 2 else (1.0,):
            parameters = np.zeros((shape.n, model.length))
            parameters[:, :2] = near.centres
            for part, first in zip(shape.parts, model.first, strict=True):
                size = part.basis(1).shape[2]
                if size:
                    parameters[:, first] = parameters[:, first + size - 1] = factor * mean
            yield parameters, shares / shares.sum()


def descend(model: Model, cloud: Cloud, state: State, change: float) -> State:
    """Lower the cost until its relative change is small."""
    for _ in range(_MOST_ROUNDS):
        before = state
        if model.shape.n:
            reached = model.solve(cloud, model.moved(cloud, state), state.shares)
            state = min(state, reached, key=lambda each: each.value)
        if len(model.counts) > 1:
            state = exchanged(model, cloud, state, change)
        if not state.value < before.value * (1.0 - change):
            break
    return state


def exchanged(model: Model, cloud: Cloud, state: State, change: float) -> State:
    """Move a share from the dearest part to the cheapest one, as far as that lowers the cost.

    The cost is convex on the way. So it lies above its tangents, and where two of them meet is the
    next place to try.
    """
    prices = model.prices(state)
    dear = int(np.argmax(np.where(state.shares > 2.0 * LEAST_SHARE, prices, -np.inf)))
    cheap = int(np.argmin(prices))
    most = state.shares[dear] - LEAST_SHARE
    direction = np.zeros(len(prices))
    direction[dear], direction[cheap] = -1.0, 1.0
    left, slope = (0.0, state.value), prices[cheap] - prices[dear]
    best, right, step = state, None, min(math.sqrt(change), most)
    for _ in range(_MOST_TRIED):
        if not slope < 0.0 or not left[0] < most:
            break
        tried = model.solve(cloud, state.parameters, state.shares + step * direction)
        best = min(best, tried, key=lambda each: each.value)
        prices = model.prices(tried)
        along = prices[cheap] - prices[dear]
        if along < 0.0:
            left, slope = (step, tried.value), along
        else:
            right, rise = (step, tried.value), along
        if right is None:
            step = min(3.0 * step, most)
            continue
        step = (right[1] - left[1] + slope * left[0] - rise * right[0]) / (slope - rise)
        lowest = left[1] + slope * (step - left[0])
        if best.value - lowest < change * best.value or not left[0] < step < right[0]:
            break
    return best
