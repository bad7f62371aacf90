"""Exact stopping: a bound on the pT of every jet that can still form.

A future jet is a sum of active objects, so its pT is at most B = max over phi of sum pT max(0, cos(phi_i - phi)). Along
an axis u the sum is (A + P.u)/2 with A = sum |p.u| and P = sum p. The largest of four axes and their opposites, 45 degrees
apart, divided by cos(22.5 degrees) is not below B, and costs one update for each object that comes or goes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from djservice.kernels.jit import jit

_HALF = math.sqrt(0.5)
_LOOSENESS = 1.0 / (2.0 * math.cos(math.pi / 8.0))
#: Rounding of the running sums, relative to what they started from.
_ROUNDING = 1e-10


class Reach(NamedTuple):
    """Sums over the active objects: P, and A along the axes at 0, 90, 45 and 135 degrees; and the first A, for its rounding."""

    px: float
    py: float
    a0: float
    a1: float
    a2: float
    a3: float
    start: float


@jit
def changed(reach: Reach, px: float, py: float, sign: float) -> Reach:
    """With an object that comes (sign 1) or goes (-1)."""
    return Reach(
        reach.px + sign * px,
        reach.py + sign * py,
        reach.a0 + sign * abs(px),
        reach.a1 + sign * abs(py),
        reach.a2 + sign * _HALF * abs(px + py),
        reach.a3 + sign * _HALF * abs(px - py),
        reach.start,
    )


@jit
def largest_pt(reach: Reach) -> float:
    """No jet that can still form has a larger pT."""
    px, py = reach.px, reach.py
    along = max(reach.a0 + abs(px), reach.a1 + abs(py))
    across = max(reach.a2 + _HALF * abs(px + py), reach.a3 + _HALF * abs(px - py))
    return max(along, across) * _LOOSENESS + _ROUNDING * reach.start
