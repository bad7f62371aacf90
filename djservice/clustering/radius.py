"""The radius R: one number, one per event, or a function of a jet's transverse momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import BOUNDS, require
from djservice.core.columns import floats
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch


@checked_arguments
@dataclass(frozen=True)
class VariableR:
    """Radius of variable-R jets: R(pT) = rho / pT between ``radius_min`` and ``radius_max``.

    Attributes
    ----------
    rho
        Numerator of R, in GeV.
    radius_min, radius_max
        Bounds of R.

    References
    ----------
    Krohn, Thaler, Wang: arXiv:0903.0392.
    """

    rho: float
    radius_min: float = 0.0
    radius_max: float = math.inf

    def __post_init__(self) -> None:
        require("rho", self.rho, more=" GeV")
        if self.radius_max != math.inf:
            require("radius", self.radius_max, more=", or infinity", of="radius_max")
        if not 0 <= self.radius_min < self.radius_max:
            raise InputError(
                f"expected 0 <= radius_min < radius_max, found {self.radius_min} and "
                f"{self.radius_max}; for a constant radius give the number itself."
            )


Radius = ArrayLike | VariableR


def radius_per_event(events: EventBatch, radius: ArrayLike) -> Floats:
    """Radius R of each event, shape (event,), from one number or one per event.

    Raises
    ------
    InputError
        If the shape is neither of these, or an R is no number within its bounds.
    """
    radii, bound = floats(radius, "radius", "radius"), BOUNDS["radius"]
    if radii.shape not in ((), (len(events),)):
        raise InputError(
            f"radius has shape {radii.shape}, expected one number or one per event "
            f"({len(events)},)."
        )
    good = (radii >= bound.low) & (radii <= bound.high)
    if not good.all():
        event = int(np.flatnonzero(~good.ravel())[0])
        raise InputError(f"radius is {radii.ravel()[event]} (event {event}), expected {bound}.")
    return np.ascontiguousarray(np.broadcast_to(radii, (len(events),)))


def radius_bounds(events: EventBatch, radius: Radius) -> Floats:
    """The parameters rho, R_min and R_max of each event, shape (event, 3).

    A constant R is R_min = R_max with rho = 0.
    """
    if isinstance(radius, VariableR):
        return np.tile([radius.rho, radius.radius_min, radius.radius_max], (len(events), 1))
    radii = radius_per_event(events, radius)
    return np.stack([np.zeros(len(events)), radii, radii], axis=1)
