"""Radius models: R of an event as a bounded function of its features, with parameters theta that are learned.

    R = R_min (R_max / R_min)^sigmoid(h(x, theta))

with x the standardised features. A model gives h and dh/dtheta, :class:`Bounded` makes R and dR/dtheta of them, and the chain
rule dL/dtheta = sum_e dL_e/dR_e dR_e/dtheta does the rest (:func:`djservice.evaluation.evaluate.evaluate`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats


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
