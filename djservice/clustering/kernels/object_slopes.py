"""The slopes of log P in the coordinates of every object of a tree, and what candidates add to them.

A pair has dq = q dln d_s + 2 d_s (dy ddy + dphi ddphi), where s is its object of smaller d. A beam
has dq = q (dln d + 2 dln R). Nothing is divided by dR, so close pairs are no special case.
"""

from __future__ import annotations

from typing import NamedTuple

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import TWO_PI
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.pseudojets import EffectiveRadius, Floats, Ints, radius2

#: 1.5 * 2^52: adding it and taking it away again rounds to an integer.
_TO_INTEGER = 6755399441055744.0


class ObjectSlopes(NamedTuple):
    """Slopes of log P, and what they are made from. All have length 0 if they are not wanted.

    ``pair`` and ``beam`` are the slopes in q of the candidates on the lists. The next arrays have
    four numbers for each id: ``coordinates`` y, phi, d and pT^2; ``momenta`` px, py, pz and E; and
    ``objects`` the slopes in ln d, y, phi and, where d is held, ln pT. ``children`` are the two
    objects of a sum, or -1, and ``leading`` the ids of the leading jets. ``adjoint`` has eight
    numbers for each id, see :mod:`djservice.clustering.kernels.sweep`.
    """

    pair: Floats
    beam: Floats
    coordinates: Floats
    momenta: Floats
    objects: Floats
    children: Ints
    leading: Ints
    adjoint: Floats


@jit
def add_pair(slopes: ObjectSlopes, a: int, b: int, q: float, c: float) -> None:
    """Log P changes by c dq of the pair of objects ``a`` and ``b``."""
    coordinates, objects = slopes.coordinates, slopes.objects
    a, b = natural(4 * a), natural(4 * b)
    d_a, d_b = coordinates[a + 2], coordinates[b + 2]
    dphi = coordinates[a + 1] - coordinates[b + 1]
    dphi -= TWO_PI * ((dphi * (1.0 / TWO_PI) + _TO_INTEGER) - _TO_INTEGER)  # folded, no branches
    slope = 2.0 * c * min(d_a, d_b)
    by_y, by_phi = slope * (coordinates[a] - coordinates[b]), slope * dphi
    objects[a if d_a <= d_b else b] += c * q
    objects[a + 1] += by_y
    objects[b + 1] -= by_y
    objects[a + 2] += by_phi
    objects[b + 2] -= by_phi


@jit
def add_beam(slopes: ObjectSlopes, radius: EffectiveRadius, a: int, q: float, c: float) -> None:
    """Log P changes by c dq of the beam of object ``a``."""
    a = natural(4 * a)
    slopes.objects[a] += c * q
    if radius.rho > 0.0:
        pt2 = slopes.coordinates[a + 3]
        if radius2(radius, pt2) == radius.rho * radius.rho / pt2:
            slopes.objects[a + 3] -= 2.0 * c * q  # R = rho / pT


@jit
def add_asymmetry(slopes: ObjectSlopes, a: int, b: int, c: float) -> None:
    """Log P changes by c dln(pT_max / pT_min) of objects ``a`` and ``b``."""
    a, b = natural(4 * a + 3), natural(4 * b + 3)
    harder = c if slopes.coordinates[a] >= slopes.coordinates[b] else -c
    slopes.objects[a] += harder
    slopes.objects[b] -= harder
