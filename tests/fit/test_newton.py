"""Newton's steps to the root of dL/dR, on gradients that are known up to their noise."""

import math

import numpy as np
import pytest

from djservice.evaluation.moments import Quantity
from djservice.fit.newton import SHARE, Newton
from djservice.store.columns import NEWTON_STEPS

#: dL/dR = SLOPE (R - ROOT); its errors from the events and from the trees.
SLOPE, ROOT, EVENTS, TREES = 2.0, 0.7, 0.05, 0.03


def steps(
    start: float, seed: int, slope: float = SLOPE, trees: float = TREES, events: float = EVENTS
) -> Newton:
    rng = np.random.default_rng(seed)
    newton = Newton(start, 0.1, 2.0, lambda radius: (slope, 0.1 * abs(slope)))
    while not newton.ended:
        value = SLOPE * (newton.radius - ROOT) + trees * rng.normal()
        newton.update(Quantity(value, math.hypot(events, trees), trees))
    return newton


@pytest.mark.parametrize("slope", [SLOPE, 1.2 * SLOPE])
def test_the_root_is_reached_from_far_with_errors_that_are_true(slope: float) -> None:
    """Also with a curvature that is wrong by a fifth, two of its errors."""
    ends = [steps(start, seed, slope) for seed in range(100) for start in (0.3, 0.72, 1.6)]
    assert all(newton.settled for newton in ends)
    errors = [newton.errors for newton in ends]
    for error in errors:
        assert error is not None
        assert error.trees <= SHARE * error.events
        assert error.events == pytest.approx(EVENTS / slope)
        assert error.total == pytest.approx(math.hypot(error.events, error.trees, error.optimiser))
    pulls = np.array(
        [
            (newton.radius - ROOT) / math.hypot(error.trees * slope / SLOPE, error.optimiser)
            for newton, error in zip(ends, errors, strict=True)
            if error is not None
        ]
    )
    assert abs(pulls.mean()) < 4 * pulls.std() / math.sqrt(len(pulls))
    assert abs(pulls.std() - 1.0) < 4 / math.sqrt(2 * len(pulls)) or (
        slope > SLOPE and pulls.std() < 1.2
    )


def test_few_trees_take_more_steps() -> None:
    assert steps(0.7, 1, trees=0.001).evaluations == 2
    assert steps(0.7, 1).evaluations == math.ceil((TREES / EVENTS / SHARE) ** 2)
    end = steps(0.7, 1, trees=0.4)
    assert end.evaluations == NEWTON_STEPS and not end.settled and not end.obstacle


@pytest.mark.parametrize("trees", [0.2, 0.4])
def test_noise_of_few_trees_is_no_distance_from_the_root(trees: float) -> None:
    """Each evaluation alone would move R by 0.1 or 0.2, beyond a tenth of R."""
    ends = [steps(start, seed, trees=trees) for seed in range(100) for start in (0.3, 0.72, 1.6)]
    errors = [newton.errors for newton in ends if newton.errors is not None]
    assert len(errors) == len(ends)
    pulls = np.array(
        [
            (newton.radius - ROOT) / math.hypot(error.trees, error.optimiser)
            for newton, error in zip(ends, errors, strict=True)
        ]
    )
    assert abs(pulls.mean()) < 4 * pulls.std() / math.sqrt(len(pulls))
    assert abs(pulls.std() - 1.0) < 4 / math.sqrt(2 * len(pulls))


def test_steps_that_reach_no_root_say_so() -> None:
    newton = Newton(1.0, 0.01, 100.0, lambda radius: (1.0, 0.1))
    while not newton.ended:  # it runs away before them
        newton.update(Quantity(-10.0, 0.1, 0.05))
    assert newton.errors is None and not newton.obstacle
    assert newton.failure == "12 Newton steps did not reach a root of dL/dR over all events"


@pytest.mark.parametrize(
    ("curvature", "error", "obstacle"),
    [
        ((-1.0, 0.1), 0.1, "-1.000 +- 0.100, is not clearly positive"),
        ((1.0, 0.6), 0.1, "1.000 +- 0.600, is not clearly positive"),
        ((math.nan, math.nan), 0.1, "does not determine the curvature"),
        ((1.0, 0.1), math.nan, "has no error"),
        ((1.0, 0.1), 0.0, "has no error"),
        ((1.0, 0.1), 0.01, "beyond the bound R = 2"),
    ],
)
def test_what_leads_to_no_root_is_named(
    curvature: tuple[float, float], error: float, obstacle: str
) -> None:
    newton = Newton(1.9, 0.1, 2.0, lambda radius: curvature)
    while not newton.ended:
        newton.update(Quantity(-0.5, error, error / 2))
    assert obstacle in newton.obstacle
    assert newton.errors is None


@pytest.mark.parametrize("last", [Quantity(math.nan, math.nan, math.nan), None])
def test_an_obstacle_after_a_step_near_the_root_leaves_no_error(last: Quantity | None) -> None:
    near, far = (1.0, 0.1), (0.1, 0.2)
    newton = Newton(0.52, 0.1, 2.0, lambda radius: near if radius > 0.5 or last else far)
    newton.update(Quantity(0.03, 0.04, 0.02))
    assert newton.errors is not None
    newton.update(last or Quantity(0.03, 0.04, 0.02))
    assert newton.obstacle and newton.errors is None
    assert newton.errors is None and not newton.settled
