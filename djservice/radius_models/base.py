"""Radius models: R of an event as a bounded function of its features, with learned parameters.

    R = R_min (R_max / R_min)^sigmoid(h(x, theta))

Here x are the standardised features and theta the parameters. A model gives h and dh/dtheta, and
:class:`Bounded` turns them into R and dR/dtheta. The gradient follows by the chain rule,
dL/dtheta = sum_e dL_e/dR_e dR_e/dtheta (:func:`djservice.evaluation.evaluate.evaluate`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from djservice.core.elementary import exp, tanh
from djservice.core.typing import Floats
from djservice.core.user_functions import called


class RadiusModel(ABC):
    """A function h(x, theta) of features and parameters.

    Subclass it for a model of your own. A model with settings should be a frozen dataclass, because
    a store identifies it by its repr.
    """

    @abstractmethod
    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        """Names of the parameters, in order; the last parameter is a constant added to h."""

    @abstractmethod
    def start(self, features: int, seed: int) -> Floats:
        """Initial theta, shape (theta,), at which h is 0 for every x."""

    @abstractmethod
    def height(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Values of h and dh/dtheta, shapes (event,) and (event, theta).

        The features are standardised, shape (event, feature).
        """

    @property
    def name(self) -> str:
        """Name of the model in tables."""
        return repr(self)

    @property
    def function(self) -> Callable[..., object]:
        """Function whose source a store hashes to identify the model, in addition to its name."""
        return type(self).height


@dataclass(frozen=True)
class Bounded:
    """A radius R(x, theta) between two bounds.

    Attributes
    ----------
    model
        Model that gives h(x, theta).
    minimum, maximum
        Bounds of R.
    """

    model: RadiusModel
    minimum: float
    maximum: float

    def begin(self, features: int, radius: float, seed: int) -> Floats:
        """Initial theta, which gives every event the same R."""
        share = math.log(radius / self.minimum) / math.log(self.maximum / self.minimum)
        share = min(max(share, 0.01), 0.99)  # the gradient vanishes at a bound
        theta: Floats = called(f"radius model {self.model.name}", self.model.start, features, seed)
        theta[-1] = math.log(share / (1.0 - share))
        return theta

    def radius(self, features: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Radius R and dR/dtheta of each event.

        Parameters
        ----------
        features
            Standardised features, shape (event, feature).
        theta
            Parameters, shape (theta,).

        Returns
        -------
        Shapes (event,) and (event, theta).
        """
        height, slope = called(
            f"radius model {self.model.name}", self.model.height, features, theta
        )
        share = 0.5 * (1.0 + tanh(0.5 * height))
        span = math.log(self.maximum / self.minimum)
        radius = self.minimum * exp(span * share)
        return radius, (radius * span * share * (1.0 - share))[:, np.newaxis] * slope
