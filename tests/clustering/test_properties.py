"""What must hold for any event: conservation, and draws that depend on nothing but the event."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from brute_force import (
    event_of,
    final_jets,
    shipped_events,
    to_batch,
)
from drawn_events import (
    assert_same_bits,
    components,
    few,
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
from djservice.events.batch import EventBatch


@few
@given(n=sizes, seed=seeds, power=powers, radius=radii, rigidity=rigidities, scale=scales)
def test_four_momentum_is_conserved_and_jets_are_what_the_history_says(
    n: int, seed: int, power: float, radius: float, rigidity: float, scale: str
) -> None:
    event = random_event(n, seed)
    batch = to_batch([event])
    trees = cluster(
        batch,
        radius=radius,
        rigidity=rigidity,
        power=power,
        trees=3,
        jets=n,
        seed=3,
        scale=scale,
        history=True,
    )
    objects, _ = final_jets(event, [])
    total = objects.four_momenta(np.arange(n)).sum(axis=0)
    for tree in range(3):
        found = components(trees.jets[0, tree])
        np.testing.assert_array_equal(np.isnan(found[:, 0]), np.arange(n) >= trees.n_jets[0, tree])
        np.testing.assert_allclose(
            np.nansum(found, axis=0), total, rtol=1e-12, atol=1e-12 * total[3]
        )
        objects, ids = final_jets(event, trees.history_of(0, tree))
        expected = objects.four_momenta(ids)
        expected = expected[np.argsort(-np.hypot(expected[:, 0], expected[:, 1]))]
        np.testing.assert_allclose(found[: len(ids)], expected, rtol=1e-10, atol=1e-12 * total[3])


@pytest.mark.parametrize("rigidity", [0.1, 1.0])
def test_each_real_event_alone_keeps_its_momentum(rigidity: float) -> None:
    """Alone, so that each begins with fresh work space, which the larger events outgrow in the middle of a tree."""
    events = shipped_events()
    for i, n in enumerate(events.counts):
        event = events.select([i])
        trees = cluster(
            event,
            radius=0.4,
            rigidity=rigidity,
            power=-1.0,
            trees=3,
            jets=int(n),
            seed=1,
            threads=1,
        )
        found = components(trees.jets[0])
        np.testing.assert_array_equal(
            np.isfinite(found[..., 0]).sum(axis=1), trees.n_jets[0], err_msg=f"event {i}"
        )
        objects, _ = final_jets(event_of(event, 0), [])
        total = objects.four_momenta(np.arange(n)).sum(axis=0)
        for tree in found:
            np.testing.assert_allclose(
                np.nansum(tree, axis=0), total, atol=1e-12 * total[3], err_msg=f"event {i}"
            )


@few
@given(
    n=st.integers(2, 30), seed=seeds, power=st.sampled_from([-1.0, -0.5, 1.0]), radius=radii
)  # at p = 0 beams tie
def test_the_limit_of_infinite_rigidity_is_continuous(
    n: int, seed: int, power: float, radius: float
) -> None:
    """The deterministic history has a probability that tends to 1."""
    batch = to_batch([random_event(n, seed)])
    history = cluster(batch, radius=radius, rigidity=math.inf, power=power, history=True).history
    log_prob = [
        replay(batch, history, radius=radius, rigidity=rigidity, power=power).log_prob[0, 0]
        for rigidity in (1e3, 1e6, 1e9, 1e12)
    ]
    # A step in which two distances agree to a part e is decided at rigidities above 1/e.
    assert log_prob[-1] > -1e-3
    assert all(late >= early - 1e-9 for early, late in pairwise(log_prob))


@pytest.mark.parametrize("scale", ("minimum", "safe"))
def test_draws_do_not_depend_on_how_events_are_grouped(scale: str) -> None:
    events = shipped_events()
    some = np.array([9, 3, 38, 0, 16])
    arguments: dict[str, Any] = {
        "rigidity": 1.0,
        "power": -1.0,
        "trees": 6,
        "seed": 4,
        "jets": 3,
        "scale": scale,
    }
    together = cluster(events.select(np.sort(some)), radius=0.6, **arguments)
    shuffled = cluster(events.select(some), radius=np.full(len(some), 0.6), **arguments)
    place = {int(event): row for row, event in enumerate(np.sort(some))}
    rows = [place[int(event)] for event in some]
    np.testing.assert_array_equal(shuffled.score, together.score[rows])
    np.testing.assert_array_equal(shuffled.log_prob, together.log_prob[rows])
    np.testing.assert_array_equal(components(shuffled.jets), components(together.jets)[rows])
    for row, event in enumerate(some):
        alone = cluster(events.select([event]), radius=0.6, **arguments)
        np.testing.assert_array_equal(alone.score[0], shuffled.score[row])
        np.testing.assert_array_equal(components(alone.jets)[0], components(shuffled.jets)[row])
    mixed = cluster(
        EventBatch.concatenate([events.select([0]), events.select([9])]), radius=0.6, **arguments
    )
    np.testing.assert_array_equal(mixed.score, together.score[[place[0], place[9]]])


def test_more_trees_begin_with_the_same_trees() -> None:
    events = shipped_events().select([9, 38])
    arguments: dict[str, Any] = {"radius": 0.6, "rigidity": 0.5, "power": -1.0, "jets": 3}
    few_trees, many = (cluster(events, **arguments, trees=trees, seed=4) for trees in (7, 50))
    np.testing.assert_array_equal(many.score[:, :7], few_trees.score)
    np.testing.assert_array_equal(components(many.jets)[:, :7], components(few_trees.jets))
    other = cluster(events, **arguments, trees=7, seed=5)
    assert (other.score != few_trees.score).mean() > 0.9
    assert len(np.unique(many.score[0])) > 40


def test_threads_do_not_change_a_bit() -> None:
    events = shipped_events().select(np.arange(40))
    arguments: dict[str, Any] = {
        "radius": 0.6,
        "rigidity": 1.0,
        "power": -1.0,
        "trees": 5,
        "seed": 6,
        "jets": 3,
    }
    one, two = (cluster(events, **arguments, threads=threads) for threads in (1, 2))
    assert_same_bits(one, two)


def test_jets_asked_for_do_not_change_the_trees() -> None:
    events = shipped_events().select(np.arange(10))
    arguments: dict[str, Any] = {
        "radius": 0.6,
        "rigidity": 1.0,
        "power": -1.0,
        "trees": 5,
        "seed": 6,
    }
    one, five = (cluster(events, **arguments, jets=jets) for jets in (1, 5))
    plain = cluster(events, **arguments, jets=5, history=True, trace=True)
    np.testing.assert_array_equal(one.score, five.score)
    np.testing.assert_array_equal(components(one.jets)[..., 0, :], components(five.jets)[..., 0, :])
    assert_same_bits(five, plain)
