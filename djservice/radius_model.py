"""Radius models: R of an event as a bounded function of its features, with parameters theta that are learned.

    R = R_min (R_max / R_min)^sigmoid(h(x, theta))

with x the standardised features. A model gives h and dh/dtheta, :class:`Bounded` makes R and dR/dtheta of them, and the chain
rule dL/dtheta = sum_e dL_e/dR_e dR_e/dtheta does the rest (:func:`djservice.evaluate.evaluate`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError

Floats = NDArray[np.float64]


class RadiusModel(ABC):
    """h(x, theta). One of your own is a subclass; a frozen dataclass, if it has settings, for a store knows it by its repr."""

    @abstractmethod
    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        """Names of the parameters, in their order; the last one is added to h."""

    @abstractmethod
    def start(self, features: int, seed: int) -> Floats:
        """theta at which h is 0 for every x, shape (theta,)."""

    @abstractmethod
    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """h and dh/dtheta, of shapes (event,) and (event, theta), from standardised features of shape (event, feature)."""

    @property
    def name(self) -> str:
        """For tables."""
        return repr(self)

    @property
    def function(self) -> Callable[..., object]:
        """What a store knows it by, beside its name: the hash of this function's source."""
        return type(self).height


@dataclass(frozen=True)
class Bounded:
    """R(x, theta) between two bounds.

    Attributes
    ----------
    model
        h(x, theta).
    minimum, maximum
        Bounds of R.
    """

    model: RadiusModel
    minimum: float
    maximum: float

    def begin(self, features: int, radius: float, seed: int) -> Floats:
        """theta that gives every event the same R."""
        share = math.log(radius / self.minimum) / math.log(self.maximum / self.minimum)
        share = min(max(share, 0.01), 0.99)  # at a bound itself nothing moves
        theta = self.model.start(features, seed)
        theta[-1] = math.log(share / (1.0 - share))
        return theta

    def radius(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """R and dR/dtheta of each event.

        Parameters
        ----------
        features
            Standardised, shape (event, feature).
        theta
            Shape (theta,).

        Returns
        -------
        Shapes (event,) and (event, theta).
        """
        height, slope = self.model.height(features, theta)
        share = 0.5 * (1.0 + np.tanh(0.5 * height))
        span = math.log(self.maximum / self.minimum)
        radius = self.minimum * np.exp(span * share)
        return radius, (radius * span * share * (1.0 - share))[:, np.newaxis] * slope


@dataclass(frozen=True)
class Linear(RadiusModel):
    """h = w . x + b."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*features, "bias")

    def start(self, features: int, seed: int) -> Floats:
        return np.zeros(features + 1)

    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        slope = np.concatenate([features, np.ones((len(features), 1))], axis=1)
        return slope @ theta, slope


@dataclass(frozen=True)
class Network(RadiusModel):
    """h = v . tanh(W x + c) + b, a network with one hidden layer; v = 0 and W random at the start.

    Attributes
    ----------
    hidden
        Neurons of the layer.
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
        layer = np.tanh(inputs @ first.T)
        back = (second * (1.0 - layer**2))[:, :, np.newaxis] * inputs[:, np.newaxis, :]
        slope = np.concatenate([back.reshape(len(features), size), layer, np.ones((len(features), 1))], axis=1)
        return layer @ second + theta[-1], slope


def named_models() -> dict[str, Callable[..., RadiusModel]]:
    """What a run configuration can name: the models here and those of the entry-point group ``djservice.radius_models``."""
    from importlib.metadata import entry_points

    found: dict[str, Callable[..., RadiusModel]] = {"linear": Linear, "network": Network}
    for point in entry_points(group="djservice.radius_models"):
        loaded = point.load()
        found[point.name] = (lambda value=loaded: value) if isinstance(loaded, RadiusModel) else loaded
    return found


@dataclass(frozen=True)
class Standardiser:
    """(x - mean) / sd of each feature; 0, the mean, where a feature is not defined or does not vary.

    Attributes
    ----------
    mean, sd
        Shape (feature,), over the events that the model is trained on.
    """

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, features: Floats) -> Standardiser:
        """From features of shape (event, feature)."""
        known = np.isfinite(features)
        number = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, features, 0.0).sum(axis=0) / number
        sd = np.sqrt((np.where(known, features - mean, 0.0) ** 2).sum(axis=0) / number)
        return cls(mean, sd)

    def __call__(self, features: Floats) -> Floats:
        scaled = np.divide(
            features - self.mean, self.sd, out=np.zeros_like(features), where=self.sd > 1e-9 * np.abs(self.mean)
        )
        return np.nan_to_num(scaled)


@dataclass(frozen=True)
class Prediction:
    """A radius model with its parameters: what gives each event its R.

    Attributes
    ----------
    model, scale, theta
        R = model.radius(scale(features), theta).
    """

    model: Bounded
    scale: Standardiser
    theta: Floats

    def __call__(self, features: Floats) -> tuple[Floats, Floats]:
        """R and dR/dtheta of each event, from features as they are."""
        return self.model.radius(self.scale(features), self.theta)
