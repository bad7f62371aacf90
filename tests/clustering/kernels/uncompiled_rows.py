"""Run by test_rows.py in a process of its own, where kernels are Python: rows of few pairs, and few of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from asked import some_events
from brute_force import Setting, event_of, walk
from input_tables import per_tree
from steps import OTHERS, TWIN, assert_step, assert_sums

import djservice as dj
from djservice.clustering.kernels import removal, rows, steps, tree
from djservice.clustering.sampling import Sampling
from djservice.events.batch import EventBatch

ROWS = {"ROW": 3, "PARTS": 4, "LARGE": 0}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows of few pairs, and how often what is rare has happened."""
    number: Counter[str] = Counter()
    for name, value in ROWS.items():
        monkeypatch.setattr(rows, name, value)

    def begins_row(ordered: bool, n_parts: int, dead: int) -> bool:
        number["no room for a row"] += dead >= rows.ROW and n_parts == rows.PARTS
        begins = rows.begins_row(True, n_parts, dead)  # in small events too
        number["rows"] += begins
        return begins

    def remove_from_row(workspace: Any, part: int, *given: Any) -> None:
        parts = workspace.parts
        before = int(parts.length[part])
        removal_from_row(workspace, part, *given)
        number["pairs lost to others"] += before - int(parts.length[part])
        number["emptied rows"] += before > 0 == parts.length[part]
        number["lost minima"] += parts.least[part] < 0.0

    def weigh_rows(workspace: Any, n_parts: int, weighed: int, *given: Any) -> float:
        number["new weights"] += weighed == 0
        number["kept weights"] += 1 < weighed <= n_parts
        return steps_weigh_rows(workspace, n_parts, weighed, *given)

    def refill(*given: Any) -> Any:
        number["refills with rows"] += number["rows"] > 0
        return steps_refill(*given)

    removal_from_row, steps_weigh_rows = removal._remove_from_row, steps.weigh_rows
    steps_refill = steps.refill
    monkeypatch.setattr(tree, "begins_row", begins_row)
    monkeypatch.setattr(removal, "_remove_from_row", remove_from_row)
    monkeypatch.setattr(steps, "weigh_rows", weigh_rows)
    monkeypatch.setattr(steps, "refill", refill)
    return number


@pytest.mark.parametrize("asymmetry", (None, 1.0), ids=("minimum", "safe"))
def test_every_step_with_rows_is_what_brute_force_finds(
    asymmetry: float | None, seen: Counter[str]
) -> None:
    for rigidity, power, particles in itertools.product((0.1, 3.0, 300.0), (-1.0, 1.0), (12, 30)):
        events, setting = some_events(particles), Setting(0.7, rigidity, power, asymmetry)
        trees = dj.cluster(
            events, **setting.arguments, trees=2, seed=2, history=True, trace=True, threads=1
        )
        for index in range(2):
            assert_sums(trees, index)
            trace = trees.trace_of(0, index)
            for t, step, drawn in walk(event_of(events, 0), trees.history_of(0, index), setting):
                assert_step(trace[t], step, drawn, f"{setting}, tree {index}, step {t}")
    expected = {
        "rows", "no room for a row", "pairs lost to others", "emptied rows", "lost minima", "new weights", "kept weights",
        "refills with rows",
    }  # fmt: skip
    assert {name for name, times in seen.items() if times > 5} == expected, seen


def test_particles_at_one_point_and_infinite_rigidity(
    seen: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    particles = np.array([*OTHERS, *[TWIN] * 9])
    pt, y, phi, mass = particles.T
    events = EventBatch.from_arrays(
        pt=pt, rapidity=y, phi=phi, mass=mass, offsets=[0, len(particles)]
    )
    for rigidity in (1.0, math.inf):
        ways = []
        for shortest in (3, 10_000):
            monkeypatch.setattr(rows, "ROW", shortest)
            for chosen in (events, some_events(40)):
                ways.append(
                    dj.cluster(chosen, radius=0.7, rigidity=rigidity, trees=20, seed=1, threads=1)
                )
        if math.isinf(rigidity):
            for one, other in zip(ways[:2], ways[2:], strict=True):
                np.testing.assert_array_equal(one.momenta, other.momenta)
        else:  # among pairs at distance 0 all are alike
            for one, other in zip(ways[:1], ways[2:3], strict=True):
                difference = one.log_prob.mean() - other.log_prob.mean()
                variance = (one.log_prob.var(ddof=1) + other.log_prob.var(ddof=1)) / 20
                assert abs(difference) < 4.0 * math.sqrt(variance)
    assert seen["rows"] > 20


@pytest.mark.parametrize("scale", ("minimum", "safe"))
def test_all_scores_of_a_history_are_the_same_without_rows(
    scale: Any, seen: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the particles and in all parameters."""
    events = some_events(40)
    setting: dict[str, Any] = {"radius": 0.7, "rigidity": 0.5, "scale": scale, "threads": 1}
    sampling = Sampling(0.5, scale=scale, device="cpu", threads=1)
    history = dj.cluster(events, **setting, history=True).history
    found = []
    for shortest in (3, 10_000):
        monkeypatch.setattr(rows, "ROW", shortest)
        trees = dj.replay(
            events, history, **setting, trace=True, parameters=("radius", "rigidity", "power")
        )
        slopes = [
            per_tree(events, 0.7, sampling, history=history, settled_pt=settled_pt)
            for settled_pt in (None, 150.0)  # stopped, a tree has pairs left at its end
        ]
        found.append((trees.scores, trees.trace, trees.log_prob, *slopes))
        assert seen["rows"] > 10
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * np.abs(other).max())


def test_what_is_asked_for_does_not_change_trees(
    seen: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And flips are drawn among all pairs, those of rows too: they lead to sums as often as without rows."""
    events, how = some_events(20), {"radius": 0.7, "rigidity": 0.3, "trees": 40, "threads": 1}
    plain: Any = dj.cluster(events, **how, history=True)  # type: ignore[arg-type]
    numbers = []
    for shortest in (3, 10_000):
        monkeypatch.setattr(rows, "ROW", shortest)
        for asked in ({"trace": True}, {"parameters": ("radius", "power")}, {"flips": "all"}):
            other: Any = dj.cluster(events, **how, history=True, **asked)  # type: ignore[arg-type]
            if shortest == 3:
                np.testing.assert_array_equal(plain.history, other.history)
                np.testing.assert_array_equal(plain.momenta, other.momenta)
        flips = other.flips[0]
        numbers.append(((flips[..., 2] >= 20) & (flips[..., 3] >= 0)).sum(axis=1))
    (one, with_error), (two, other_error) = (
        (number.mean(), number.std() / math.sqrt(40)) for number in numbers
    )
    assert abs(one - two) < 4.0 * math.hypot(with_error, other_error), (one, two)
    assert one > 10.0 * with_error and seen["rows"] > 100
