"""Prediction of R from features and the parameters of a radius model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats
from djservice.radius_models.base import Bounded


@dataclass(frozen=True)
class Standardiser:
    """Standardisation (x - mean) / sd of each feature.

    The result is 0, which stands for the mean, where a feature is not defined or does not vary.

    Attributes
    ----------
    mean, sd
        Mean and standard deviation over the training events, shape (feature,).
    """

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, features: Floats) -> Standardiser:
        """Standardiser of the given features, shape (event, feature)."""
        defined = np.isfinite(features)
        number = np.maximum(defined.sum(axis=0), 1)
        mean = np.where(defined, features, 0.0).sum(axis=0) / number
        sd = np.sqrt((np.where(defined, features - mean, 0.0) ** 2).sum(axis=0) / number)
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
    """A radius model with fixed parameters, which gives each event its R.

    Attributes
    ----------
    model, scale, theta
        Parts of R = model.radius(scale(features), theta).
    """

    model: Bounded
    scale: Standardiser
    theta: Floats

    def __call__(self, features: Floats) -> tuple[Floats, Floats]:
        """R and dR/dtheta of each event, from features that are not standardised."""
        return self.model.radius(self.scale(features), self.theta)
