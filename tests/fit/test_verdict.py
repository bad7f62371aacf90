"""When the end of a fit is called an optimum."""

import math
from typing import Any

import numpy as np
import pytest

from djservice.config.run import Run
from djservice.evaluation.moments import Quantity
from djservice.fit.newton import Newton
from djservice.fit.verdict import objections

#: Error of dL/dR from the events and from the trees.
EVENTS, TREES = 0.05, 0.01


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_events_that_are_held_back_have_a_gradient_of_their_own(share: float) -> None:
    """R is the root over the others, so dL/dR over all events scatters by sqrt(share) of their error."""
    objective: dict[str, Any] = {"kind": "mutual_information", "bins": [4, 4], "held_back": share}
    run = Run.from_dict(
        {"input": {"files": "a", "truth": "b"}, "objective": objective, "output": {"store": "a"}}
    )
    rng, both = np.random.default_rng(1), math.hypot(EVENTS, TREES)
    scan = {"radius": [0.5, 0.9], "loss": [2.0, 2.0], "loss_error": [0.1, 0.1]}
    refused = 0
    for _ in range(200):
        newton = Newton(0.7, 0.1, 2.0, lambda radius: (1.0, 0.1))
        while not newton.ended:
            newton.update(Quantity(newton.radius - 0.7 + TREES * rng.normal(), both, TREES))
        gradient = newton.radius - 0.7 + TREES * rng.normal()
        gradient += math.sqrt(share) * EVENTS * rng.normal()
        optimum = {
            "loss": 1.0,
            "gradient": gradient,
            "gradient_error": both,
            "gradient_tree_error": TREES,
        }
        refused += bool(objections(run, newton, 1.0, optimum, scan))
    assert refused <= 4  # 0.3 % of normal numbers are beyond three errors
