"""The path of the radius, the optimisers and the curvature, each against a straightforward recomputation."""

import itertools
import math

import numpy as np
import pytest

from djservice.fit.curvature import curvature_at, curvature_fit
from djservice.fit.descent import CHECK_EVERY, Descent, Parameter
from djservice.fit.optimisers import adam, learning_rate, momentum, sgd
from djservice.fit.radius_fit import OPTIMISERS


def descent(kind: str = "sgd", **changes: float | None) -> Descent:
    settings = {"rate": 0.1, "decay_iterations": None, "averaging_start": 0} | changes
    bounds = {
        name: settings.pop(name, default)
        for name, default in (("start", 1.0), ("minimum", 0.1), ("maximum", 2.0))
    }
    return Descent((Parameter("R", **bounds, positive=True),), OPTIMISERS[kind](), **settings)  # type: ignore[arg-type]


def test_adam_follows_its_paper() -> None:
    """Algorithm 1 of arXiv:1412.6980, written out."""
    alpha, beta1, beta2, epsilon = 0.05, 0.9, 0.999, 1e-8
    gradients = np.random.default_rng(1).normal(size=(50, 3))
    theta, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    optimiser = adam()
    parameters, state = np.zeros(3), optimiser.init(np.zeros(3))
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        theta = theta - alpha * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        step, state = optimiser.update(g, state, alpha)
        parameters = parameters + step
        assert parameters == pytest.approx(theta, rel=1e-12)
    first, _ = optimiser.update(np.array([1e-3]), optimiser.init(np.zeros(1)), alpha)
    assert first[0] == pytest.approx(
        -alpha, rel=1e-4
    )  # the first step has the size of the rate, whatever the gradient


def test_momentum_sums_the_past_gradients() -> None:
    gradients = np.random.default_rng(2).normal(size=20)
    optimiser = momentum(0.9)
    state = optimiser.init(np.zeros(1))
    for t, gradient in enumerate(gradients):
        step, state = optimiser.update(np.array([gradient]), state, 0.1)
        expected = -0.1 * sum(0.9 ** (t - k) * gradients[k] for k in range(t + 1))
        assert step[0] == pytest.approx(expected, rel=1e-12)


def test_sgd_goes_downhill() -> None:
    step, _ = sgd().update(np.array([2.0, -1.0]), sgd().init(np.zeros(2)), 0.1)
    assert step.tolist() == [-0.2, 0.1]


def test_the_learning_rate_halves_after_its_decay() -> None:
    assert [learning_rate(0.1, 25.0, i) for i in (0, 25, 75)] == pytest.approx([0.1, 0.05, 0.025])
    assert learning_rate(0.1, None, 10**6) == 0.1
    path = descent(decay_iterations=2.0)
    rates = []
    for _ in range(3):
        rates.append(path.learning_rate)
        path.update([0.0])
    assert rates == pytest.approx([0.1, 0.1 / 1.5, 0.05])


def test_the_radius_moves_in_its_logarithm() -> None:
    path = descent(start=0.8)
    path.update([2.0])
    assert path.values[0] == pytest.approx(0.8 * math.exp(-0.1 * 0.8 * 2.0), rel=1e-14)
    assert path.iteration == 1


@pytest.mark.parametrize(("gradient", "bound"), [(1e6, 0.3), (-1e6, 1.7)])
def test_the_radius_stays_within_its_bounds(gradient: float, bound: float) -> None:
    path = descent(minimum=0.3, maximum=1.7)
    for _ in range(5):
        path.update([gradient])
        assert path.values[0] == bound  # exactly, and not a rounding of it beyond
        assert 0.3 <= path.average[0] <= 1.7
    path.update(-1e-3 * gradient)  # and it comes away from there
    assert path.values[0] != bound


def test_the_average_is_the_geometric_mean_since_its_start() -> None:
    path, radii = descent("adam", averaging_start=3), []
    for gradient in np.random.default_rng(3).normal(size=12):
        radii.append(path.values[0])
        path.update([float(gradient)])
        since = radii[3:] or radii[-1:]
        assert path.average[0] == pytest.approx(float(np.exp(np.mean(np.log(since)))), rel=1e-14)
    assert descent().average[0] == 1.0  # before the first step: the start


