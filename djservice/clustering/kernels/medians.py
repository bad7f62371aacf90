"""Centres of a jet: so many places that its weight is nearest to, by k-medians.

The cost of centres is the sum over points of weight times (distance to the nearest centre)^beta, for
beta from 1 to 2. Azimuths are periodic. The last coordinate of a place is its azimuth.
"""

from __future__ import annotations

import math
from typing import Any

from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.kinematics import TWO_PI

#: Squared distance below which two places are one.
_SAME = 1e-28
#: Most steps of any loop that improves a cost; rounding ends them after some ten.
_STEPS = 100
#: Points of largest weight at which each centre is tried.
_TRIED = 16


@jit
def folded(difference: float) -> float:
    """A difference of azimuths, the shorter way around."""
    return difference - TWO_PI * math.floor(difference / TWO_PI + 0.5)


@jit
def power_of(squared: float, beta: float) -> float:
    """d^beta from d^2."""
    if beta == 1.0:
        return math.sqrt(squared)
    if beta == 2.0:
        return squared
    return float(squared ** (0.5 * beta))


@jit
def cost_between(places: Any, i: int, y: float, phi: float, beta: float) -> float:
    """d^beta of a point and a place."""
    dy, dphi = places[i, 0] - y, folded(places[i, 1] - phi)
    return power_of(dy * dy + dphi * dphi, beta)


@jit
def assign(weights: Any, places: Any, beta: float, centres: Any, owner: Any) -> float:
    """Write the nearest centre of each point, and return the cost."""
    total = 0.0
    for i in range(len(weights)):
        least = math.inf
        for k in range(len(centres)):
            cost = cost_between(places, i, centres[k, 0], centres[k, 1], beta)
            if cost < least:
                least = cost
                owner[i] = k
        total += weights[i] * least
    return total


@jit
def slopes_at(
    weights: Any, places: Any, beta: float, owner: Any, k: int, y: float, phi: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """The cost of a centre at a place for its points, and the derivatives of the cost / beta.

    Those are the pull (2), the curvature (3) and the stiffness, the sum of weight times
    d^(beta - 2). Points at the place count for none of them; their weight is the last number.
    """
    cost, here, stiffness = 0.0, 0.0, 0.0
    pull_y, pull_phi, h_yy, h_yp, h_pp = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(weights)):
        if owner[i] == k:
            dy, dphi = places[i, 0] - y, folded(places[i, 1] - phi)
            squared = dy * dy + dphi * dphi
            if squared < _SAME:
                here += weights[i]
            else:
                each = weights[i] * power_of(squared, beta)
                p = each / squared
                bent = (beta - 2.0) * p / squared
                cost += each
                pull_y += p * dy
                pull_phi += p * dphi
                h_yy += p + bent * dy * dy
                h_yp += bent * dy * dphi
                h_pp += p + bent * dphi * dphi
                stiffness += p
    return cost, pull_y, pull_phi, h_yy, h_yp, h_pp, stiffness, here


@jit
def start_of(
    weights: Any, places: Any, beta: float, owner: Any, k: int
) -> tuple[float, float, bool]:
    """Where to look for the centre of some points: at one for beta = 1, else in their mean."""
    best, least, total, mean_y, mean_phi, tried = -1, math.inf, 0.0, 0.0, 0.0, 0
    for i in range(len(weights)):
        if owner[i] != k:
            continue
        if beta == 1.0 and tried < _TRIED:
            tried += 1
            cost = 0.0
            for j in range(len(weights)):
                if owner[j] == k:
                    cost += weights[j] * cost_between(places, j, places[i, 0], places[i, 1], beta)
            if cost < least:
                best, least = i, cost
        elif best < 0:
            best = i
        total += weights[i]
        mean_y += weights[i] * (places[i, 0] - places[best, 0])
        mean_phi += weights[i] * folded(places[i, 1] - places[best, 1])
    if best < 0:
        return 0.0, 0.0, False
    if beta == 1.0:
        return places[best, 0], places[best, 1], True
    return places[best, 0] + mean_y / total, places[best, 1] + mean_phi / total, True


