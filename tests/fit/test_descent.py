"""The path of the radius and the optimisers, each against a straightforward recomputation."""

import itertools
import math

import numpy as np
import pytest

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
