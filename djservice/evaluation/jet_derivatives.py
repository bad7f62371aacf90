"""Derivatives of an objective in the momenta of the leading jets, by differences.

An objective is any Python function of the jets, so its derivatives are differences of fourth order,
in ln pT, y, phi and m^2 of each jet. In these coordinates a step is small for every function of
masses and momenta, however light or forward a jet is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats

#: Step in ln pT, y and phi, and relative step in m^2. The error is of the order of its 4th power.
STEP = 1e-3
#: Least m^2 relative to mT^2 that the step in m^2 follows.
_LIGHT = 1e-4
#: Differences over one and over two steps come from a jump, such as a threshold, if they differ by
#: more than the first part of themselves plus the second part of the function.
_JUMP, _ROUNDING = 0.01, 1e-4

LOG_PT, RAPIDITY, PHI, MASS2 = range(4)


def jet_derivatives(function: Callable[[object], Floats], momenta: Floats) -> Floats:
    """Derivatives in px, py, pz and E of the jets, shape (event, tree, jet, 4).

    They are 0 for jets that a tree does not have. Where the function jumps or ends within a step,
    the derivative is that of the other side.

    Parameters
    ----------
    function
        Takes jets as :attr:`djservice.clustering.trees.TreeSample.jets`, and returns a value per
        tree, NaN where it has none.
    momenta
        px, py, pz and E of the leading jets, shape (event, tree, jet, 4); NaN for missing ones.
    """
    derivatives, centre = np.zeros_like(momenta), function(as_vectors(momenta))
    for jet in range(momenta.shape[2]):
        gradients = _gradients(momenta[:, :, jet])
        for coordinate in (LOG_PT, RAPIDITY, PHI, MASS2):
            slope = _slope(function, momenta, jet, coordinate, centre)
            derivatives[:, :, jet] += slope[..., np.newaxis] * gradients[coordinate]
    return np.where(np.isnan(momenta[..., :1]), 0.0, derivatives)


def _squares(p: Floats) -> tuple[Floats, Floats, Floats]:
    """Squares pT^2, mT^2, and m^2 but for the lightest jets."""
    pt2 = p[..., 0] ** 2 + p[..., 1] ** 2
    mt2 = np.maximum((p[..., 3] + p[..., 2]) * (p[..., 3] - p[..., 2]), pt2)
    return pt2, mt2, np.maximum(mt2 - pt2, _LIGHT * mt2)


def _gradients(p: Floats) -> list[Floats]:
    """Gradients of the coordinates in px, py, pz and E; of m^2 relative to the step in it."""
    pt2, mt2, mass2 = _squares(p)
    px, py, pz, e = np.moveaxis(p, -1, 0)
    zero = np.zeros_like(px)
    with np.errstate(divide="ignore", invalid="ignore"):  # jets without pT have no direction
        columns = (
            (px / pt2, py / pt2, zero, zero),
            (zero, zero, e / mt2, -pz / mt2),
            (-py / pt2, px / pt2, zero, zero),
            tuple(2.0 * component / mass2 for component in (-px, -py, -pz, e)),
        )
    return [np.stack(column, axis=-1) for column in columns]


def _moved(p: Floats, coordinate: int, step: float) -> Floats:
    """Momenta at other coordinates."""
    pt2, mt2, mass2 = _squares(p)
    px, py, pz, e = np.moveaxis(p, -1, 0)
    if coordinate == LOG_PT:
        factor = np.exp(step)
        longitudinal = np.sqrt(1.0 + (factor**2 - 1.0) * pt2 / mt2)
        columns = (factor * px, factor * py, longitudinal * pz, longitudinal * e)
    elif coordinate == RAPIDITY:
        cosh, sinh = np.cosh(step), np.sinh(step)
        columns = (px, py, cosh * pz + sinh * e, cosh * e + sinh * pz)
    elif coordinate == PHI:
        cos, sin = np.cos(step), np.sin(step)
        columns = (cos * px - sin * py, sin * px + cos * py, pz, e)
    else:
        longitudinal = np.sqrt(1.0 + step * mass2 / mt2)
        columns = (px, py, longitudinal * pz, longitudinal * e)
    return np.stack(columns, axis=-1)


def _slope(
    function: Callable[[object], Floats],
    momenta: Floats,
    jet: int,
    coordinate: int,
    centre: Floats,
) -> Floats:
    """Derivative in a coordinate of one jet, shape (event, tree)."""

    def at(steps: float) -> Floats:
        shifted = momenta.copy()
        shifted[:, :, jet] = _moved(momenta[:, :, jet], coordinate, steps * STEP)
        return function(as_vectors(shifted))

    up, down = at(1.0), at(-1.0)
    near, far = (up - down) / (2.0 * STEP), (at(2.0) - at(-2.0)) / (4.0 * STEP)
    allowed = _JUMP * (np.abs(near) + np.abs(far)) + _ROUNDING * np.abs(centre)
    forward, backward = (up - centre) / STEP, (centre - down) / STEP
    take_forward = (np.abs(forward) < np.abs(backward)) | np.isnan(backward)
    one_sided = np.where(take_forward, forward, backward)
    return np.where(np.abs(near - far) <= allowed, (4.0 * near - far) / 3.0, one_sided)
