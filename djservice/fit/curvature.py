"""The second derivative of the loss, from a scan around the final R."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

#: Order of the polynomial.
ORDER = 3


def curvature_at(radius: float, radii: Any, loss: Any, error: Any) -> tuple[float, float]:
    """d^2L/dR^2 at ``radius`` and its standard error, from :func:`curvature_fit`."""
    _, coefficients, covariance = curvature_fit(radius, radii, loss, error)
    variance = float(covariance[1, 1])
    if not variance >= 0.0:
        return math.nan, math.nan
    return 2.0 * float(coefficients[1]), 2.0 * math.sqrt(variance)


def curvature_fit(radius: float, radii: Any, loss: Any, error: Any) -> tuple[Any, Any, Any]:
    """A cubic in R - ``radius``, fitted to the seven points of a scan nearest to ``radius``.

    Points are weighted by their errors, which are those of independent trees on the same events;
    points without one are left out.

    Returns
    -------
    tuple
        Indices of the points, coefficients from the third order down, and their covariance. The
        last two are NaN where they are not determined: with fewer than four points, as for a single
        event, or with points so close to each other, or so far from ``radius``, that their powers
        are the same to rounding.
    """
    usable = np.flatnonzero(np.isfinite(error) & (error > 0.0) & np.isfinite(loss))
    near = usable[np.argsort(np.abs(radii[usable] - radius), kind="stable")[:7]]
    if len(near) <= ORDER or not _determined(radii[near] - radius, 1.0 / error[near]):
        return near, np.full(ORDER + 1, np.nan), np.full((ORDER + 1, ORDER + 1), np.nan)
    return near, *_least_squares(radii[near] - radius, loss[near], 1.0 / error[near] ** 2)


def _least_squares(x: Any, y: Any, weight: Any) -> tuple[Any, Any]:
    """Coefficients of a polynomial from the highest order down, and their covariance.

    The normal equations are solved in fractions, which round nothing. A solver of LAPACK gives
    other bits on another processor.
    """
    points = [[Fraction(v) for v in point] for point in np.stack([x, y, weight], axis=1).tolist()]
    size = ORDER + 1
    rows: list[list[Any]] = [
        [sum(w * a ** (2 * ORDER - i - j) for a, _, w in points) for j in range(size)]
        + [sum(w * a ** (ORDER - i) * b for a, b, w in points)]
        + [Fraction(i == j) for j in range(size)]
        for i in range(size)
    ]
    for i in range(size):  # positive definite, so no pivot is 0
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(size):
            if k != i:
                factor = rows[k][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    solved = np.array([[float(value) for value in row[size:]] for row in rows])
    return solved[:, 0], solved[:, 1:]


def _determined(distances: Any, weights: Any) -> bool:
    """Whether points at these distances fix the coefficients of a cubic."""
    powers = np.vander(distances, ORDER + 1) * weights[:, np.newaxis]
    length = np.linalg.norm(powers, axis=0)
    # The covariance is the inverse of the product of two such matrices.
    return bool(np.all(length > 0) and np.linalg.cond(powers / length) < _LARGEST_CONDITION)


#: Largest condition of the powers at which half of the digits of their covariance are right.
_LARGEST_CONDITION = 1e4
