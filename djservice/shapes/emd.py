"""``dj.emd``: the energy mover's distance between two events or jets, by exact transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.typing import Floats
from djservice.shapes.ground import Ground
from djservice.shapes.points import PT, points_of
from djservice.shapes.transport import ROUNDING, transport


@dataclass(frozen=True)
class Transport:
    """A distance with the transport that it costs.

    Attributes
    ----------
    value
        The distance.
    plan
        Weight that goes from each particle of the first to each of the second, shape (n, m): GeV,
        or shares with ``norm``. What the heavier one has in excess goes nowhere.
    """

    value: float
    plan: Floats


@overload
def emd(
    a: Any,
    b: Any,
    *,
    radius: float,
    beta: float = ...,
    norm: bool = ...,
    periodic_phi: bool = ...,
    centre: bool = ...,
    plan: Literal[False] = ...,
) -> float: ...
@overload
def emd(
    a: Any,
    b: Any,
    *,
    radius: float,
    beta: float = ...,
    norm: bool = ...,
    periodic_phi: bool = ...,
    centre: bool = ...,
    plan: Literal[True],
) -> Transport: ...
@checked_arguments
def emd(
    a: Any,
    b: Any,
    *,
    radius: float,
    beta: float = 1.0,
    norm: bool = False,
    periodic_phi: bool = True,
    centre: bool = False,
    plan: bool = False,
) -> float | Transport:
    """Energy mover's distance of two events or jets: the least work that makes one the other.

    It is the minimum over plans of ``sum plan_ij d_ij^beta / (beta R^beta) + |sum pt_a - sum
    pt_b|``. A plan takes at most ``pt_i`` from a particle of a and brings at most ``pt_j`` to one
    of b, and moves the smaller of both sums. d is the distance in (rapidity, phi).

    Parameters
    ----------
    a, b
        The particles of one event or jet each: rows of pT, rapidity and phi, shape (particle, 3); a
        ``vector`` momentum array; awkward records such as
        ``particles[0][jets.constituents[0, 0]]``; or an :class:`djservice.EventBatch` of one event.
    radius
        R: moving 1 GeV by R costs 1 / beta GeV.
    beta
        Exponent of the distance, above 0.
    norm
        Divide the pT of each by their sum. The distance is then a pure number, else in GeV.
    periodic_phi
        Take the shorter way around in phi. Without it, phi in [-pi, pi] is a coordinate like any.
    centre
        Move each to the pT-weighted mean of its rapidity and phi first. Jets of different
        directions need it, or their distance is that of their axes.
    plan
        Return the plan beside the value.

    Returns
    -------
    float or Transport
        The distance; with ``plan``, a :class:`djservice.shapes.emd.Transport`.

    Raises
    ------
    InputError
        If a or b is empty or no particles, a number is not finite, or an argument has no meaning.
    MissingPackageError
        If POT is not installed (extra ``shapes``).

    Notes
    -----
    A metric for ``beta`` up to 1, if no distance is above R (2 beta)^(1/beta) or all sums are the
    same; its root ``emd ** (1 / beta)`` is one for ``beta`` from 1 on if all sums are the same.
    EnergyFlow has no 1 / beta: its distance is twice this one for ``beta=2`` and equal sums, and
    its default is ``periodic_phi=False``.

    References
    ----------
    Komiske, Metodiev, Thaler: arXiv:1902.02346. The 1 / beta is that of SHAPER, arXiv:2302.12266.
    """
    ground = Ground(radius, beta, norm, periodic_phi, centre)
    first, second = (ground.prepared(points_of(x, name)) for x, name in ((a, "a"), (b, "b")))
    value, moved = distance(first[:, PT], second[:, PT], ground.cost(first, second))
    return Transport(value, moved) if plan else value


def distance(a: Floats, b: Floats, cost: Floats) -> tuple[float, Floats]:
    """The distance of two sets of weights, whose sums may differ, and the plan."""
    excess = a.sum() - b.sum()
    if abs(excess) <= ROUNDING * a.sum():
        excess, moved = 0.0, transport(a, b, cost)
    elif excess > 0.0:  # what is left goes to a further particle, at no cost but the excess itself
        moved = transport(a, np.append(b, excess), np.pad(cost, ((0, 0), (0, 1))))
    else:
        moved = transport(np.append(a, -excess), b, np.pad(cost, ((0, 1), (0, 0))))
    return moved.value + abs(float(excess)), moved.plan[: len(a), : len(b)]
