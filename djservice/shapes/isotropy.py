"""Event isotropy: the distance of an event to an even distribution."""

from __future__ import annotations

import math

import numpy as np

from djservice.core.typing import Floats
from djservice.events.momenta import fold
from djservice.shapes import quadrature
from djservice.shapes.forms import Isotropy
from djservice.shapes.points import PHI, PT, RAPIDITY
from djservice.shapes.transport import transport

#: Points of the ring and the cylinder, roughly, and sides of the sphere's pixels (192 points).
_RING, _CYLINDER, _SIDES = 128, 256, 4


def isotropy(particles: Floats, momenta: Floats, shape: Isotropy, beta: float) -> float:
    """The distance of an event of unit weight to the even one, 1 for the least even ones.

    Parameters
    ----------
    particles, momenta
        Rows of pT, rapidity, phi and mass, and of px, py, pz and E.
    """
    weights = particles[:, PT]
    if shape.geometry == "sphere":
        weights = momenta[:, 3]
        cost = _sphere(momenta, beta)
    elif shape.geometry == "ring":
        angle = 2.0 * math.pi * (np.arange(_RING) + 0.5) / _RING
        apart = np.abs(fold(particles[:, PHI, np.newaxis] - angle))
        cost = 4.0 / math.pi * apart
        if beta == 2.0:
            cost = math.pi / (math.pi - 2.0) * (1.0 - np.cos(apart))
    else:
        assert shape.y_max is not None
        even = quadrature.rectangle(shape.y_max, math.pi, _CYLINDER)
        apart = fold(particles[:, PHI, np.newaxis] - even[:, 1])
        along = particles[:, RAPIDITY, np.newaxis] - even[:, 0]
        cost = 12.0 / (math.pi**2 + 16.0 * shape.y_max**2) * (apart**2 + along**2)
    even_weights = np.full(cost.shape[1], 1.0 / cost.shape[1])
    return transport(weights / weights.sum(), even_weights, cost).value


def _sphere(momenta: Floats, beta: float) -> Floats:
    """Costs between directions of momenta and the pixels of a sphere."""
    directions = momenta[:, :3]
    directions = directions / np.sqrt(np.einsum("ij,ij->i", directions, directions))[:, np.newaxis]
    apart = np.maximum(1.0 - np.einsum("ik,jk->ij", directions, quadrature.sphere(_SIDES)), 0.0)
    costs: Floats = 2.0 * apart if beta == 2.0 else 1.5 * np.sqrt(apart)
    return costs
