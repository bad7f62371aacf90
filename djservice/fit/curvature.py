"""The second derivative of the loss, from a scan around the final R."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

#: Order of the polynomial.
ORDER = 3
#: Number of radii that it is fitted to.
NEAREST = 7


def curvature_at(radius: float, scan: Mapping[str, Any]) -> tuple[float, float]:
    """d^2L/dR^2 at ``radius`` and its standard error, from :func:`curvature_fit`."""
    _, coefficients, covariance = curvature_fit(radius, scan)
    variance = float(covariance[1, 1])
    if not variance >= 0.0:
        return math.nan, math.nan
    return 2.0 * float(coefficients[1]), 2.0 * math.sqrt(variance)


def curvature_fit(radius: float, scan: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """A cubic in R - ``radius``, fitted to loss and gradient at the nearest seven radii of a scan.

    The points are of the same events, so their errors are those of the trees alone. If the cubic
    misses the points by more than these, the errors are scaled up until it does not.

    Parameters
    ----------
    radius
        Origin of the polynomial.
    scan
        Columns radius, loss, loss_tree_error, gradient and gradient_tree_error, shape (point,).

    Returns
    -------
    tuple
        Indices of the points, coefficients from the third order down, and their covariance. The
        last two are NaN where they are not determined: with fewer than four points, with points
        whose trees do not vary, or with points so close to each other, or so far from ``radius``,
        that their powers are the same to rounding.
    """
    columns = {name: np.asarray(scan[name]) for name in _COLUMNS}
    usable = np.ones(len(columns["radius"]), np.bool_)
    for name, values in columns.items():
        usable &= np.isfinite(values) & ((values > 0.0) | ("error" not in name))
    points = np.flatnonzero(usable)
    away = np.abs(columns["radius"][points] - radius)
    near = points[np.argsort(away, kind="stable")[:NEAREST]]
    x, loss, loss_error, slope, slope_error = (values[near] for values in columns.values())
    x = x - radius
    if len(near) <= ORDER or not _determined(x, 1.0 / loss_error):
        return near, np.full(ORDER + 1, np.nan), np.full((ORDER + 1, ORDER + 1), np.nan)
    orders = np.arange(ORDER, -1, -1)
    powers = np.vander(x, ORDER + 1)
    slopes = np.pad(powers[:, 1:] * orders[:-1], ((0, 0), (0, 1)))
    return near, *_least_squares(
        np.concatenate([powers, slopes]),
        np.concatenate([loss, slope]),
        1.0 / np.concatenate([loss_error, slope_error]) ** 2,
    )


_COLUMNS = ("radius", "loss", "loss_tree_error", "gradient", "gradient_tree_error")


def _least_squares(design: Any, y: Any, weight: Any) -> tuple[Any, Any]:
    """Coefficients of a linear model, and their covariance.

    The normal equations are solved in fractions, which round nothing. A solver of LAPACK gives
    other bits on another processor.
    """
    points = [
        ([Fraction(x) for x in row], Fraction(value), Fraction(w))
        for row, value, w in zip(design.tolist(), y.tolist(), weight.tolist(), strict=True)
    ]
    size = design.shape[1]
    rows: list[list[Any]] = [
        [sum(w * row[i] * row[j] for row, _, w in points) for j in range(size)]
        + [sum(w * row[i] * value for row, value, w in points)]
        + [Fraction(i == j) for j in range(size)]
        for i in range(size)
    ]
    for i in range(size):  # positive definite, so no pivot is 0
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k in range(size):
            if k != i:
                factor = rows[k][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    solution = [row[size] for row in rows]
    missed = sum(
        w * (value - sum(a * b for a, b in zip(row, solution, strict=True))) ** 2
        for row, value, w in points
    )
    scale = max(1.0, float(missed / (len(points) - size)))
    covariance = np.array([[float(value) for value in row[size + 1 :]] for row in rows])
    return np.array([float(value) for value in solution]), scale * covariance


def _determined(distances: Any, weights: Any) -> bool:
    """Whether points at these distances fix the coefficients of a cubic."""
    powers = np.vander(distances, ORDER + 1) * weights[:, np.newaxis]
    length = np.linalg.norm(powers, axis=0)
    # The covariance is the inverse of the product of two such matrices.
    return bool(np.all(length > 0) and np.linalg.cond(powers / length) < _LARGEST_CONDITION)


#: Largest condition of the powers at which half of the digits of their covariance are right.
_LARGEST_CONDITION = 1e4
