"""What is asked of kernels: ways of growing trees, and small events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import djservice as dj

FIELDS = ("momenta", "scores", "numbers", "history", "trace", "flips")


def some_events(*counts: int) -> Any:
    """Events of so many particles, in two clouds."""
    random, total = np.random.default_rng(5), sum(counts)
    return dj.EventBatch.from_arrays(
        pt=random.exponential(10.0, total) + 0.5,
        rapidity=random.normal(0.0, 1.0, total),
        phi=random.normal(0.0, 0.7, total) + np.where(random.random(total) < 0.5, 0.0, 2.0),
        mass=np.full(total, 0.1),
        offsets=np.cumsum([0, *counts]),
    )


WAYS: dict[str, dict[str, Any]] = {
    "histories and traces": {"history": True, "trace": True},
    "more jets": {"jets": 5},
    "rigid": {"rigidity": 50.0, "trace": True},
    "deterministic": {"rigidity": math.inf, "history": True},
    "kT": {"power": 1.0},
    "Cambridge": {"power": 0.0},
    "another power": {"power": -0.5},
    "safe scale": {"scale": "safe"},
    "variable R": {"radius": dj.VariableR(20.0, 0.1, 1.5)},
    "R of each event": {"radius": [0.4, 0.8, 1.2]},
    "all scores": {"parameters": ("radius", "rigidity", "power")},
    "states": {"states": True, "settled_pt": 5.0},
    "states and all scores": {"states": True, "parameters": ("rigidity", "radius")},
    "stopped": {"settled_pt": 30.0},
    "a flip": {"flips": True},
    "all flips": {"flips": "all"},
    "further trees": {"first_tree": 7, "iteration": 3, "stream": "scan"},
}

#: Ways of differentiating trees in their particles.
INPUT_WAYS: dict[str, dict[str, Any]] = {
    "published": {},
    "safe scale": {"scale": "safe"},
    "variable R": {"radius": dj.VariableR(20.0, 0.1, 1.5)},
    "kT": {"power": 1.0},
    "stopped": {"settled_pt": 5.0},
    "deterministic": {"rigidity": math.inf},
}