def test_it_stands_still_at_two_checks_in_a_row() -> None:
    def flags(gradients: list[float], start: int) -> list[int]:
        path = descent(tolerance=1e-3, averaging_start=start)
        found = []
        for gradient in gradients:
            path.update([gradient])
            if path.converged:
                found.append(path.iteration)
        return found

    first = 2 * CHECK_EVERY + 1
    assert flags([0.0] * 100, 0) == [first, first + CHECK_EVERY, first + 2 * CHECK_EVERY]
    assert flags([0.0] * 60, 10) == [first + 10]
    assert flags([0.5] * 100, 0) == []
    # It moves at first: still between the two latest checks is not enough, it has to be still twice.
    moved = [-0.5] * 5 + [0.0] * 2000
    radii = []
    path = descent(tolerance=1e-3)
    for gradient in moved:
        path.update([gradient])
        radii.append(path.average[0])
    checks = radii[::CHECK_EVERY]
    still = [abs(b - a) < 1e-3 for a, b in itertools.pairwise(checks)]
    expected = next(k for k in range(1, len(still)) if still[k] and still[k - 1])
    assert expected > 2
    assert flags(moved, 0)[0] == (expected + 1) * CHECK_EVERY + 1


def test_without_a_tolerance_it_never_stops_by_itself() -> None:
    path = descent()
    for _ in range(200):
        path.update([0.0])
        assert not path.converged


def test_the_curvature_of_a_cubic_is_found() -> None:
    radii = np.linspace(0.3, 1.2, 10)
    x = radii - 0.71
    loss = 0.2 + 0.03 * x + 1.7 * x**2 - 0.9 * x**3
    curvature, error = curvature_at(0.71, radii, loss, np.full(10, 0.01))
    assert curvature == pytest.approx(2 * 1.7, rel=1e-9)
    near, coefficients, covariance = curvature_fit(0.71, radii, loss, np.full(10, 0.01))
    assert sorted(near) == [1, 2, 3, 4, 5, 6, 7]  # the seven nearest
    assert coefficients[::-1] == pytest.approx([0.2, 0.03, 1.7, -0.9], rel=1e-9)
    assert error == pytest.approx(2 * math.sqrt(covariance[1, 1]))


def test_the_error_of_the_curvature_is_the_spread_over_noise() -> None:
    rng = np.random.default_rng(4)
    radii, errors = np.linspace(0.4, 1.0, 7), np.linspace(0.01, 0.03, 7)
    loss = 0.2 + 1.5 * (radii - 0.7) ** 2
    found = [
        curvature_at(0.7, radii, loss + errors * rng.normal(size=7), errors) for _ in range(300)
    ]
    curvatures, claimed = np.array(found).T
    assert curvatures.mean() == pytest.approx(3.0, abs=5 * claimed[0] / math.sqrt(300))
    assert curvatures.std() == pytest.approx(claimed[0], rel=5 / math.sqrt(2 * 300))


@pytest.mark.parametrize("bad", [math.nan, 0.0])
def test_points_without_an_error_are_left_out(bad: float) -> None:
    radii = np.linspace(0.4, 1.0, 7)
    errors = np.full(7, 0.01)
    loss = radii**2
    errors[3], loss[3] = bad, 77.0
    assert curvature_at(0.7, radii, loss, errors)[0] == pytest.approx(2.0)
    errors[:4] = bad
    assert all(math.isnan(x) for x in curvature_at(0.7, radii, loss, errors))


@pytest.mark.parametrize("spacing", [1e-1, 1e-2, 1e-3, 1e-5, 1e-9, 1e-15])
@pytest.mark.parametrize("first", [0.0, 0.01, 0.2, 0.7, 3.0])
def test_radii_too_close_to_each_other_leave_the_curvature_undetermined(
    first: float, spacing: float
) -> None:
    """No LinAlgError, no square root of a negative number: right to its error, or NaN."""
    radii = 0.7 + first + spacing * np.arange(7)
    errors = np.full(7, 1e-3)
    curvature, error = curvature_at(0.7, radii, 2.0 * (radii - 0.7) ** 2, errors)
    if first <= spacing or (first, spacing) == (0.2, 1e-1):
        assert abs(curvature - 4.0) < 1e-3 * error
    else:
        assert math.isnan(curvature) == math.isnan(error)
        assert math.isnan(curvature) or abs(curvature - 4.0) < error
    if spacing <= 1e-3 and first >= 0.2:
        assert math.isnan(curvature)
