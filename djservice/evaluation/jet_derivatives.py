"""Derivatives of an objective in the momenta of the leading jets, by differences.

An objective is any Python function of the jets, so its derivatives are differences of fourth order,
in ln pT, y, phi and m^2 of each jet. In these coordinates a step is small for every function of
masses and momenta, however light or forward a jet is. The selection is held fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats

#: Step in ln pT, y and phi, and relative step in m^2. The error is of the order of its 4th power.
STEP = 1e-3
#: Two differences that differ by more than this part come from a jump, such as a threshold.
_JUMP = 0.01
#: Least m^2 relative to mT^2 that the step in m^2 follows.
_LIGHT = 1e-4


def jet_derivatives(function: Callable[[object], Floats], momenta: Floats) -> Floats:
    """Derivatives in px, py, pz and E of the jets, shape (event, tree, jet, 4).

    They are 0 for jets that a tree does not have. Where the function jumps within a step, the
    derivative is that on the side without the jump.

    Parameters
    ----------
    function
        Takes jets as :attr:`djservice.clustering.trees.TreeSample.jets`, returns a value per tree.
    momenta
        px, py, pz and E of the leading jets, shape (event, tree, jet, 4); NaN for missing ones.
    """
    centre = function(as_vectors(momenta))
    derivatives = np.zeros_like(momenta)
    for jet in range(momenta.shape[2]):
        for direction, gradient in _coordinates(momenta[:, :, jet]):
            slope = _slope(function, momenta, jet, direction, centre)
            derivatives[:, :, jet] += slope[..., np.newaxis] * gradient
    missing = np.isnan(momenta[..., :1])
    return np.where(missing, 0.0, derivatives)


def _coordinates(p: Floats) -> list[tuple[Floats, Floats]]:
    """Steps of momenta along ln pT, y, phi and m^2, and the gradients of these per step.

    All have the shape of ``p``.
    """
    px, py, pz, e = np.moveaxis(p, -1, 0)
    pt2, zero = px * px + py * py, np.zeros_like(px)
    mt2 = np.maximum((e + pz) * (e - pz), pt2)
    mass2 = np.maximum(mt2 - pt2, _LIGHT * mt2)
    with np.errstate(divide="ignore", invalid="ignore"):  # jets without pT have no direction
        rows = (
            ((px, py, pt2 / mt2 * pz, pt2 / mt2 * e), (px / pt2, py / pt2, zero, zero)),
            ((zero, zero, e, pz), (zero, zero, -pz / mt2, e / mt2)),
            ((-py, px, zero, zero), (-py / pt2, px / pt2, zero, zero)),
            (
                (zero, zero, mass2 / mt2 * pz / 2.0, mass2 / mt2 * e / 2.0),
                tuple(2.0 * c / mass2 for c in (-px, -py, -pz, e)),
            ),
        )
    return [(np.stack(step, axis=-1), np.stack(slope, axis=-1)) for step, slope in rows]


def _slope(
    function: Callable[[object], Floats],
    momenta: Floats,
    jet: int,
    direction: Floats,
    centre: Floats,
) -> Floats:
    """Derivative along a direction of one jet, shape (event, tree)."""

    def moved(steps: float) -> Floats:
        shifted = momenta.copy()
        shifted[:, :, jet] += steps * STEP * direction
        return function(as_vectors(shifted))

    up, down = moved(1.0), moved(-1.0)
    near, far = (up - down) / (2.0 * STEP), (moved(2.0) - moved(-2.0)) / (4.0 * STEP)
    smooth = np.abs(near - far) <= _JUMP * (np.abs(near) + np.abs(far))
    forward, backward = (up - centre) / STEP, (centre - down) / STEP
    one_sided = np.where(np.abs(forward) < np.abs(backward), forward, backward)
    return np.where(smooth, (4.0 * near - far) / 3.0, one_sided)
