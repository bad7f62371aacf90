"""Conventions of a distance: the costs between points, and the weights of points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from djservice.core.bounds import require, require_number
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.shapes.points import PHI, PT, RAPIDITY, centred

#: Largest exponent of the distance; beyond, costs overflow.
MOST_BETA = 10.0


@dataclass(frozen=True)
class Ground:
    """Conventions that every distance takes; :func:`djservice.emd` describes them."""

    radius: float
    beta: float = 1.0
    norm: bool = False
    periodic_phi: bool = True
    centre: bool = False

    def __post_init__(self) -> None:
        require("radius", self.radius)
        require_number("beta", self.beta)
        if not 0.0 < self.beta <= MOST_BETA:
            raise InputError(f"beta is {self.beta}, expected a number above 0, at most 10.")
        for name in ("norm", "periodic_phi", "centre"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected True or False.")

    def prepared(self, points: Floats) -> Floats:
        """Points with the weights and the origin of this convention."""
        if self.centre:
            points = centred(points)
        if self.norm:
            points = points.copy()
            points[:, PT] /= points[:, PT].sum()
        return points

    def cost(self, a: Floats, b: Floats) -> Floats:
        """d^beta / (beta R^beta) between the points of two sets, shape (of a, of b)."""
        squared = np.abs(a[:, PHI, np.newaxis] - b[:, PHI])
        if self.periodic_phi:
            np.minimum(squared, np.abs(2.0 * math.pi - squared), out=squared)
        squared *= squared
        rapidity = a[:, RAPIDITY, np.newaxis] - b[:, RAPIDITY]
        rapidity *= rapidity
        squared += rapidity
        if self.beta == 1.0:
            np.sqrt(squared, out=squared)
        elif self.beta != 2.0:
            squared **= 0.5 * self.beta
        squared *= 1.0 / (self.beta * self.radius**self.beta)
        return squared
