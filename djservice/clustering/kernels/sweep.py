"""From the slopes of all objects of a tree to the derivatives in its particles: one sweep back.

The momentum of an object is the sum of its children's (E-scheme). So the derivative in the momentum
of an object goes to both children, and each object adds its own slopes:

    L = 2 p slope(ln d) + slope(ln pT),    mT^2 = max((E + pz)(E - pz), pT^2)
    d/d(px, py, pz, E) += ((px L - py slope(phi)) / pT^2, (py L + px slope(phi)) / pT^2,
                           E slope(y) / mT^2, -pz slope(y) / mT^2)

``adjoint`` holds eight numbers for each object: the derivatives of log P, and those of a function
of the leading jets at this tree (the pathwise part). Both are in px, py, pz and E.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.lanes.team import rank, size, sync
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import Floats


class Cotangents(NamedTuple):
    """Cotangents of the trees, and the sums over trees of those of the particles.

    A column is a sum over trees of u S + v T, and of its square. S is d log P of a tree in a
    coordinate of a particle. T is that of the function of its jets whose derivatives are ``jets``.

    """

    factors: Floats  # (item, column, 2): u and v
    jets: Floats  # (item, jet, 4)
    mass: Floats  # (particle,) for derivatives in pt, y, phi and m; length 0 for px, py, pz and E
    rows: NDArray[np.int64]  # (item,): the row of the sums where the particles begin
    sums: Floats  # (row, column, 4)
    squares: Floats  # (row, column, 4)


def no_cotangents() -> Cotangents:
    """No cotangents and no sums."""
    no_numbers = np.empty((0, 0, 4))
    return Cotangents(
        no_numbers, no_numbers, np.empty(0), np.empty(0, np.int64), no_numbers, no_numbers
    )


@jit
def sweep_back(n: int, ids: int, power: float, jets: Floats, slopes: ObjectSlopes) -> None:
    """Fill the adjoints of the objects below ``ids``; those of particles lack their own slopes.

    ``jets`` has shape (jet, 4): derivatives of the function in the momenta of the leading jets.
    """
    adjoint, children = slopes.adjoint, slopes.children
    for k in range(8 * ids):
        adjoint[k] = 0.0
    for j in range(len(slopes.leading)):
        if slopes.leading[j] >= 0:
            for c in range(4):
                adjoint[natural(8 * int(slopes.leading[j]) + 4 + c)] = jets[j, c]
    for back in range(ids - n):
        k = natural(ids - 1 - back)
        if children[2 * k] >= 0:
            x, y, z, e = own_adjoint(slopes, k, power)
            place = natural(8 * k)
            adjoint[place] += x
            adjoint[place + 1] += y
            adjoint[place + 2] += z
            adjoint[place + 3] += e
            first = natural(8 * int(children[2 * k]))
            second = natural(8 * int(children[2 * k + 1]))
            for c in range(8):
                adjoint[first + c] = adjoint[second + c] = adjoint[place + c]


@jit
def own_adjoint(
    slopes: ObjectSlopes, ident: int, power: float
) -> tuple[float, float, float, float]:
    """What an object's own slopes are in its px, py, pz and E."""
    k = natural(4 * ident)
    momenta, objects = slopes.momenta, slopes.objects
    px, py, pz, e = momenta[k], momenta[k + 1], momenta[k + 2], momenta[k + 3]
    pt2 = slopes.coordinates[k + 3]
    log_pt = (2.0 * power * objects[k] + objects[k + 3]) / pt2
    phi, y = objects[k + 2] / pt2, objects[k + 1] / max((e + pz) * (e - pz), pt2)
    return px * log_pt - py * phi, py * log_pt + px * phi, e * y, -pz * y


@jit
def in_pt_y_phi_m(
    slopes: ObjectSlopes, ident: int, mass: float, part: int
) -> tuple[float, float, float, float]:
    """A particle's adjoint in pt, y, phi and m, for the four numbers from ``part`` on."""
    k, place = natural(4 * ident), natural(8 * ident + part)
    adjoint, momenta = slopes.adjoint, slopes.momenta
    px, py, pz, e = momenta[k], momenta[k + 1], momenta[k + 2], momenta[k + 3]
    tx, ty, tz, te = adjoint[place], adjoint[place + 1], adjoint[place + 2], adjoint[place + 3]
    pt = math.sqrt(slopes.coordinates[k + 3])
    longitudinal = (tz * pz + te * e) / (pt * pt + mass * mass)
    return (
        (tx * px + ty * py) / pt + pt * longitudinal,
        tz * e + te * pz,
        ty * px - tx * py,
        mass * longitudinal,
    )


@jit
def fold(
    n: int, power: float, slopes: ObjectSlopes, first: int, item: int, cotangents: Cotangents
) -> None:
    """Add the derivatives of a tree in its particles to the sums over trees."""
    adjoint, objects, row = slopes.adjoint, slopes.objects, cotangents.rows[item]
    in_angles, i = len(cotangents.mass) > 0, natural(rank())
    while i < n:
        place, k = natural(8 * i), natural(4 * i)
        if in_angles:
            mass = cotangents.mass[first + i]
            t0, t1, t2, t3 = in_pt_y_phi_m(slopes, i, mass, 4)
            s0, s1, s2, s3 = in_pt_y_phi_m(slopes, i, mass, 0)
            pt = math.sqrt(slopes.coordinates[k + 3])
            s0 += (2.0 * power * objects[k] + objects[k + 3]) / pt
            s1, s2 = s1 + objects[k + 1], s2 + objects[k + 2]
        else:
            s0, s1, s2, s3 = own_adjoint(slopes, i, power)
            s0, s1 = s0 + adjoint[place], s1 + adjoint[place + 1]
            s2, s3 = s2 + adjoint[place + 2], s3 + adjoint[place + 3]
            t0, t1 = adjoint[place + 4], adjoint[place + 5]
            t2, t3 = adjoint[place + 6], adjoint[place + 7]
        for column in range(cotangents.factors.shape[1]):
            u, v = cotangents.factors[item, column, 0], cotangents.factors[item, column, 1]
            add_numbers(
                cotangents, row + i, column, u * s0 + v * t0, u * s1 + v * t1, u * s2 + v * t2,
                u * s3 + v * t3,
            )  # fmt: skip
        i = natural(i + size())


@jit
def add_numbers(
    cotangents: Cotangents, row: int, column: int, x0: float, x1: float, x2: float, x3: float
) -> None:
    """Add four numbers to the sums of a row, and their squares to the sums of squares."""
    sums, squares = cotangents.sums, cotangents.squares
    sums[row, column, 0] += x0
    sums[row, column, 1] += x1
    sums[row, column, 2] += x2
    sums[row, column, 3] += x3
    squares[row, column, 0] += x0 * x0
    squares[row, column, 1] += x1 * x1
    squares[row, column, 2] += x2 * x2
    squares[row, column, 3] += x3 * x3


@jit
def add_tree(
    n: int, ids: int, power: float, slopes: ObjectSlopes, first: int, item: int,
    cotangents: Cotangents,
) -> None:  # fmt: skip
    """Sweep back over a tree with ``ids`` objects, and add it to the sums over trees.

    The particles of the event begin at ``first``.
    """
    sync()
    if rank() == 0:
        sweep_back(n, ids, power, cotangents.jets[item], slopes)
    sync()
    fold(n, power, slopes, first, item, cotangents)
    sync()
