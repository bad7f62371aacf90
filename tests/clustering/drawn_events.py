"""Events and settings that hypothesis draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from brute_force import Floats
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

few = settings(
    max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)
powers = st.sampled_from([-1.0, -0.5, 0.0, 1.0])
radii = st.floats(0.2, 1.5)
rigidities = st.sampled_from([0.1, 1.0, 10.0, 1e3])
scales = st.sampled_from(["minimum", "safe"])


def random_event(n: int, seed: int) -> Floats:
    """(pt, rapidity, phi, mass) of n particles: a steep spectrum, some in two clusters, some massless."""
    random = np.random.default_rng(seed)
    pt = 0.5 * random.pareto(1.5, n) + 0.5
    jet = random.integers(0, 4, n)
    rapidity = np.where(jet < 2, 0.8 * jet + random.normal(0, 0.3, n), random.uniform(-4, 4, n))
    phi = np.where(
        jet < 2, 2.9 * jet + random.normal(0, 0.3, n), random.uniform(-math.pi, math.pi, n)
    )
    return np.stack([pt, rapidity, phi, random.choice([0.0, 0.13957, 0.493], n)], axis=1)


def components(jets: Any) -> Floats:
    """(px, py, pz, E) along the last axis."""
    return np.stack([jets.px, jets.py, jets.pz, jets.E], axis=-1)


def assert_same_bits(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(a.n_jets, b.n_jets)
    np.testing.assert_array_equal(a.score, b.score)
    np.testing.assert_array_equal(a.log_prob, b.log_prob)
    np.testing.assert_array_equal(components(a.jets), components(b.jets))


def histories(trees: Any, trees_per_event: int) -> np.ndarray:
    """Histories of a one-event batch, shape (tree, n, 2)."""
    return np.array([trees.history_of(0, tree) for tree in range(trees_per_event)])
