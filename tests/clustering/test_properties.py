"""What must hold for any event: symmetries, conservation, and draws that depend on nothing but the event."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from brute_force import (
    BEAM,
    Floats,
    enumerate_trees,
    event_of,
    final_jets,
    shipped_events,
    to_batch,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from djservice import observables
from djservice.clustering.cluster import cluster, replay
from djservice.events import augment
from djservice.events.batch import EventBatch

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
    n=st.integers(2, 30),
    seed=seeds,
    power=powers,
    radius=radii,
    pieces=st.integers(2, 4),
    data=st.data(),
)
def test_collinear_splitting_changes_nothing_at_infinite_rigidity(
    n: int, seed: int, power: float, radius: float, pieces: int, data: st.DataObject
) -> None:
    event = random_event(n, seed)
    which = data.draw(st.integers(0, n - 1))
    shares = np.random.default_rng(seed).dirichlet(np.full(pieces, 2.0))
    parts = np.repeat(event[which : which + 1], pieces, axis=0)
    parts[:, [0, 3]] *= shares[:, None]
    split = np.concatenate([np.delete(event, which, axis=0), parts])
    before, after = (
        cluster(to_batch([each]), radius=radius, rigidity=math.inf, power=power, jets=n)
        for each in (event, split)
    )
    np.testing.assert_array_equal(before.n_jets, after.n_jets)
    largest = event[:, 0].sum() * np.cosh(event[:, 1]).max()
    np.testing.assert_allclose(
        components(after.jets), components(before.jets), rtol=1e-10, atol=1e-11 * largest
    )


TINY = np.array(
    [[60.0, 0.0, 0.0, 5.0], [40.0, 0.5, 2.6, 0.1], [20.0, -0.8, -1.0, 0.0], [15.0, 0.3, 1.4, 0.1]]
)


def exact_mean(event: Floats, rigidity: float, scale: str) -> float:
    """E[mass of the two leading jets] of a tiny event: every merge sequence, weighed by the kernel."""
    histories = list(enumerate_trees(event))
    masses = [
        objects.leading_mass(jets)
        for objects, jets in (final_jets(event, each) for each in histories)
    ]
    trees = replay(
        to_batch([event]), np.array(histories), radius=0.7, rigidity=rigidity, scale=scale
    )
    return math.fsum(np.exp(trees.log_prob[0]) * masses)


@pytest.mark.parametrize("scale", ("minimum", "safe"))
@pytest.mark.parametrize("rigidity", (0.1, 1.0, 10.0, 100.0))
@pytest.mark.parametrize("which", range(4))
def test_collinear_splitting_changes_nothing_at_any_rigidity(
    which: int, rigidity: float, scale: str
) -> None:
    """Neither into parts at one point nor into parts so near that the distance is not 0."""
    before = exact_mean(TINY, rigidity, scale)
    for apart in (0.0, 1e-7):
        parts = np.repeat(TINY[which : which + 1], 2, axis=0)
        parts[:, [0, 3]] *= np.array([[0.3], [0.7]])
        parts[0, 1] += apart
        after = exact_mean(np.concatenate([np.delete(TINY, which, axis=0), parts]), rigidity, scale)
        assert after == pytest.approx(before, rel=1e-11 + 10 * apart)


@pytest.mark.parametrize("rigidity", (0.1, 1.0, 10.0, 100.0))
def test_a_soft_particle_changes_nothing_with_the_safe_scale(rigidity: float) -> None:
    """Wherever it is, to what is left of its own momentum; with the published scale it does."""
    before = {scale: exact_mean(TINY, rigidity, scale) for scale in ("minimum", "safe")}
    shifts = {"minimum": 0.0, "safe": 0.0}
    for y, phi in ((0.2, 0.3), (0.55, 2.55), (-2.0, 0.7)):
        event = np.concatenate([TINY, [[60.0e-9, y, phi, 0.0]]])
        for scale in shifts:
            shifts[scale] = max(
                shifts[scale], abs(exact_mean(event, rigidity, scale) / before[scale] - 1)
            )
    assert shifts["safe"] < 1e-7
    assert rigidity > 1.0 or shifts["minimum"] > 1e-4


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


@pytest.mark.parametrize("scale", ("minimum", "safe"))
@pytest.mark.parametrize("law", ("uniform", "altarelli-parisi"))
def test_a_collinear_augmentation_leaves_the_distribution(scale: str, law: Any) -> None:
    split = augment.Collinear(1.0, law)(to_batch([TINY[:2]]), seed=2)
    assert len(split.pt) == 4
    after = exact_mean(event_of(split, 0), 1.0, scale)
    assert after == pytest.approx(exact_mean(TINY[:2], 1.0, scale), rel=1e-11)


def test_what_soft_particles_change_with_the_safe_scale_falls_with_their_pt() -> None:
    event, before = to_batch([TINY]), exact_mean(TINY, 1.0, "safe")
    shifts = [
        exact_mean(event_of(augment.Soft(1, pt_max)(event, seed=1), 0), 1.0, "safe") / before - 1.0
        for pt_max in (1e-3, 1e-5)
    ]
    assert shifts[0] / shifts[1] == pytest.approx(100.0, rel=1e-3)


@few
@given(n=st.integers(2, 30), seed=seeds, power=powers, radius=radii)
def test_a_soft_particle_changes_no_jet_at_infinite_rigidity(
    n: int, seed: int, power: float, radius: float
) -> None:
    event = random_event(n, seed)
    soft = np.array([[1e-12, *np.random.default_rng(seed).uniform(-2, 2, 2), 0.0]])
    before, after = (
        cluster(to_batch([each]), radius=radius, rigidity=math.inf, power=power, jets=n)
        for each in (event, np.concatenate([event, soft]))
    )
    hard = np.isfinite(components(before.jets)[0, 0, :, 0])
    if (
        power < 1
    ):  # kT merges the soft particle first, with whatever is near: its momentum is lost in rounding
        assert after.n_jets[0, 0] - before.n_jets[0, 0] in (0, 1)
    found, expected = (
        components(after.jets)[0, 0, : hard.sum()],
        components(before.jets)[0, 0, hard],
    )
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


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


@pytest.mark.parametrize(("scale", "moves"), [("minimum", True), ("safe", False)])
def test_a_soft_particle_moves_only_the_published_scale(scale: str, moves: bool) -> None:
    """E[m_jj] with and without a particle of 1e-9 of the hardest pT: far beyond or within the errors of the same trees' number."""
    pt, y, phi = (
        np.array([60.0, 40.0, 20.0, 15.0]),
        np.array([0.0, 0.5, -0.8, 0.3]),
        np.array([0.0, 2.6, -1.0, 1.4]),
    )
    means, errors = [], []
    for soft in (False, True):
        extra = np.array([60e-9] * soft), np.array([0.24] * soft), np.array([0.32] * soft)
        fields = {
            k: np.append(v, e)
            for k, v, e in zip(("pt", "rapidity", "phi"), (pt, y, phi), extra, strict=True)
        }
        event = EventBatch.from_arrays(**fields, mass=np.zeros(4 + soft), offsets=[0, 4 + soft])
        trees = cluster(event, radius=0.7, rigidity=0.3, trees=100_000, seed=5, scale=scale)
        mass = observables.dijet_mass(trees.jets)[0]
        means.append(mass.mean())
        errors.append(mass.std() / np.sqrt(mass.size))
    z = (means[1] - means[0]) / np.hypot(*errors)
    assert (abs(z) > 10) == moves
    assert moves or abs(z) < 4
