"""As in_simulator.py: the kernel that has a block of threads to each tree. Its draws are its own, so its trees are replayed."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asked import some_events

import djservice as dj
from djservice.cluster import Wanted
from djservice.device import simulator
from djservice.errors import ClusteringError

sys.setswitchinterval(1e-5)  # the simulator polls its threads


def team(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """So many threads grow a tree; and no tree is grown by the other kernel."""
    gpu = replace(simulator(), together=threads, threads=24)
    monkeypatch.setattr("djservice.device.simulator", lambda: gpu)
    monkeypatch.setattr("djservice.on_gpu._Portion._launch", None)


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    team(monkeypatch, 3)


@pytest.mark.parametrize(("threads", "setting"), [
    (1, {"rigidity": 1.0}), (8, {"rigidity": 20.0}), (3, {"rigidity": 1.0, "power": 1.0}),
    (3, {"rigidity": 0.1, "radius": [0.4, 1.2, 0.8, 0.8]}),
])  # fmt: skip
def test_trees_have_the_probability_the_score_and_the_jets_of_their_histories(
    threads: int, setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    team(monkeypatch, threads)
    events, how = some_events(8, 0, 13, 2), {"radius": 0.8, "jets": 3, **setting}
    trees = dj.cluster(events, **how, trees=2, seed=1, history=True, states=True, device="cuda")
    # What replays do not keep by themselves.
    with_states = lambda **what: Wanted(**{**what, "states": True})  # noqa: E731
    monkeypatch.setattr(sys.modules["djservice.cluster"], "Wanted", with_states)
    again = dj.replay(events, trees.history, **how, device="cpu")  # type: ignore[arg-type]
    np.testing.assert_allclose(trees.momenta, again.momenta, rtol=1e-12)
    np.testing.assert_allclose(trees.numbers, again.numbers, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(trees.scores, again.scores, rtol=1e-9, atol=1e-12)
    assert trees.states is not None and again.states is not None and len(trees.states.tree) > 8
    for name in ("momenta", "scores", "tree"):
        np.testing.assert_allclose(getattr(trees.states, name), getattr(again.states, name), rtol=1e-9, atol=1e-12)


def test_trees_are_as_frequent_as_they_are_probable() -> None:
    events, number = some_events(3), 400
    trees = dj.cluster(events, radius=0.8, rigidity=0.3, trees=number, seed=1, history=True, device="cuda")
    found = Counter(trees.history_of(0, k).tobytes() for k in range(number))
    probability = {trees.history_of(0, k).tobytes(): math.exp(trees.log_prob[0, k]) for k in range(number)}
    assert len(found) > 5
    for history, seen in found.items():
        p = probability[history]
        assert abs(seen - number * p) < 4 * math.sqrt(number * p * (1 - p)) + 1
    assert sum(probability.values()) == pytest.approx(1.0, abs=0.05)  # nearly all that there are


def test_stopped_trees_have_the_leading_jets_of_whole_ones() -> None:
    events, how = some_events(12, 9), {"radius": 0.8, "rigidity": 1.0, "trees": 2, "jets": 2, "seed": 4}
    whole, stopped = (dj.cluster(events, **how, settled_pt=pt, device="cuda") for pt in (None, 15.0))  # type: ignore[arg-type]
    hard = np.nan_to_num(np.hypot(whole.momenta[..., 0], whole.momenta[..., 1])) > 15.0
    np.testing.assert_array_equal(stopped.momenta[hard], whole.momenta[hard])
    assert hard.any() and (stopped.steps < whole.steps).any()


def test_objects_at_one_point_share_the_probability() -> None:
    pt, rapidity = np.array([2.0, 2.0, 2.0, 5.0]), np.array([0.3, 0.3, 0.3, 1.0])
    events = dj.EventBatch.from_arrays(pt=pt, rapidity=rapidity, phi=rapidity, mass=[0.0] * 4, offsets=[0, 4])
    trees = dj.cluster(events, radius=0.8, rigidity=1.0, trees=10, history=True, device="cuda")
    again = dj.replay(events, trees.history, radius=0.8, rigidity=1.0, device="cpu")  # type: ignore[arg-type]
    np.testing.assert_allclose(trees.log_prob, again.log_prob, rtol=1e-12)
    np.testing.assert_allclose(trees.score, again.score, rtol=1e-12, atol=1e-12)


def test_an_event_that_cannot_be_clustered_is_named() -> None:
    events = dj.EventBatch.from_arrays(
        pt=[1.0, 1.0, 0.01, 0.01], rapidity=[0.0] * 4, phi=[0.0, 0.0, 1.5, -1.5], mass=[0.0] * 4, offsets=[0, 2, 4]
    )
    with pytest.raises(ClusteringError, match=r"arrays, entry 1, tree 0: .* infinite"):
        dj.cluster(events, radius=0.8, rigidity=1.0, power=-400.0, device="cuda")
