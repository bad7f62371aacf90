"""Sums over events of a mean objective whose parameters are one vector, as those of a module.

They are sufficient for the loss, for its derivative in every parameter, and for the errors over
events. Their size grows with the number of parameters, where that of
:class:`djservice.evaluation.moments.Moments` grows with its square. Whatever a vector of parameters
describes (weights of particles, a network), workers return these sums, and they are added up in the
order of the bundles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats
from djservice.evaluation.moments import Moments, Quantity


@dataclass(frozen=True)
class VectorMoments:
    """Sums over events, which merge with ``+`` in a fixed order.

    With the means a of I l and b of I over the trees of an event, and event weights w, the loss is
    L = sum w a / sum w b.

    Attributes
    ----------
    moments
        Sums without derivatives.
    slopes
        Sums of w da/dtheta and w db/dtheta, shape (theta, 2).
    products
        Sums of the products of (w da/dtheta, w db/dtheta) with (w a, w b, w da/dtheta, w db/dtheta)
        of the same event, shape (theta, 2, 4).
    """

    moments: Moments
    slopes: Floats
    products: Floats

    @classmethod
    def of(cls, moments: Moments, z: Floats, slopes: Floats) -> VectorMoments:
        """Sums over some events.

        Parameters
        ----------
        moments
            Their sums without derivatives.
        z
            w a and w b, shape (event, 2).
        slopes
            Derivatives of these, shape (event, theta, 2).
        """
        repeated = np.broadcast_to(z[:, np.newaxis], slopes.shape)
        columns = np.concatenate([repeated, slopes], axis=2)
        return cls(moments, slopes.sum(axis=0), np.einsum("eti,etj->tij", slopes, columns))

    def __add__(self, other: VectorMoments) -> VectorMoments:
        return VectorMoments(
            self.moments + other.moments,
            self.slopes + other.slopes,
            self.products + other.products,
        )

    @property
    def acceptance(self) -> float:
        """Weighted fraction of accepted trees."""
        return self.moments.acceptance

    @property
    def trees(self) -> int:
        """Number of trees."""
        return self.moments.trees

    @property
    def events(self) -> int:
        """Number of events."""
        return self.moments.events

    @property
    def state_share(self) -> float:
        """NaN: the state baseline is not used."""
        return math.nan

    def loss(self) -> Quantity:
        """Loss L."""
        return self.moments.loss()

    def gradients(self) -> list[Quantity]:
        """Derivatives of L in all parameters; the errors over trees alone are not known."""
        level, b = self.loss().value, float(self.moments.total[1])
        by_a, by_b = self.slopes.T
        values = (by_a - level * by_b) / b
        one = np.ones_like(values)
        weights = np.stack([-by_b / b, (2.0 * level * by_b - by_a) / b, one, -level * one]) / b
        n = self.events
        outer = np.zeros((len(values), 4, 4))
        outer[:, 2:, :], outer[:, :2, 2:] = self.products, self.products[:, :, :2].swapaxes(1, 2)
        outer[:, :2, :2] = self.moments.outer[:2, :2]
        variances = np.einsum("it,tij,jt->t", weights, outer, weights)
        scale = n / (n - 1) if n > 1 else math.nan
        errors = np.sqrt(scale * np.where(variances < 0.0, 0.0, variances))
        return [
            Quantity(float(value), float(error), math.nan)
            for value, error in zip(values, errors, strict=True)
        ]
