"""Events and settings that several tests of steps share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brute_force import (
    Step,
    shipped_events,
)

from djservice.events.batch import EventBatch

RIGIDITIES = (0.1, 1.0, 10.0, 100.0, 1e4, 1e6)
POWERS = (-1.0, 0.0, 1.0, -0.5)
RADII = (0.4, 1.0)
ASYMMETRIES = (None, 1.0)
#: particles wanted: (trees, steps of each that are checked); brute force costs n^2 a step
SIZES = {30: (3, 30), 70: (1, 70), 140: (1, 45), 300: (1, 12)}


def event_near(particles: int) -> EventBatch:
    """The shipped event whose number of particles is nearest, as a batch of one event."""
    events = shipped_events()
    return events.select([int(np.abs(events.counts - particles).argmin())])


def spread_steps(n: int, wanted: int, seed: int) -> set[int]:
    """Steps to check: all of a small event; of a large one the first and the last few, and others drawn at random."""
    if wanted >= n:
        return set(range(n))
    ends = {0, 1, n // 2, n - 3}
    rest = np.random.default_rng(seed).choice(n - 1, wanted - len(ends), replace=False)
    return ends | set(rest.tolist())


def assert_step(got: Any, step: Step, drawn: int, where: str) -> None:
    """One row of the trace against brute force, within the rounding that the step's conditioning allows."""

    def near(name: str, value: float, expected: float, error: float) -> None:
        text = f"{where}: {name} {value!r}, expected {expected!r} within {error!r}"
        assert abs(value - expected) <= 1e-12 * abs(expected) + error, text

    near("minimum", got["minimum"], step.minimum, step.minimum_error)
    if (
        step.blurred.any()
    ):  # one of the distances of 0 is drawn; which of them count as 0 is up to rounding
        assert step.q[drawn] == 0 or step.blurred[drawn], where
        assert abs(got["score"]) < math.exp(-step.limit), where
        return
    near("scale", got["scale"], step.scale, step.scale_error)
    surely = int((step.exponent + step.exponent_error + 1e-9 <= step.limit).sum())
    perhaps = int((step.exponent - step.exponent_error - 1e-9 <= step.limit).sum())
    assert surely <= got["options"] <= perhaps, (
        f"{where}: {got['options']} options, expected {surely} to {perhaps}"
    )
    near("norm", got["norm"], step.norm, step.norm * step.norm_error)
    probability = step.probability[drawn]
    near(
        "probability", got["probability"], probability, probability * step.probability_error[drawn]
    )
    if not step.kink:
        # Options beyond the truncation may stay on the list with a weight of no more than e^-limit.
        beyond = math.exp(-step.limit)
        near(
            "score", got["score"], step.score_radius[drawn], step.score_radius_error[drawn] + beyond
        )


def assert_sums(trees: Any, tree: int) -> None:
    """The sums over the steps are the tree's."""
    trace = trees.trace_of(0, tree)
    scores, logs = trace["score"], np.log(trace["probability"])
    assert trees.score[0, tree] == pytest.approx(
        math.fsum(scores), rel=0, abs=1e-12 * (1e-3 + np.abs(scores).sum())
    )
    assert trees.log_prob[0, tree] == pytest.approx(
        math.fsum(logs), rel=0, abs=1e-12 * (1 + np.abs(logs).sum())
    )


# identical particles: a distance of zero


OTHERS = [
    [40.0, 0.4, -1.0, 0.1],
    [25.0, -0.8, 2.5, 0.0],
    [3.0, 0.45, -1.2, 0.14],
    [1.0, 1.9, 0.3, 0.5],
]
TWIN, OTHER_TWIN = [7.5, 0.3, -0.9, 0.14], [2.5, -1.1, 3.0, 0.0]
