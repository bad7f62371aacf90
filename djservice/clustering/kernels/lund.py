"""From histories to emissions: each merge of a jet, read backwards, as a point of a Lund plane."""

from __future__ import annotations

import math
from typing import Any

from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.kinematics import TWO_PI, rapidity

#: Columns of the numbers of an emission.
DELTA, KT, Z, PSI, KAPPA, MASS = range(6)
#: Columns of the place of an emission: the step that ends its jet, its plane, and the step of the
#: emission from whose softer branch it comes.
JET, PLANE, PARENT = range(3)


@entry
def emissions_of_histories(
    offsets: Any,
    trees: int,
    history: Any,
    particles: Any,
    numbers: Any,
    places: Any,
    pt: Any,
    objects: Any,
    branch: Any,
) -> None:
    """Numbers and place of the emission of every merge.

    Parameters
    ----------
    offsets, trees, history, particles
        Events, trees, merges and momenta, see
        :func:`djservice.clustering.kernels.constituents.jets_of_histories`.
    numbers, places
        Output, shapes (row, 6) and (row, 3). The plane of the merges of a jet's harder branches is
        1, and 1 more for each softer branch on the way. A parent is -1 on the first plane. A row
        that ends a jet has the plane 0.
    pt
        Output, shape (row,): pT of the jet that a row ends.
    objects, branch
        Scratch, shapes (2 n, 4) and (2 n, 3) with the largest n.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        n = offsets[event + 1] - first
        for tree in range(trees):
            row = first * trees + tree * n
            for i in range(n):
                for k in range(4):
                    objects[i, k] = particles[first + i, k]
            for t in range(n):
                a, b = history[row + t, 0], history[row + t, 1]
                if b >= 0:
                    for k in range(4):
                        objects[n + t, k] = objects[a, k] + objects[b, k]
            for back in range(n):
                t = n - 1 - back  # from the jets to the particles
                a, b = history[row + t, 0], history[row + t, 1]
                if b < 0:
                    pt[row + t] = math.sqrt(objects[a, 0] ** 2 + objects[a, 1] ** 2)
                    places[row + t, PLANE] = 0
                    branch[a, JET], branch[a, PLANE], branch[a, PARENT] = t, 1, -1
                else:
                    if _pt2(objects, a) < _pt2(objects, b):
                        a, b = b, a
                    _emission(objects, a, b, numbers[row + t])
                    for k in range(3):
                        places[row + t, k] = branch[n + t, k]
                        branch[a, k] = branch[n + t, k]
                    branch[b, JET] = branch[n + t, JET]
                    branch[b, PLANE], branch[b, PARENT] = branch[n + t, PLANE] + 1, t


@jit
def _pt2(objects: Any, a: int) -> float:
    return float(objects[a, 0] * objects[a, 0] + objects[a, 1] * objects[a, 1])


@jit
def _emission(objects: Any, a: int, b: int, numbers: Any) -> None:
    """Fill the numbers of the emission of b, the softer one, from a."""
    pt_a, pt_b = math.sqrt(_pt2(objects, a)), math.sqrt(_pt2(objects, b))
    y_a = rapidity(objects[a, 0], objects[a, 1], objects[a, 2], objects[a, 3])
    y_b = rapidity(objects[b, 0], objects[b, 1], objects[b, 2], objects[b, 3])
    phi = math.atan2(objects[b, 1], objects[b, 0]) - math.atan2(objects[a, 1], objects[a, 0])
    if phi > math.pi:
        phi -= TWO_PI
    elif phi < -math.pi:
        phi += TWO_PI
    px, py = objects[a, 0] + objects[b, 0], objects[a, 1] + objects[b, 1]
    pz, e = objects[a, 2] + objects[b, 2], objects[a, 3] + objects[b, 3]
    numbers[DELTA] = math.sqrt((y_b - y_a) ** 2 + phi * phi)
    numbers[KT] = pt_b * numbers[DELTA]
    numbers[Z] = pt_b / (pt_a + pt_b)
    numbers[PSI] = math.atan2(y_b - y_a, phi)
    numbers[KAPPA] = numbers[Z] * numbers[DELTA]
    numbers[MASS] = math.sqrt(max(0.0, (e + pz) * (e - pz) - px * px - py * py))
