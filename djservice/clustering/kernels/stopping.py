"""Exact stopping: a bound on the pT of every jet that can still form.

A future jet is a sum of active objects. So its pT is at most B = max over phi of sum pT max(0,
cos(phi_i - phi)). Along an axis u that sum is (A + P.u)/2 with A = sum |p.u| and P = sum p. Four
axes and their opposites, 45 degrees apart, are tried. The largest sum divided by cos(22.5 degrees)
is not below B. An object that is added or removed costs one update.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from djservice.clustering.kernels.extremes import larger
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.pseudojets import Pseudojets

_HALF = math.sqrt(0.5)
_LOOSENESS = 1.0 / (2.0 * math.cos(math.pi / 8.0))
#: Rounding of the running sums, relative to their first values.
_ROUNDING = 1e-10


class Spread(NamedTuple):
    """Sums over the active objects: P, and A along the axes at 0, 90, 45 and 135 degrees.

    ``start`` is a0 + a1 of the whole event, to which the rounding is relative.
    """

    px: float
    py: float
    a0: float
    a1: float
    a2: float
    a3: float
    start: float


@jit
def updated(spread: Spread, px: float, py: float, sign: float) -> Spread:
    """The sums with an object added (sign 1) or removed (-1)."""
    return Spread(
        spread.px + sign * px,
        spread.py + sign * py,
        spread.a0 + sign * abs(px),
        spread.a1 + sign * abs(py),
        spread.a2 + sign * _HALF * abs(px + py),
        spread.a3 + sign * _HALF * abs(px - py),
        spread.start,
    )


@jit
def spread_of_event(pseudojets: Pseudojets, n: int) -> Spread:
    """The sums over all particles."""
    spread = Spread(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for j in range(n):
        spread = updated(spread, pseudojets.px[j], pseudojets.py[j], 1.0)
    return Spread(
        spread.px, spread.py, spread.a0, spread.a1, spread.a2, spread.a3, spread.a0 + spread.a1
    )


@jit
def largest_pt(spread: Spread) -> float:
    """An upper bound on the pT of the jets that can still form."""
    px, py = spread.px, spread.py
    axes = larger(spread.a0 + abs(px), spread.a1 + abs(py))
    diagonals = larger(spread.a2 + _HALF * abs(px + py), spread.a3 + _HALF * abs(px - py))
    return larger(axes, diagonals) * _LOOSENESS + _ROUNDING * spread.start
