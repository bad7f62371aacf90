"""The curvature of a scan, against polynomials that are known."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from djservice.fit.curvature import _least_squares, curvature_at, curvature_fit


def scan(radii: Any, coefficients: list[float], error: Any, away: float = 0.7) -> dict[str, Any]:
    """Loss and gradient of a polynomial in R - ``away``, from the constant up, with errors."""
    cubic = np.polynomial.Polynomial(coefficients)
    x, errors = np.asarray(radii) - away, np.broadcast_to(error, np.shape(radii)).copy()
    columns = {"radius": x + away, "loss": cubic(x), "gradient": cubic.deriv()(x)}
    return columns | {"loss_tree_error": errors, "gradient_tree_error": 2.0 * errors}


def test_the_curvature_of_a_cubic_is_found() -> None:
    columns = scan(np.linspace(0.3, 1.2, 10), [0.2, 0.03, 1.7, -0.9], 0.01, 0.71)
    curvature, error = curvature_at(0.71, columns)
    assert curvature == pytest.approx(2 * 1.7, rel=1e-9)
    near, coefficients, covariance = curvature_fit(0.71, columns)
    assert sorted(near) == [1, 2, 3, 4, 5, 6, 7]  # the seven nearest
    assert coefficients[::-1] == pytest.approx([0.2, 0.03, 1.7, -0.9], rel=1e-9)
    assert error == pytest.approx(2 * math.sqrt(covariance[1, 1]))


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_error_of_the_curvature_is_the_spread_over_noise(factor: float) -> None:
    """Noise that is ``factor`` times the errors scales these up."""
    rng = np.random.default_rng(4)
    errors = np.linspace(0.01, 0.03, 7)
    exact = scan(np.linspace(0.4, 1.0, 7), [0.2, 0.0, 1.5], errors)
    results = []
    for _ in range(200):
        noise = {
            "loss": exact["loss"] + factor * errors * rng.normal(size=7),
            "gradient": exact["gradient"] + factor * 2.0 * errors * rng.normal(size=7),
        }
        results.append(curvature_at(0.7, exact | noise))
    curvatures, claimed = np.array(results).T
    spread, error = curvatures.std(), curvatures.std() / math.sqrt(len(curvatures))
    assert abs(curvatures.mean() - 3.0) < 4 * error
    # With ten degrees of freedom the scale is never below 1, on average 1.13 of an error that is right.
    assert abs(math.sqrt((claimed**2).mean()) / spread - (1.0 if factor > 1 else 1.1)) < 0.15


@pytest.mark.parametrize("size", [1e-8, 1.0, 3e7])
def test_the_fit_is_exact_but_for_one_rounding(size: float) -> None:
    rng = np.random.default_rng(5)
    design, y, weight = rng.normal(size=(9, 4)), size * rng.normal(size=9), rng.uniform(1, 9, 9)
    x, v, w = (np.vectorize(Fraction, otypes=[object])(each) for each in (design, y, weight))
    matrix, found = x.T @ (w[:, None] * x), _least_squares(design, y, weight)
    minors = [
        [Fraction(_determinant(np.delete(np.delete(matrix, i, 0), j, 1))) for j in range(4)]
        for i in range(4)
    ]
    signs = (-1) ** np.add.outer(np.arange(4), np.arange(4))
    inverse = signs * np.array(minors) / _determinant(matrix)
    solution = inverse @ (x.T @ (w * v))
    missed = (w * (v - x @ solution) ** 2).sum() / 5
    assert found[0].tolist() == [float(value) for value in solution]
    assert found[1].tolist() == (max(1.0, float(missed)) * inverse.astype(float)).tolist()


def _determinant(matrix: Any) -> Any:
    if not len(matrix):
        return 1
    rest = [np.delete(matrix[1:], j, 1) for j in range(len(matrix))]
    return sum((-1) ** j * matrix[0, j] * _determinant(part) for j, part in enumerate(rest))


@pytest.mark.parametrize("bad", [math.nan, 0.0])
@pytest.mark.parametrize("column", ["loss_tree_error", "gradient_tree_error"])
def test_points_without_an_error_are_left_out(bad: float, column: str) -> None:
    columns = scan(np.linspace(0.4, 1.0, 7), [0.0, 0.0, 1.0], 0.01)
    columns[column][3], columns["loss"][3] = bad, 77.0
    assert curvature_at(0.7, columns)[0] == pytest.approx(2.0)
    columns[column][:4] = bad
    assert all(math.isnan(x) for x in curvature_at(0.7, columns))


@pytest.mark.parametrize("spacing", [1e-1, 1e-2, 1e-3, 1e-5, 1e-9, 1e-15])
@pytest.mark.parametrize("first", [0.0, 0.01, 0.2, 0.7, 3.0])
def test_radii_too_close_to_each_other_leave_the_curvature_undetermined(
    first: float, spacing: float
) -> None:
    """No LinAlgError, no square root of a negative number: right to its error, or NaN."""
    columns = scan(0.7 + first + spacing * np.arange(7), [0.0, 0.0, 2.0], 1e-3)
    curvature, error = curvature_at(0.7, columns)
    assert math.isnan(curvature) == math.isnan(error)
    assert math.isnan(curvature) or abs(curvature - 4.0) < error
    if spacing == 1e-1 and first < 0.7:
        assert abs(curvature - 4.0) < 1e-3 * error
    if spacing <= 1e-3 and first >= 0.2:
        assert math.isnan(curvature)
