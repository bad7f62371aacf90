"""Built-in radius models: a linear function and a small network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from djservice.core.elementary import tanh
from djservice.core.entry_points import makers
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.radius_models.base import RadiusModel


@dataclass(frozen=True)
class Linear(RadiusModel):
    """Linear model h = w . x + b."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*features, "bias")

    def start(self, features: int, seed: int) -> Floats:
        return np.zeros(features + 1)

    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        slope = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        return np.einsum("ei,i->e", slope, theta), slope


@dataclass(frozen=True)
class Network(RadiusModel):
    """Network with one hidden layer, h = v . tanh(W x + c) + b; initially v = 0 and W is random.

    Attributes
    ----------
    hidden
        Number of neurons of the hidden layer.
    """

    hidden: int = 8

    def __post_init__(self) -> None:
        if not (isinstance(self.hidden, int) and self.hidden >= 1):
            raise InputError(f"hidden is {self.hidden!r}, expected a positive whole number.")

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        weights = (f"{name} -> {i}" for i in range(self.hidden) for name in (*features, "bias"))
        return (*weights, *(f"{i} ->" for i in range(self.hidden)), "bias")

    def start(self, features: int, seed: int) -> Floats:
        size = self.hidden * (features + 1)
        first = np.random.default_rng(seed).normal(0.0, 1.0 / math.sqrt(features + 1), size)
        return np.concatenate([first, np.zeros(self.hidden + 1)])

    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        size = self.hidden * inputs.shape[1]
        first, second = theta[:size].reshape(self.hidden, -1), theta[size:-1]
        layer = tanh(np.einsum("ei,hi->eh", inputs, first))
        back = (second * (1.0 - layer**2))[:, :, np.newaxis] * inputs[:, np.newaxis, :]
        slope = np.concatenate(
            [back.reshape(len(features), size), layer, np.ones((len(features), 1))], axis=1
        )
        return np.einsum("eh,h->e", layer, second) + theta[-1], slope


def named_models() -> dict[str, Callable[..., RadiusModel]]:
    """The radius models that a run configuration can name.

    They are the models of this module and those of the entry-point group
    ``djservice.radius_models``.
    """
    models = {"linear": Linear, "network": Network}
    return makers("djservice.radius_models", RadiusModel, models)  # type: ignore[type-abstract]
