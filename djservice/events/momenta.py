"""Momenta by their components -> pT, rapidity, phi and mass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import arcsinh, azimuth, cosh, log, sinh
from djservice.core.typing import Floats

#: Most by which m^2 may be below 0, as a share of E^2: more than float32 rounds.
_SPACELIKE = 1e-5


def is_timelike(momentum: Floats, energy: Floats) -> NDArray[np.bool_]:
    """Whether E is above 0 and |p| or more, but for rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        m2 = (energy - momentum) * (energy + momentum)
        return np.asarray(~(m2 < -_SPACELIKE * energy * energy) & (energy > 0.0))


def from_components(px: Floats, py: Floats, pz: Floats, energy: Floats) -> dict[str, Floats]:
    """pT, rapidity, phi and mass from px, py, pz and E; m^2 < 0 counts as 0.

    They are not finite where there is no pT.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        pt2, forward = px * px + py * py, energy + np.abs(pz)
        m2 = np.maximum((energy + pz) * (energy - pz) - pt2, 0.0)
        size = -0.5 * log((pt2 + m2) / (forward * forward))
        return {
            "pt": np.sqrt(pt2),
            "rapidity": np.where(pz < 0.0, -size, size),
            "phi": azimuth(px, py),
            "mass": np.sqrt(m2),
        }


def mass_of(pt: Floats, eta: Floats, energy: Floats) -> Floats:
    """The mass from pT, pseudorapidity and E; m^2 < 0 counts as 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        momentum = pt * cosh(eta)
        return np.sqrt(np.maximum((energy - momentum) * (energy + momentum), 0.0))


def rapidity_of(pt: Floats, eta: Floats, mass: Floats) -> Floats:
    """Rapidity from pseudorapidity. The two are equal if the mass is zero."""
    # Beyond 50, y - eta is constant to the last bit, and sinh soon overflows.
    central = np.clip(eta, -50.0, 50.0)
    y, massive = eta.copy(), mass > 0.0
    pt, mass, central = pt[massive], mass[massive], central[massive]
    beta = pt / np.sqrt(pt * pt + mass * mass)
    y[massive] = arcsinh(beta * sinh(central)) + (eta[massive] - central)
    return y


def fold(phi: Floats) -> Floats:
    """phi in [-pi, pi]; values in this range stay unchanged."""
    outside = np.abs(phi) > np.pi
    return (
        np.where(outside, np.remainder(phi + np.pi, 2 * np.pi) - np.pi, phi)
        if outside.any()
        else phi
    )
