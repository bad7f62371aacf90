"""Centres of weighted points: k-medians in the plane of rapidity and azimuth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.medians import cost_at, find_centres
from djservice.core.typing import Floats


@dataclass(frozen=True)
class Medians:
    """Centres of points.

    Attributes
    ----------
    cost
        Sum over points of weight times (distance to the nearest centre)^beta.
    centres
        Rapidity and phi, shape (centre, 2).
    owner
        The nearest centre of each point, shape (point,).
    """

    cost: float
    centres: Floats
    owner: NDArray[np.int64]


def medians(weights: Floats, places: Floats, number: int, beta: float) -> Medians:
    """The centres of least cost: the optimum in all of some hundred jets where that is known.

    Parameters
    ----------
    weights, places
        Points, shapes (point,) and (point, 2).
    number
        Number of centres, at most that of points.
    beta
        Exponent of the distance, from 1 to 2.
    """
    # Nothing depends on the order in which points of different weight are listed.
    order = np.lexsort((places[:, 1], places[:, 0], -weights))
    owner, back = np.zeros(len(weights), np.int64), np.empty(len(weights), np.int64)
    centres, trial = np.zeros((number, 2)), np.empty((number, 2))
    cost = find_centres(weights[order], places[order], beta, centres, owner, trial)
    back[order] = owner
    return Medians(float(cost), centres, back)


def nearest(weights: Floats, places: Floats, centres: Floats, beta: float) -> Medians:
    """The cost of given centres."""
    owner, centres = np.zeros(len(weights), np.int64), np.array(centres, np.float64)
    cost = cost_at(np.array(weights), np.array(places), beta, centres, owner)
    return Medians(float(cost), centres, owner)
