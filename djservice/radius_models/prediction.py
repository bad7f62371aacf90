"""From standardised features and parameters to R."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats
from djservice.radius_models.base import Bounded


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
            features - self.mean,
            self.sd,
            out=np.zeros_like(features),
            where=self.sd > 1e-9 * np.abs(self.mean),
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
