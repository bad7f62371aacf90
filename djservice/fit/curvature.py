"""The second derivative of the loss, from a scan around the final R."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

    The normal equations are solved in integers, which round nothing. A solver of LAPACK gives other
    bits on another processor.
    """
    count, size = design.shape
    flat, of_design = _integers(design.ravel())
    points = [flat[start : start + size] for start in range(0, len(flat), size)]
    (values, of_y), (weights, of_weight) = _integers(y), _integers(weight)
    rows = [
        [sum(w * x[i] * x[j] for x, w in zip(points, weights, strict=True)) for j in range(size)]
        + [sum(w * x[i] * v for x, w, v in zip(points, weights, values, strict=True))]
        + [int(i == j) for j in range(size)]
        for i in range(size)
    ]
    determinant = 1
    for i in range(size):  # positive definite, so no pivot is 0; every division is exact (Bareiss)
        pivot = rows[i]
        for k in range(size):
            if k != i:
                factor = rows[k][i]
                rows[k] = [
                    (pivot[i] * a - factor * b) // determinant
                    for a, b in zip(rows[k], pivot, strict=True)
                ]
        determinant = pivot[i]
    missed = sum(
        w * (v * determinant - sum(a * row[size] for a, row in zip(x, rows, strict=True))) ** 2
        for x, w, v in zip(points, weights, values, strict=True)
    )
    misfit = _ratio(missed, (count - size) * determinant**2, of_weight + 2 * of_y)
    covariance = [
        [_ratio(value, determinant, -of_weight - 2 * of_design) for value in row[size + 1 :]]
        for row in rows
    ]
    solution = [_ratio(row[size], determinant, of_y - of_design) for row in rows]
    return np.array(solution), max(1.0, misfit) * np.array(covariance)


def _integers(values: Any) -> tuple[list[int], int]:
    """Integers that are the values times a power of two, and its exponent."""
    ratios = [value.as_integer_ratio() for value in values.tolist()]
    exponent = max(below.bit_length() - 1 for _, below in ratios)
    return [above << exponent + 1 - below.bit_length() for above, below in ratios], exponent


def _ratio(above: int, below: int, exponent: int) -> float:
    """above / below / 2**exponent, rounded once."""
    return above / (below << exponent) if exponent > 0 else (above << -exponent) / below


def _determined(distances: Any, weights: Any) -> bool:
    """Whether points at these distances fix the coefficients of a cubic."""
    powers = np.vander(distances, ORDER + 1) * weights[:, np.newaxis]
    length = np.linalg.norm(powers, axis=0)
    # The covariance is the inverse of the product of two such matrices.
    return bool(np.all(length > 0) and np.linalg.cond(powers / length) < _LARGEST_CONDITION)


#: Largest condition of the powers at which half of the digits of their covariance are right.
_LARGEST_CONDITION = 1e4
