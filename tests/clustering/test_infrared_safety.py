"""What must hold for any event: collinear splittings and soft particles change what they may, and nothing else."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from brute_force import Floats, Ints, event_of, final_jets, to_batch
from drawn_events import components, few, powers, radii, random_event, seeds
from every_tree import enumerate_trees
from hypothesis import given
from hypothesis import strategies as st

from djservice import observables
from djservice.clustering.cluster import cluster, replay
from djservice.events import augment
from djservice.events.batch import EventBatch


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


@cache
def sequences(event: tuple[tuple[float, ...], ...]) -> tuple[Ints, list[float]]:
    """Every merge sequence of a tiny event, and the mass of the two leading jets of each: the same for all weights."""
    histories = list(enumerate_trees(event))
    ends = (final_jets(event, each) for each in histories)
    return np.array(histories), [objects.leading_mass(jets) for objects, jets in ends]


def exact_mean(event: Floats, rigidity: float, scale: str) -> float:
    """E[mass of the two leading jets] of a tiny event: every merge sequence, weighed by the kernel."""
    histories, masses = sequences(tuple(map(tuple, event.tolist())))
    trees = replay(to_batch([event]), histories, radius=0.7, rigidity=rigidity, scale=scale)
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
