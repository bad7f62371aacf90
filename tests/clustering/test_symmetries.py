"""What must hold for any event: the order, the direction and the frame of its particles do not matter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brute_force import (
    BEAM,
    shipped_events,
    to_batch,
)
from drawn_events import (
    assert_same_bits,
    few,
    histories,
    powers,
    radii,
    random_event,
    rigidities,
    scales,
    seeds,
    sizes,
)
from hypothesis import given
from hypothesis import strategies as st

from djservice.clustering.cluster import cluster, replay
from djservice.events import augment


@pytest.mark.parametrize("power", (-1.0, 1.0))
def test_the_order_of_particles_of_equal_pt_does_not_matter(power: float) -> None:
    """Equal, and different by less than single precision."""
    random, n = np.random.default_rng(3), 40
    near = 3.0 * (1 + 1e-9 * random.integers(0, 5, n))
    pt = np.where(np.arange(n) < 20, 2.0, near)
    event = np.stack(
        [pt, random.uniform(-2, 2, n), random.uniform(-3, 3, n), random.choice([0, 0.139], n)],
        axis=1,
    )
    event[5, 1] = event[6, 1]
    order = random.permutation(n)
    arguments: dict[str, Any] = {
        "radius": 0.7,
        "rigidity": 1.0,
        "power": power,
        "trees": 5,
        "seed": 1,
        "jets": 4,
    }
    assert_same_bits(*(cluster(to_batch([each]), **arguments) for each in (event, event[order])))


@few
@given(n=sizes, seed=seeds, power=powers, radius=radii, rigidity=rigidities, scale=scales)
def test_the_order_of_the_particles_does_not_matter(
    n: int, seed: int, power: float, radius: float, rigidity: float, scale: str
) -> None:
    event = random_event(n, seed)
    order = np.random.default_rng(seed + 1).permutation(n)
    arguments = {
        "radius": radius,
        "rigidity": rigidity,
        "power": power,
        "trees": 5,
        "seed": 1,
        "scale": scale,
    }
    trees = cluster(to_batch([event]), **arguments, jets=4, history=True)
    moved = cluster(to_batch([event[order]]), **arguments, jets=4, history=True)
    assert_same_bits(trees, moved)
    # position of a particle in the one order -> in the other; sums and the beam keep their names
    name = np.concatenate([np.argsort(order), np.arange(n, 2 * n), [BEAM]])
    renamed = np.sort(name[histories(trees, 5)], axis=-1)
    np.testing.assert_array_equal(renamed, np.sort(histories(moved, 5), axis=-1))


@few
@given(
    n=sizes, seed=seeds, power=powers, radius=radii, angle=st.floats(-3, 3), boost=st.floats(-1, 1)
)
def test_rotations_and_boosts_move_the_jets_along(
    n: int, seed: int, power: float, radius: float, angle: float, boost: float
) -> None:
    event = random_event(n, seed)
    moved = event + np.array([0, boost, angle, 0])
    arguments = {"radius": radius, "rigidity": math.inf, "power": power, "jets": n}
    before, after = (cluster(to_batch([each]), **arguments) for each in (event, moved))
    count = before.n_jets[0, 0]
    assert after.n_jets[0, 0] == count
    a, b = before.jets[0, 0, :count], after.jets[0, 0, :count]
    np.testing.assert_allclose(b.pt, a.pt, rtol=1e-10)
    np.testing.assert_allclose(b.rapidity, a.rapidity + boost, rtol=0, atol=1e-9)
    turned = np.remainder(b.phi - a.phi - angle + math.pi, 2 * math.pi) - math.pi
    np.testing.assert_allclose(turned, 0, atol=1e-10)


def test_a_rotation_changes_the_score_only_of_trees_that_stop_elsewhere() -> None:
    """The bound on jets to come looks along axes that do not turn with the event."""
    events = shipped_events().select(range(20))
    turned = augment.augmented(events, [augment.Rotate(0.6)])
    arguments: dict[str, Any] = {"radius": 0.7, "rigidity": 1.0, "trees": 10, "settled_pt": 20.0}
    a, b = (cluster(each, **arguments) for each in (events, turned))
    np.testing.assert_allclose(b.jets.pt, a.jets.pt, rtol=1e-10)
    alike = a.steps == b.steps
    assert 0.8 < alike.mean() < 1.0
    np.testing.assert_allclose(b.scores[alike], a.scores[alike], rtol=1e-7, atol=1e-9)


@few
@given(
    n=sizes,
    seed=seeds,
    power=powers,
    radius=radii,
    rigidity=st.sampled_from([0.1, 1.0, 10.0]),
    scale=scales,
    angle=st.floats(-3, 3),
    boost=st.floats(-1, 1),
)
def test_rotations_and_boosts_leave_the_probability_of_a_history(
    n: int,
    seed: int,
    power: float,
    radius: float,
    rigidity: float,
    scale: str,
    angle: float,
    boost: float,
) -> None:
    event = random_event(n, seed)
    arguments = {"radius": radius, "rigidity": rigidity, "power": power, "scale": scale}
    trees = cluster(to_batch([event]), **arguments, trees=5, seed=2, history=True)
    moved = event + np.array([0, boost, angle, 0])
    again = replay(to_batch([moved]), histories(trees, 5), **arguments)
    np.testing.assert_allclose(again.log_prob, trees.log_prob, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(again.score, trees.score, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("change", [augment.Rotate(), augment.Rotate(3.0), augment.Translate()])
@pytest.mark.parametrize("scale", ("minimum", "safe"))
def test_symmetries_leave_each_probability(scale: Any, change: augment.Augmentation) -> None:
    events = shipped_events().select(range(8))
    setting: Any = {"radius": 0.7, "rigidity": 1.0, "scale": scale}
    trees = cluster(events, trees=3, history=True, **setting)
    assert trees.history is not None
    moved = change(events, seed=5)
    assert (
        np.abs(moved.phi - events.phi).max() + np.abs(moved.rapidity - events.rapidity).max() > 0.1
    )
    again = replay(moved, trees.history, **setting)
    np.testing.assert_allclose(again.log_prob, trees.log_prob, rtol=1e-12)
