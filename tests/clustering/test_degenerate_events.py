"""Trees of events that leave no choice or a strange one: identical, opposite, few or infinitely rigid particles."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy
from brute_force import (
    BEAM,
    Floats,
    Setting,
    event_of,
    shipped_events,
    to_batch,
    walk,
)
from steps import (
    ASYMMETRIES,
    OTHER_TWIN,
    OTHERS,
    POWERS,
    RADII,
    RIGIDITIES,
    SIZES,
    TWIN,
    assert_step,
    assert_sums,
    event_near,
    spread_steps,
)

from djservice.clustering.cluster import cluster
from djservice.clustering.radius import VariableR
from djservice.errors import ClusteringError

DUPLICATES = {
    "two": ([TWIN] * 2, 1),
    "three": ([TWIN] * 3, 3),
    "four": ([TWIN] * 4, 6),
    "two pairs": ([TWIN] * 2 + [OTHER_TWIN] * 2, 2),
    "two and three": ([TWIN] * 2 + [OTHER_TWIN] * 3, 4),
}
SEVERAL = {name: case for name, case in DUPLICATES.items() if case[1] > 1}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", DUPLICATES)
def test_identical_particles_merge_first_and_without_score(
    name: str, power: float, asymmetry: float | None
) -> None:
    twins, choices = DUPLICATES[name]
    event = np.array([*twins, *OTHERS])
    for rigidity in RIGIDITIES:
        setting = Setting(0.4, rigidity, power, asymmetry)
        trees = cluster(
            to_batch([event]), **setting.arguments, trees=3, seed=11, history=True, trace=True
        )
        assert np.isfinite(trees.score).all() and np.isfinite(trees.log_prob).all()
        for tree in range(3):
            trace, history = trees.trace_of(0, tree), trees.history_of(0, tree)
            assert trace["minimum"][0] == 0 and trace["scale"][0] == 0 and trace["score"][0] == 0
            assert trace["norm"][0] == trace["options"][0] == choices
            assert trace["probability"][0] == pytest.approx(1 / choices, rel=1e-15)
            first, second = sorted(history[0].tolist())
            assert first >= 0 and event[first].tolist() == event[second].tolist()
            assert_sums(trees, tree)
            for t, step, drawn in walk(event, history, setting):
                assert_step(trace[t], step, drawn, f"{setting}, tree {tree}, step {t}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
def test_simulated_particles_at_one_point(asymmetry: float | None) -> None:
    """They occur in files of reduced precision, where massless."""
    events = shipped_events("ZHllbb_1000.root", massless=True)
    at = np.stack(
        [np.repeat(np.arange(len(events)), events.counts), events.rapidity, events.phi], axis=1
    )
    places, count = np.unique(at, axis=0, return_counts=True)
    twice = places[count > 1, 0].astype(int)
    assert len(twice) > 0
    batch = events.select([twice[events.counts[twice].argmin()]])
    for power, rigidity in itertools.product(POWERS, (0.1, 100.0)):
        setting = Setting(0.4, rigidity, power, asymmetry)
        trees = cluster(batch, **setting.arguments, trees=1, seed=1, history=True, trace=True)
        trace = trees.trace_of(0, 0)
        assert trace["minimum"][0] == 0 and trace["norm"][0] == 1 and trace["score"][0] == 0
        for t, step, drawn in walk(event_of(batch, 0), trees.history_of(0, 0), setting):
            assert_step(trace[t], step, drawn, f"{setting}, step {t}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scale", ("minimum", "safe"))
@pytest.mark.parametrize("name", SEVERAL)
def test_zero_distances_are_equally_likely(name: str, scale: str) -> None:
    twins, choices = SEVERAL[name]
    draws = 6000
    batch = to_batch([[*twins, *OTHERS]])
    sample = cluster(
        batch, radius=0.7, rigidity=1.0, power=-1.0, trees=draws, seed=5, scale=scale, history=True
    )
    first = [tuple(sorted(sample.history_of(0, tree)[0].tolist())) for tree in range(draws)]
    counts = [first.count(pair) for pair in sorted(set(first))]
    assert len(counts) == choices
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", DUPLICATES)
def test_identical_particles_at_infinite_rigidity(name: str, power: float) -> None:
    event = np.array([*DUPLICATES[name][0], *OTHERS])
    trees = cluster(
        to_batch([event]), radius=0.4, rigidity=math.inf, power=power, jets=len(event), history=True
    )
    assert (trees.log_prob == 0).all()
    for _, step, drawn in walk(event, trees.history_of(0, 0), Setting(0.4, math.inf, power)):
        assert step.q[drawn] <= step.minimum + step.error[drawn] + step.minimum_error


# the deterministic limit


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("radius", RADII)
def test_infinite_rigidity_takes_the_smallest_distance(radius: float, power: float) -> None:
    setting = Setting(radius, math.inf, power)
    for size, (_, wanted) in SIZES.items():
        batch = event_near(size)
        trees = cluster(batch, radius=radius, rigidity=math.inf, power=power, history=True)
        assert trees.log_prob.shape == (1, 1) and trees.log_prob[0, 0] == 0
        history = trees.history_of(0, 0)
        for _, step, drawn in walk(
            event_of(batch, 0), history, setting, spread_steps(len(history), wanted, seed=1)
        ):
            assert step.q[drawn] <= step.minimum + step.error[drawn] + step.minimum_error


def test_infinite_rigidity_has_no_score() -> None:
    trees = cluster(event_near(30), radius=0.7, rigidity=math.inf, power=-1.0)
    with pytest.raises(ClusteringError):
        _ = trees.score


# degenerate events


def test_empty_and_single_particle_events() -> None:
    batch = to_batch([np.empty((0, 4)), [[5.0, 0.3, 1.0, 0.2]], [TWIN, *OTHERS]])
    trees = cluster(
        batch,
        radius=0.7,
        rigidity=1.0,
        power=-1.0,
        trees=4,
        jets=2,
        seed=3,
        history=True,
        trace=True,
    )
    assert trees.n_jets[:2].tolist() == [[0] * 4, [1] * 4]
    assert (trees.score[:2] == 0).all() and (trees.log_prob[:2] == 0).all()
    assert np.isnan(trees.jets.pt[0]).all() and np.isnan(trees.jets.pt[1, :, 1]).all()
    assert trees.jets.pt[1, :, 0] == pytest.approx([5.0] * 4, rel=1e-14)
    assert trees.jets.mass[1, :, 0] == pytest.approx([0.2] * 4, rel=1e-10)
    assert trees.history_of(0, 0).shape == (0, 2)
    assert trees.history_of(1, 0).tolist() == [[0, BEAM]]
    assert trees.trace_of(1, 0)["norm"].tolist() == [1.0]


def opposite_pair() -> Floats:
    """Two particles whose transverse momenta cancel exactly."""
    for phi in np.linspace(-3, -0.1, 500):
        other = phi + math.pi
        cancel = [m.cos(phi) == -m.cos(other) and m.sin(phi) == -m.sin(other) for m in (math, np)]
        if all(cancel):
            return np.array([[1.0, 0.0, phi, 0.0], [1.0, 0.0, other, 0.0]])
    raise AssertionError("no such pair of angles")


@pytest.mark.timeout(300)
def test_a_sum_without_pt_is_an_error_that_names_the_event() -> None:
    batch = to_batch([[[5.0, 0.3, 1.0, 0.2]], opposite_pair()], source="cancels.root")
    with pytest.raises(ClusteringError, match=r"cancels\.root, entry 1"):
        cluster(batch, radius=1.0, rigidity=0.1, power=-1.0, trees=200, seed=3)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", (0.0, 1.0))
def test_a_sum_without_pt_is_no_error_where_its_distance_is_defined(power: float) -> None:
    batch = to_batch([opposite_pair()])
    trees = cluster(batch, radius=1.0, rigidity=0.1, power=power, trees=200, seed=3, history=True)
    assert np.isfinite(trees.score).all() and np.isfinite(trees.log_prob).all()
    merged = trees.n_jets[0] == 1
    assert 20 < merged.sum() < 180
    assert (trees.jets.pt[0, merged, 0] == 0).all()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("power", (0.0, 0.5, 1.0))
def test_an_infinite_variable_radius_is_an_error_that_names_the_event(power: float) -> None:
    batch = to_batch([[[5.0, 0.3, 1.0, 0.2]], opposite_pair()], source="cancels.root")
    settings: dict[str, Any] = {"rigidity": 0.1, "power": power, "trees": 200, "seed": 3}
    with pytest.raises(
        ClusteringError, match=r"cancels\.root, entry 1.*add up to pT = 0.*finite radius_max"
    ):
        cluster(batch, radius=VariableR(20.0), **settings)
    assert (cluster(batch, radius=VariableR(20.0, 0.1, 1.5), **settings).n_jets > 0).all()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("pt", "power"), [(1e-170, -1.0), (1e-40, -4.0)])
def test_a_distance_that_overflows_is_an_error_that_names_the_event(
    pt: float, power: float
) -> None:
    with pytest.raises(ClusteringError, match=r"all distances that are left are infinite"):
        cluster(
            to_batch([[[pt, 0.0, 0.0, 0.0], [5.0, 3.0, 1.0, 0.0]]]),
            radius=0.5,
            rigidity=1.0,
            power=power,
        )
