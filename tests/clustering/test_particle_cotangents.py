"""Derivatives of trees in their particles, against tables of an independent program and identities."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from brute_force import Floats, event_of, shipped_events, to_batch
from every_tree import enumerate_trees
from input_tables import FUNCTIONS, AllTrees, per_tree, sampling_of, table

from djservice.clustering import on_cpu
from djservice.clustering.cluster import cluster, follow_trees
from djservice.clustering.kernels.cpu import cluster_items
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import allocate, allocate_slopes
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.particle_order import slots_of, sorted_particles
from djservice.clustering.radius import VariableR
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.errors import ClusteringError, InputError
from djservice.events.batch import EventBatch

VARIABLE = VariableR(20.0, 0.3, 1.2)
SAMPLINGS = {
    "published": Sampling(1.0, threads=1),
    "soft": Sampling(0.1, threads=1),
    "rigid": Sampling(10.0, threads=1),
    "kT": Sampling(1.0, power=1.0, threads=1),
    "Cambridge": Sampling(1.0, power=0.0, threads=1),
    "another power": Sampling(1.0, power=-0.5, scale="safe", asymmetry=0.7, threads=1),
    "safe": Sampling(1.0, scale="safe", threads=1),
}


def relative(found: Floats, expected: Floats) -> float:
    """Largest difference, relative to the largest number of each tree."""
    axes = tuple(range(1, expected.ndim))
    scale = np.abs(expected).max(axis=axes)
    return float((np.abs(found - expected).max(axis=axes) / np.where(scale > 0, scale, 1.0)).max())


def test_single_trees_of_the_table() -> None:
    trees = 0
    for row in table("exact_inputs_trees_n4"):
        rows = row["trees"]
        every = AllTrees(
            np.array(row["particles_pt_y_phi_m"]),
            np.array([tree["history"] for tree in rows]),
            row["radius"],
            sampling_of(row),
        )
        columns = {
            name: np.array([tree[name] for tree in rows])
            for name in ("log_prob", "d_log_prob", "f", "d_f")
        }
        np.testing.assert_allclose(every.log_prob, columns["log_prob"], rtol=1e-10, atol=1e-12)
        assert relative(every.score(), columns["d_log_prob"]) < 1e-10
        values, slopes = every.functions()
        np.testing.assert_allclose(values.T, columns["f"], rtol=1e-10, atol=1e-6)
        for k, slope in enumerate(slopes):
            assert relative(every.pathwise(slope), columns["d_f"][:, k]) < 1e-10
        trees += len(rows)
    assert trees == 1035


@cache
def histories(event: int) -> Floats:
    return np.array(list(enumerate_trees(table("exact_inputs_n4")[event]["particles_pt_y_phi_m"])))


@pytest.mark.parametrize(
    ("event", "step"),
    [(e, 7) for e in range(7)] + [pytest.param(e, 1, marks=pytest.mark.long) for e in range(7)],
)
def test_rows_of_the_table_by_all_trees(event: int, step: int) -> None:
    """Every seventh row, others for each event; all of them in the long form."""
    entry = table("exact_inputs_n4")[event]
    assert len(entry["expect"]) == 36
    rows = entry["expect"][event % step :: step]
    for row in rows:
        every = AllTrees(
            np.array(entry["particles_pt_y_phi_m"]),
            histories(event),
            row["radius"],
            sampling_of(row),
        )
        probability = np.exp(every.log_prob)
        values, slopes = every.functions()
        assert math.fsum(probability) == pytest.approx(1.0, rel=1e-12)
        for key, coordinates in (("pt_y_phi_m", "pt_y_phi_m"), ("px_py_pz_e", "px_py_pz_E")):
            score = every.score(coordinates)
            for k, name in enumerate(FUNCTIONS):
                gradient = every.pathwise(slopes[k], coordinates) + score * (
                    values[k] - probability @ values[k]
                ).reshape(-1, 1, 1)
                expected = np.array(row[key][name]["gradient"])
                found = np.tensordot(probability, gradient, 1)
                scale = max(np.abs(expected).max(), 1e-3)
                assert np.abs(found - expected).max() < 1e-9 * scale, (row, name, key)
        if row is rows[0]:
            fisher = np.tensordot(probability, every.score() ** 2, 1)
            np.testing.assert_allclose(fisher, row["fisher"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_identities_of_every_tree(name: str) -> None:
    """Rotations about the beam, boosts along it and a common factor leave log P as it is."""
    events = shipped_events().select(range(20))
    slopes = per_tree(events, 0.6, SAMPLINGS[name])
    pt, y, phi, mass = slopes.T
    terms = np.stack([phi, y, events.pt * pt + events.mass * mass], axis=1)
    total, size = (np.add.reduceat(x, events.offsets[:-1]) for x in (terms, np.abs(terms)))
    assert (np.abs(total) <= 1e-12 * size.sum(axis=1, keepdims=True)).all()
    momenta = per_tree(events, 0.6, SAMPLINGS[name], coordinates="px_py_pz_E")
    px, py = events.pt * np.cos(events.phi), events.pt * np.sin(events.phi)
    turned = momenta[:, 1] * px - momenta[:, 0] * py
    np.testing.assert_allclose(turned, phi, atol=1e-9 * np.abs(phi).max())


@pytest.mark.parametrize("name", SAMPLINGS)
def test_scores_in_r_and_p_follow_from_those_of_the_objects(name: str) -> None:
    """And a tree has the same bits whether its score in the particles is kept or not."""
    sampling = SAMPLINGS[name]
    for event in range(3):
        batch = shipped_events().select([event])
        results, slopes, objects = one_tree(batch, sampling, with_slopes=True)
        plain, *_ = one_tree(batch, sampling, with_slopes=False)
        for one, other in zip(results, plain, strict=True):
            np.testing.assert_array_equal(one, other)
        y, phi, _, pt2 = slopes.coordinates.reshape(-1, 4)[objects].T
        by_log_d, by_y, by_phi, _ = slopes.objects.reshape(-1, 4)[objects].T
        assert abs(by_log_d.sum()) < 1e-12 * np.abs(by_log_d).sum()
        if sampling.power != 0.0:  # where it does not exist
            in_p = np.log(pt2) * by_log_d
            assert abs(in_p.sum() - results.scores[0, 4]) < 1e-9 * np.abs(in_p).sum()
        if np.ptp(phi) < math.pi:  # no pair wraps around
            in_r = -(y * by_y + phi * by_phi)
            assert abs(in_r.sum() - results.scores[0, 1]) < 1e-9 * np.abs(in_r).sum()


def one_tree(batch: EventBatch, sampling: Sampling, with_slopes: bool) -> tuple[Results, Any, Any]:
    """One tree of an event, turned so that no pair wraps: results, slopes, and the ids of its objects."""
    batch = replace(batch, phi=0.45 * batch.phi)
    _, particles = sorted_particles(batch, sampling.power)
    n = len(particles)
    slopes = allocate_slopes(n, 40 * n, 2) if with_slopes else None
    no_rows = np.empty((0, 2), np.int32)
    results = Results(
        np.empty((1, 2, 4)), np.empty((n, 2), np.int32), np.empty((0, 6)), np.empty((1, 5)),
        np.empty((1, 4)), np.empty((0, 4)), np.empty((0, 4)),
    )  # fmt: skip
    setting = Setting(
        sampling.power, sampling.rigidity, sampling.exponent, 0.0, stops=False, main=1,
        sharp=False, wide=True,
    )  # fmt: skip
    cotangents = Cotangents(
        np.ones((1, 1, 2)), np.zeros((1, 2, 4)), np.empty(0), np.zeros(1, np.int64),
        np.zeros((n, 1, 4)), np.zeros((n, 1, 4)),
    )  # fmt: skip
    status, *_ = cluster_items(
        0, 1, 1, 0, 0, setting,
        EventArrays(particles, batch.offsets, np.array([[0.0, 0.6, 0.6]]), batch.key, slots_of(particles, batch.offsets)),
        allocate(n, 40 * n, 2), slopes, Imposed(no_rows, np.empty((0, 4))), results,
        np.empty((0, 2, 4)), np.empty((0, 5)), cotangents if with_slopes else None,
    )  # fmt: skip
    assert status == 0
    return (
        results,
        slopes,
        np.concatenate([np.arange(n), n + np.flatnonzero(results.history[:, 1] >= 0)]),
    )


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize(
    ("name", "radius"),
    [*((name, 0.6) for name in SAMPLINGS), ("published", VARIABLE), ("safe", VARIABLE)],
)
def test_finite_differences_at_a_fixed_history(name: str, radius: Any, stopped: bool) -> None:
    """And of trees that stop early, whose log P is that of the steps taken."""
    sampling = SAMPLINGS[name]
    events, settled_pt = shipped_events().select([4]), 20.0 if stopped else None
    history = cluster(
        events, radius=radius, rigidity=sampling.rigidity, power=sampling.power, seed=3,
        scale=sampling.scale, asymmetry=sampling.asymmetry, history=True,
    ).history  # fmt: skip
    request = TreeRequest(1, 2, settled_pt=settled_pt)
    slopes = per_tree(events, radius, sampling, history=history, settled_pt=settled_pt)

    def log_prob(field: str, particle: int, step: float) -> float:
        moved = getattr(events, field).copy()
        moved[particle] += step
        batch = replace(events, **{field: moved})
        return float(follow_trees(batch, history, radius, sampling, request).numbers[0, 0, 0])

    compared = 0
    hardest = np.argsort(-events.pt)[[0, 2, 9]]
    for column, field in enumerate(("pt", "rapidity", "phi", "mass")):
        for particle in hardest:
            step = 1e-6 * (events.pt[particle] if field == "pt" else 1.0)
            up, down = (log_prob(field, particle, k * step) for k in (1.0, -1.0))
            if field == "mass" and events.mass[particle] < 1e-3:
                continue
            slope = slopes[particle, column]
            scale = np.abs(slopes[:, column]).max()
            assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-4, abs=1e-5 * scale)
            compared += 1
    assert compared >= 9


HARD = np.array([[60.0, 0.0, 0.0, 5.0], [45.0, 0.5, 2.6, 3.0], [30.0, -0.4, -1.8, 1.0]])


def exact_gradient(particles: Floats, sampling: Sampling) -> Floats:
    """Derivatives of the mean dijet mass, by all trees."""
    every = AllTrees(particles, np.array(list(enumerate_trees(particles))), 0.8, sampling)
    values, slopes = every.functions()
    probability = np.exp(every.log_prob)
    centred = values[0] - probability @ values[0]
    terms = every.score() * centred[:, np.newaxis, np.newaxis] + every.pathwise(slopes[0])
    return np.tensordot(probability, terms, 1)


@pytest.mark.parametrize("power", [-1.0, 0.0])
def test_a_soft_particle_pulls_at_nothing_on_the_safe_scale(power: float) -> None:
    def gradients(scale: Any, rigidity: float, pt: float) -> tuple[Floats, Floats]:
        sampling = Sampling(rigidity, power=power, scale=scale, threads=1)
        soft = np.array([[pt, 0.1, 0.1, 0.0]])
        return exact_gradient(np.concatenate([HARD, soft]), sampling), exact_gradient(
            HARD, sampling
        )

    for rigidity in (0.1, 1.0, 5.0):
        sizes = []
        for pt in (1e-2, 1e-3, 1e-4):
            with_soft, without = gradients("safe", rigidity, pt)
            sizes.append((np.abs(with_soft[3, 1:3]).max(), np.abs(with_soft[:3] - without).max()))
            assert abs(with_soft[3, 0]) < 10.0
        soft, hard = np.array(sizes).T
        assert (soft[1:] < 0.2 * soft[:-1]).all() and (hard[1:] < 0.2 * hard[:-1]).all()
    with_soft, without = gradients("minimum", 0.1, 1e-4)
    assert np.abs(with_soft[3, 1:3]).max() > 1.0
    assert np.abs(with_soft[:3] - without).max() > 0.1 * np.abs(without).max()


@pytest.mark.parametrize("scale", ["minimum", "safe"])
@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
def test_a_collinear_splitting_changes_nothing(scale: Any, power: float) -> None:
    for rigidity in (0.1, 5.0):
        sampling = Sampling(rigidity, power=power, scale=scale, threads=1)
        massless = HARD.copy()
        massless[0, 3] = 0.0
        whole, differences = exact_gradient(massless, sampling), []
        for distance in (1e-2, 1e-3):
            parts = np.array([[18.0, 0.7 * distance, 0, 0], [42.0, -0.3 * distance, 0, 0]])
            split = exact_gradient(np.concatenate([massless[1:], parts]), sampling)
            by_pt = np.abs(split[2:, 0] - whole[0, 0]).max()
            by_y = np.abs(split[2:, 1] / [0.3, 0.7] - whole[0, 1]).max() / np.abs(whole[:, 1]).max()
            others = np.abs(split[:2, 0] - whole[1:, 0]).max()
            differences.append((by_pt, by_y, others))
        near, nearer = np.array(differences)
        assert (near < [0.05, 0.5, 1e-2]).all() and (nearer < 0.2 * near + 1e-9).all()


def weighted(events: EventBatch, trees: int, **changes: Any) -> tuple[Floats, Floats]:
    """Sums and squares of many trees with weights, which differ by tree and by column."""
    random = np.random.default_rng(7)
    factors = random.normal(size=(12, trees, 2, 2))[: len(events)]
    jets = random.normal(size=(12, trees, 2, 4))[: len(events)]
    sampling = replace(SAMPLINGS["published"], seed=4, **changes)
    return particle_cotangents(
        events, 0.7, sampling, TreeRequest(trees, 2), factors, jets, coordinates="pt_y_phi_m"
    )


def test_bits_do_not_depend_on_threads_portions_or_room(monkeypatch: pytest.MonkeyPatch) -> None:
    events = shipped_events().select([0, 5, 1, 2])
    no_particles = events.select([0]).offsets * 0
    empty = replace(
        events.select([0]), offsets=no_particles, pt=np.empty(0), rapidity=np.empty(0),
        phi=np.empty(0), mass=np.empty(0),
    )  # fmt: skip
    events = EventBatch.concatenate([events.select([0]), empty, events.select([1, 2, 3])])
    for trees in (5, 90):
        expected = weighted(events, trees)
        for threads in (2, 5):
            for one, other in zip(weighted(events, trees, threads=threads), expected, strict=True):
                np.testing.assert_array_equal(one, other)
        n = events.counts[0]
        for one, other in zip(weighted(events.select([0]), trees), expected, strict=True):
            np.testing.assert_array_equal(one, other[:n])
    monkeypatch.setattr(on_cpu, "pairs_at_first", lambda particles: particles)
    for one, other in zip(weighted(events, 5, threads=2), weighted(events, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_sums_are_those_of_single_trees() -> None:
    events, sampling = shipped_events().select([3]), SAMPLINGS["published"]
    factors, jets = np.zeros((1, 4, 1, 2)), np.zeros((1, 4, 2, 4))
    factors[..., 0] = [[[1.0], [2.0], [-1.0], [0.5]]]
    both = [
        particle_cotangents(
            events, 0.7, sampling, TreeRequest(number, 2, first_tree=first),
            factors[:, first : first + number], jets[:, first : first + number],
            coordinates="px_py_pz_E",
        )
        for first, number in ((0, 4), (0, 1), (1, 1), (2, 1), (3, 1))
    ]  # fmt: skip
    (total, squares), *singles = both
    np.testing.assert_allclose(sum(one for one, _ in singles), total, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(sum(one**2 for one, _ in singles), squares, rtol=1e-12, atol=1e-9)


def test_particles_at_one_point_have_derivatives() -> None:
    """Their own merge has none; it comes first with certainty."""
    one = to_batch([event_of(shipped_events().select([2]), 0)])
    pt = one.pt.copy()
    pt[0] /= 3.0
    twice = [np.append(values, values[0]) for values in (one.rapidity, one.phi, one.mass / 3.0)]
    double = EventBatch.from_arrays(
        pt=np.append(pt, 2.0 * pt[0]), rapidity=twice[0], phi=twice[1],
        mass=np.append(np.append(one.mass[0] / 3.0, one.mass[1:]), one.mass[0] * 2.0 / 3.0),
        offsets=[0, len(pt) + 1],
    )  # fmt: skip
    sampling = replace(SAMPLINGS["published"], seed=1)
    found = per_tree(double, 0.6, sampling, coordinates="px_py_pz_E")
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], found[-1], rtol=1e-9)  # both pull at their sum


def test_infinite_rigidity_has_no_score() -> None:
    events = shipped_events().select(range(3))
    sampling = Sampling(math.inf, threads=1)
    assert not per_tree(events, 0.6, sampling).any()
    jets = np.ones((3, 1, 2, 4))
    pathwise = per_tree(events, 0.6, sampling, (0.0, 1.0), jets, coordinates="px_py_pz_E")
    assert set(np.unique(pathwise)) == {0.0, 1.0}  # a constituent has the derivative of its jet


def test_momenta_that_cancel_name_their_event() -> None:
    cancelling = np.array(
        [[6.0, 0.0, 0.0, 1.0], [3.0, 0.1, math.pi, 1.0], [3.0, 0.1, -math.pi, 1.0]]
    )
    events = to_batch([HARD, cancelling])
    history = np.array([[0, -1], [1, -1], [2, -1], [1, 2], [0, 3], [4, -1]], np.int32)
    with pytest.raises(ClusteringError, match="entry 1, particle 0: a derivative does not exist"):
        per_tree(events, 0.6, SAMPLINGS["Cambridge"], history=history)


def test_unknown_coordinates() -> None:
    with pytest.raises(InputError, match="coordinates is 'xyz', expected 'px_py_pz_E' or"):
        per_tree(to_batch([HARD]), 0.6, SAMPLINGS["kT"], coordinates="xyz")  # type: ignore[arg-type]
