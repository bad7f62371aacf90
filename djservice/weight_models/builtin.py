"""Built-in weight models: a constant, a logistic function, and rising or falling curves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from djservice.core.bounds import Bound
from djservice.core.elementary import exp, log, tanh
from djservice.core.entry_points import makers
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.weight_models.base import WeightModel, pulled_through

_KNOTS = Bound(1, 10_000, whole=True)


@dataclass(frozen=True)
class Explicit(WeightModel):
    """A model of few parameters, whose dh/dtheta is written out for each particle."""

    @abstractmethod
    def terms(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """h without the constant, and dh/dtheta without that of the constant.

        Shapes (particle,) and (particle, theta - 1).
        """

    def start(self, features: int, seed: int) -> Floats:
        return np.zeros(len(self.names([""] * features)))

    def height(self, features: Floats, theta: Floats, offsets: NDArray[np.int64]) -> Floats:
        height: Floats = self.terms(features, theta)[0] + theta[-1]
        return height

    def pull_back(
        self, features: Floats, theta: Floats, offsets: NDArray[np.int64], slopes: Floats
    ) -> Floats:
        jacobian = self.terms(features, theta)[1]
        one = np.ones((len(features), 1))
        return pulled_through(np.concatenate([jacobian, one], axis=1), offsets, slopes)


@dataclass(frozen=True)
class Constant(Explicit):
    """One weight for all particles, h = b."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return ("bias",)

    def terms(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        return np.zeros(len(features)), np.empty((len(features), 0))


@dataclass(frozen=True)
class Logistic(Explicit):
    """Logistic weight, h = t . x + b: it rises or falls with every feature."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*features, "bias")

    def terms(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        return np.einsum("pi,i->p", features, theta[:-1]), features


@dataclass(frozen=True)
class Monotone(Explicit):
    """Curves that rise or fall with every feature, h = sum of t_i c_i(x_i) + b.

    Each curve has slopes in proportion to e^u in ``knots`` + 1 soft steps between -1.5 and 1.5,
    which are positive and have the mean 1. So t_i is the slope of a straight line, which a curve is
    at the start, and its sign the direction of the whole curve.

    Attributes
    ----------
    knots
        Number of free slopes of each curve.
    """

    knots: int = 3

    def __post_init__(self) -> None:
        if not _KNOTS.holds(self.knots):
            raise InputError(f"knots is {self.knots!r}, expected {_KNOTS}.")

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        shapes = (f"{name} slope {k}" for name in features for k in range(self.knots))
        return (*features, *shapes, "bias")

    def terms(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        number = features.shape[1]
        shapes = theta[number:-1].reshape(number, self.knots)
        height, scales, bends = np.zeros(len(features)), [], []
        for i, (x, shape) in enumerate(zip(features.T, shapes, strict=True)):
            steps = self._steps(x)  # (particle, knots + 1), which sum up to x
            raw = exp(np.append(shape, -np.sum(shape)))
            share = raw / raw.sum()
            curve = (self.knots + 1) * np.einsum("pk,k->p", steps, share)
            height += theta[i] * curve
            scales.append(curve)
            # d share_k / d u_j = share_k ([k = j] - [k = last] - share_j + share_last)
            each = (self.knots + 1) * steps * share
            slope = each[:, :-1] - each[:, -1:] - curve[:, np.newaxis] * (share[:-1] - share[-1])
            bends.append(theta[i] * slope)
        return height, np.concatenate([np.stack(scales, axis=1), *bends], axis=1)

    def _steps(self, x: Floats) -> Floats:
        """Parts of x between the knots, each a soft ramp; they sum up to x."""
        edges = np.linspace(-1.5, 1.5, self.knots + 2)[1:-1]
        width = 3.0 / (self.knots + 1)
        above = [0.5 * width * _softplus((x - edge) / (0.5 * width)) for edge in edges]
        bounds = [x, *above, np.zeros_like(x)]
        return np.stack([low - high for low, high in pairwise(bounds)], axis=1)


def _softplus(x: Floats) -> Floats:
    """ln(1 + e^x), without overflow."""
    return np.maximum(x, 0.0) + log(1.0 + exp(-np.abs(x)))


def sigmoid(x: Floats) -> Floats:
    """The logistic function 1 / (1 + e^-x)."""
    return 0.5 * (1.0 + tanh(0.5 * x))


def named_weight_models() -> dict[str, Callable[..., WeightModel]]:
    """The weight models that a run configuration can name.

    They are the models of this module and those of the entry-point group
    ``djservice.weight_models``.
    """
    models = {"constant": Constant, "logistic": Logistic, "monotone": Monotone}
    return makers("djservice.weight_models", WeightModel, models)  # type: ignore[type-abstract]