@jit
def move_to_median(
    weights: Any, places: Any, beta: float, owner: Any, k: int, centres: Any
) -> None:
    """Move a centre to the place of least cost for its points.

    Newton's steps are taken, or Weiszfeld's where those do not lower the cost. For beta = 1 the
    cost has kinks at points. It is least at one if the pull of the others is below its weight.
    """
    y, phi, some = start_of(weights, places, beta, owner, k)
    if not some:
        return
    cost, step_y, step_phi, soft_y, soft_phi, newton = math.inf, 0.0, 0.0, 0.0, 0.0, False
    for _ in range(_STEPS):
        reached, p_y, p_phi, h_yy, h_yp, h_pp, stiffness, here = slopes_at(
            weights, places, beta, owner, k, y + step_y, phi + step_phi
        )
        if reached < cost:
            y, phi, cost = y + step_y, phi + step_phi, reached
            pull = math.sqrt(p_y * p_y + p_phi * p_phi)
            if stiffness == 0.0 or (beta == 1.0 and pull <= here):
                break
            share = 1.0 - here / pull if beta == 1.0 else stiffness / (stiffness + here)
            soft_y, soft_phi = share * p_y / stiffness, share * p_phi / stiffness
            determinant = h_yy * h_pp - h_yp * h_yp
            newton = here == 0.0 and determinant > 1e-12 * (h_yy + h_pp) * (h_yy + h_pp)
            if newton:
                step_y = (h_pp * p_y - h_yp * p_phi) / determinant
                step_phi = (h_yy * p_phi - h_yp * p_y) / determinant
            else:
                step_y, step_phi = soft_y, soft_phi
        elif newton:
            step_y, step_phi, newton = soft_y, soft_phi, False
        else:
            break
    centres[k, 0], centres[k, 1] = y, folded(phi)


@jit
def settle(weights: Any, places: Any, beta: float, centres: Any, owner: Any) -> float:
    """Give points to the nearest centre and move all centres, in turn, and return the cost."""
    cost = math.inf
    for _ in range(_STEPS):
        reached = assign(weights, places, beta, centres, owner)
        if not reached < cost * (1.0 - 1e-14):
            return min(cost, reached)
        cost = reached
        for k in range(len(centres)):
            move_to_median(weights, places, beta, owner, k, centres)
    return cost


@entry
def find_centres(
    weights: Any, places: Any, beta: float, centres: Any, owner: Any, trial: Any
) -> float:
    """Find centres of least cost, write them and the centre of each point, and return the cost.

    Centres are added one after the other. Each is tried at the points, and then all are moved until
    that lowers the cost no more. After each, all centres are tried at the points in its stead.

    Parameters
    ----------
    weights, places, beta
        Points in falling weight, shapes (point,) and (point, 2), and the exponent. Centres are
        tried at the first of them.
    centres, owner
        Output, shapes (centre, 2) and (point,).
    trial
        Scratch, shape (centre, 2).
    """
    size, first, cost = 1, 0, math.inf
    while True:
        improved = False
        for k in range(first, size):
            for place in range(min(_TRIED, len(weights)) if size > 1 else 1):
                for other in range(size):
                    for axis in range(2):
                        trial[other, axis] = centres[other, axis]
                for axis in range(2):
                    trial[k, axis] = places[place, axis]
                reached = settle(weights, places, beta, trial[:size], owner)
                if reached < cost * (1.0 - 1e-12):
                    cost, improved = reached, True
                    for other in range(size):
                        for axis in range(2):
                            centres[other, axis] = trial[other, axis]
        first = 0
        if not improved or size == 1:
            if size == len(centres):
                break
            size, first, cost = size + 1, size, math.inf
    return assign(weights, places, beta, centres, owner)


@entry
def cost_at(weights: Any, places: Any, beta: float, centres: Any, owner: Any) -> float:
    """The cost of given centres; writes the centre of each point."""
    return assign(weights, places, beta, centres, owner)
