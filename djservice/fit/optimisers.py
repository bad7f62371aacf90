"""Optimisers as pairs of pure functions.

They are ``init(parameters) -> state`` and ``update(gradient, state, rate) -> step, state``, on the
vector of unconstrained parameters (for a radius its logarithm). The state is never stored:
replaying the gradients of a run restores it bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from djservice.core.typing import Floats


class Optimiser(NamedTuple):
    """An optimiser: its first state and its update.

    Attributes
    ----------
    init
        Parameters, shape (parameter,) -> state.
    update
        Gradient of shape (parameter,), state, learning rate -> step to add to the parameters, new
        state.
    """

    init: Callable[[Floats], Any]
    update: Callable[[Floats, Any, float], tuple[Floats, Any]]


def sgd() -> Optimiser:
    """Steepest descent: step = -rate * gradient."""
    return Optimiser(lambda parameters: (), lambda gradient, state, rate: (-rate * gradient, state))


def momentum(decay: float = 0.9) -> Optimiser:
    """Heavy ball (Polyak 1964): velocity = decay * velocity + gradient; step = -rate * velocity."""

    def update(gradient: Floats, velocity: Floats, rate: float) -> tuple[Floats, Floats]:
        velocity = decay * velocity + gradient
        return -rate * velocity, velocity

    return Optimiser(np.zeros_like, update)


def adam(first_decay: float = 0.9, second_decay: float = 0.999, epsilon: float = 1e-8) -> Optimiser:
    """Adam (Kingma & Ba, arXiv:1412.6980), with both bias corrections."""

    def init(parameters: Floats) -> tuple[int, Floats, Floats]:
        return 0, np.zeros_like(parameters), np.zeros_like(parameters)

    def update(
        gradient: Floats, state: tuple[int, Floats, Floats], rate: float
    ) -> tuple[Floats, Any]:
        count, first, second = state[0] + 1, state[1], state[2]
        first = first_decay * first + (1.0 - first_decay) * gradient
        second = second_decay * second + (1.0 - second_decay) * gradient**2
        mean = first / (1.0 - first_decay**count)
        spread = np.sqrt(second / (1.0 - second_decay**count))
        return -rate * mean / (spread + epsilon), (count, first, second)

    return Optimiser(init, update)


def radius_and_network(steps: int) -> Optimiser:
    """Adam for a network at every update, and for R, the first parameter, at every ``steps``-th.

    The step of R follows from the mean of its derivatives since the last one, so that the network
    is nearly at its best for the R before R moves on.
    """
    first, others = adam(), adam()

    def init(parameters: Floats) -> Any:
        return 0, np.zeros(1), first.init(parameters[:1]), others.init(parameters[1:])

    def update(gradient: Floats, state: Any, rate: float) -> tuple[Floats, Any]:
        count, total, of_first, of_others = state
        count, total, move = count + 1, total + gradient[:1], np.zeros(1)
        step, of_others = others.update(gradient[1:], of_others, rate)
        if count % steps == 0:
            move, of_first = first.update(total / steps, of_first, rate)
            total = np.zeros(1)
        return np.concatenate([move, step]), (count, total, of_first, of_others)

    return Optimiser(init, update)


def learning_rate(start: float, decay_iterations: float | None, iteration: int) -> float:
    """The rate of an iteration: start / (1 + iteration / decay_iterations).

    With iterate averaging this decay converges. Without ``decay_iterations`` the rate is constant.
    """
    return start if decay_iterations is None else start / (1.0 + iteration / decay_iterations)
