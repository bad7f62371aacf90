"""Angularities of a jet: energy-weighted sums over its constituents.

With z = pT / sum pT of a constituent and r its distance in (rapidity, phi) from the jet's axis, an
angularity is sum z^kappa (r / R0)^beta. References: Larkoski, Thaler, Waalewijn, arXiv:1408.3122;
Moment pooling: arXiv:2403.08854.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require_number
from djservice.core.elementary import azimuth_of, exp, log, rapidity_of
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.observable import Observable, require_jet


@checked_arguments
def angularity(
    kappa: float = 1.0, beta: float = 1.0, jet: int = 0, reference_radius: float = 1.0
) -> Observable:
    """Angularity sum z^``kappa`` (r / R0)^``beta`` of a leading jet.

    It is infrared- and collinear-safe for ``kappa`` = 1 and ``beta`` > 0: 1 is the width or girth,
    2 is close to m^2 / pT^2. ``kappa`` = ``beta`` = 0 is the multiplicity, and ``kappa`` = 2,
    ``beta`` = 0 the square of pT dispersion; neither is safe.

    Parameters
    ----------
    kappa, beta
        Powers, 0 or more.
    jet
        Place of the jet among the leading ones, from 0.
    reference_radius
        R0, a constant that does not follow the radius of the jets.

    Raises
    ------
    InputError
        If a parameter is negative, or no number.
    """
    for name, value in (("kappa", kappa), ("beta", beta)):
        require_number(name, value)
        if value < 0:
            raise InputError(f"{name} is {value}, expected 0 or more.")
    _require_radius(reference_radius)

    def sums(jets: Any, particles: Any) -> Floats:
        z, r = _shares_and_distances(jets, particles)
        total: Floats = (
            _power(z, kappa) * _power(r / reference_radius, beta) * particles.mask
        ).sum(axis=-1)
        return total

    name = f"angularity (kappa {kappa:g}, beta {beta:g}) of jet {jet + 1}"
    return Observable(sums, name, jets=require_jet(jet) + 1, constituents="all")


@checked_arguments
def log_angularity(c: float = 1e-3, jet: int = 0, reference_radius: float = 1.0) -> Observable:
    """Logarithmic angularity sum z log(c + r / R0) of a leading jet.

    It is the slope of the angularity in beta at beta = 0, regulated by ``c``, and is infrared- and
    collinear-safe for ``c`` > 0. It tells quarks from gluons better than the width.

    Parameters
    ----------
    c
        Regulator, a positive number: distances far below c R0 do not count.
    jet, reference_radius
        See :func:`angularity`.

    Raises
    ------
    InputError
        If ``c`` is not positive.
    """
    require_number("c", c)
    if not c > 0:
        raise InputError(f"c is {c}, expected a positive number; without it a jet is not defined.")
    _require_radius(reference_radius)

    def sums(jets: Any, particles: Any) -> Floats:
        z, r = _shares_and_distances(jets, particles)
        total: Floats = (z * log(c + r / reference_radius) * particles.mask).sum(axis=-1)
        return total

    name = f"log angularity (c {c:g}) of jet {jet + 1}"
    return Observable(sums, name, jets=require_jet(jet) + 1, constituents="all")


def _require_radius(value: float) -> None:
    require_number("reference_radius", value)
    if not value > 0:
        raise InputError(f"reference_radius is {value}, expected a positive number.")


def _power(base: Floats, exponent: float) -> Floats:
    """base^exponent of numbers that are not negative, with 0^0 = 1."""
    if exponent == 0.0:
        return np.ones_like(base)
    positive = base > 0.0
    return np.where(positive, exp(exponent * log(np.where(positive, base, 1.0))), 0.0)


def _shares_and_distances(jets: Any, particles: Any) -> tuple[Floats, Floats]:
    """z and r of each constituent, shape (jet, constituent); 0 in the padding."""
    momenta, mask = particles.momenta, particles.mask
    pt = np.sqrt(momenta.px**2 + momenta.py**2)
    z = pt / pt.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # in the padding
        dy = rapidity_of(momenta) - rapidity_of(jets)[:, np.newaxis]
    dphi = np.abs(azimuth_of(momenta) - azimuth_of(jets)[:, np.newaxis])
    dphi = np.minimum(dphi, 2 * np.pi - dphi)
    return z, np.where(mask, np.sqrt(np.where(mask, dy, 0.0) ** 2 + dphi**2), 0.0)
