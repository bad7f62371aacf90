"""Scalar kinematics of generalised-kT clustering in the E-scheme.

Units are GeV and rad. Angles use rapidity, never pseudorapidity.
"""

from __future__ import annotations

import math

from djservice.clustering.kernels.extremes import larger
from djservice.clustering.kernels.jit import entry, jit
from djservice.core.typing import Floats

TWO_PI = 2.0 * math.pi


@jit
def momentum_scale(pt2: float, power: float) -> float:
    """d_i = pT^(2 p), from pT squared (Cacciari, Salam, Soyez, arXiv:0802.1189, eq. 1)."""
    if power == -1.0:
        return 1.0 / pt2
    if power == 0.0:
        return 1.0
    if power == 1.0:
        return pt2
    return float(pt2**power)


@jit
def rapidity(px: float, py: float, pz: float, e: float) -> float:
    """y = 1/2 ln((E + pz) / (E - pz)), without cancellation for forward objects.

    m^2 < 0 counts as 0.
    """
    pt2 = px * px + py * py
    m2 = larger(0.0, (e + pz) * (e - pz) - pt2)
    if pt2 + m2 == 0.0:  # massless along the beam: beyond all others, as in FastJet
        return 1e5 if pz >= 0.0 else -1e5
    forward = e + abs(pz)
    y = 0.5 * math.log((pt2 + m2) / (forward * forward))
    return y if pz < 0.0 else -y


@entry
def momenta(pt: Floats, rapidity: Floats, phi: Floats, mass: Floats, components: Floats) -> None:
    """Fill px, py, pz and E of particles, shape (particle, 4).

    In compiled code the functions are those of the C library. NumPy's differ between processors.
    """
    for i in range(len(pt)):
        transverse = math.sqrt(pt[i] * pt[i] + mass[i] * mass[i])
        components[i, 0] = pt[i] * math.cos(phi[i])
        components[i, 1] = pt[i] * math.sin(phi[i])
        components[i, 2] = transverse * math.sinh(rapidity[i])
        components[i, 3] = transverse * math.cosh(rapidity[i])


@jit
def asymmetry_factor(pt2_a: float, pt2_b: float, exponent: float) -> float:
    """(pT_max / pT_min)^q, which keeps a soft partner from setting the safe scale."""
    ratio = pt2_a / pt2_b
    if ratio < 1.0:
        ratio = 1.0 / ratio
    if exponent == 1.0:
        return math.sqrt(ratio)
    return float(ratio ** (0.5 * exponent))
