"""Awkward particles in: expectation, gradient and cluster_jets against the batch API."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError

Records = Callable[[dj.EventBatch], Any]
Identity = tuple[Any, Any, Any]
MASS = dj.observables.dijet_mass
CUT = dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0)


def same(one: Any, other: Any) -> None:
    """Two dataclasses of arrays, to the bit."""
    for name in one.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_expectation_is_what_the_trees_say(
    batch: dj.EventBatch, records: Records, identity: Identity
) -> None:
    found = dj.expectation(
        records(batch), MASS, radius=0.8, trees=12, where=CUT, seed=3, identity=identity
    )
    trees = dj.cluster(batch, radius=0.8, rigidity=1.0, trees=12, seed=3)
    value, accepted = MASS(trees.jets), CUT(trees.jets)
    assert 0 < (found.acceptance == 0).sum() < len(batch)
    for event in range(len(batch)):
        own = value[event, accepted[event]]
        assert found.acceptance[event] == len(own) / 12
        np.testing.assert_allclose(
            found.mean[event], own.mean() if len(own) else np.nan, rtol=1e-12
        )
        expected = own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else np.nan
        np.testing.assert_allclose(found.error[event], expected, rtol=1e-9, atol=1e-9)
    same(found, dj.expectation(batch, MASS, radius=0.8, trees=12, where=CUT, seed=3))


def test_the_error_covers_the_spread_over_seeds(batch: dj.EventBatch) -> None:
    runs = [dj.expectation(batch, MASS, radius=0.8, trees=40, seed=seed) for seed in range(12)]
    mean, error = (np.array([getattr(run, name) for run in runs]) for name in ("mean", "error"))
    spread = (mean.var(axis=0, ddof=1) / (error**2).mean(axis=0))[(error > 0.01).all(axis=0)]
    assert len(spread) > 10
    assert (
        abs(spread.mean() - 1.0) < 4.0 * (2.0 / 11.0 / len(spread)) ** 0.5
    )  # chi^2 / 11 of each event


def test_draws_go_with_the_identity_whatever_the_chunks(
    batch: dj.EventBatch, records: Records, identity: Identity
) -> None:
    particles = records(batch)
    whole = dj.expectation(particles, MASS, radius=0.7, trees=4, identity=identity)
    rows = np.array([17, 3, 11])
    some = dj.expectation(
        particles[rows], MASS, radius=0.7, trees=4, identity=tuple(x[rows] for x in identity)
    )
    np.testing.assert_array_equal(some.mean, whole.mean[rows])
    unnamed = dj.expectation(particles[rows], MASS, radius=0.7, trees=4)
    assert not np.array_equal(unnamed.mean, whole.mean[rows])


def test_many_trees_are_grown_in_parts(
    batch: dj.EventBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    radii = np.linspace(0.4, 1.0, len(batch))
    whole = dj.expectation(batch, MASS, radius=radii, trees=4)
    monkeypatch.setattr(sys.modules["djservice.evaluation.evaluate"], "TREES_AT_ONCE", 20)
    same(whole, dj.expectation(batch, MASS, radius=radii, trees=4))


def test_one_deterministic_tree_has_no_error(batch: dj.EventBatch) -> None:
    found = dj.expectation(batch, MASS, radius=0.7, rigidity=math.inf, where=CUT)
    jets = dj.cluster(batch, radius=0.7, rigidity=math.inf).jets
    expected = np.where(CUT(jets), MASS(jets), np.nan)[:, 0]
    np.testing.assert_array_equal(found.mean, expected)
    np.testing.assert_array_equal(found.error, np.where(np.isnan(expected), np.nan, 0.0))


def test_gradient_takes_awkward_particles(
    batch: dj.EventBatch, records: Records, identity: Identity
) -> None:
    loss = dj.SquaredError(MASS, scale=None).where(CUT)
    weight, truth = np.linspace(0.5, 2.0, len(batch)), np.full(len(batch), 125.0)
    given = {"identity": identity, "weight": weight, "truth": truth}
    found = dj.gradient(records(batch), loss, radius=0.8, trees=8, **given)
    expected = dj.gradient(
        dj.EventBatch.from_awkward(records(batch), **given),
        loss,
        radius=0.8,
        trees=8,
        estimator=None,
    )
    assert (found.value, found.error, found.loss) == (expected.value, expected.error, expected.loss)
    assert found.error > 0
    with pytest.raises(InputError, match="weight, truth: an EventBatch has its own"):
        dj.gradient(batch, loss, radius=0.8, weight=weight, truth=truth)


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
def test_deterministic_jets_are_those_of_fastjet(
    batch: dj.EventBatch, records: Records, power: float
) -> None:
    particles = records(batch)
    jets = dj.cluster_jets(particles, radius=0.6, power=power, pt_min=5.0)
    assert str(jets.type).startswith(f"{len(batch)} * var * Momentum4D[")
    algorithm = {
        -1.0: fastjet.antikt_algorithm,
        0.0: fastjet.cambridge_algorithm,
        1.0: fastjet.kt_algorithm,
    }[power]
    for event in range(len(batch)):
        own = particles[event]
        mt = np.sqrt(own.pt**2 + own.mass**2)
        four = (
            own.pt * np.cos(own.phi),
            own.pt * np.sin(own.phi),
            mt * np.sinh(own.rapidity),
            mt * np.cosh(own.rapidity),
        )
        pseudojets = []
        for i, momentum in enumerate(zip(*map(ak.to_list, four), strict=True)):
            pseudojets.append(fastjet.PseudoJet(*momentum))
            pseudojets[-1].set_user_index(i)
        sequence = fastjet.ClusterSequence(pseudojets, fastjet.JetDefinition(algorithm, 0.6))
        expected = [
            jet for jet in fastjet.sorted_by_pt(sequence.inclusive_jets()) if jet.pt() > 5.0
        ]
        members = [sorted(c.user_index() for c in jet.constituents()) for jet in expected]
        assert jets.constituents[event].to_list() == members
        np.testing.assert_allclose(jets.pt[event], [jet.pt() for jet in expected], rtol=1e-10)
        np.testing.assert_allclose(jets.E[event], [jet.e() for jet in expected], rtol=1e-10)


def test_sampled_jets_are_those_of_cluster(
    batch: dj.EventBatch, records: Records, identity: Identity
) -> None:
    jets = dj.cluster_jets(
        records(batch), radius=0.8, rigidity=1.0, trees=3, seed=5, identity=identity
    )
    trees = dj.cluster(batch, radius=0.8, rigidity=1.0, trees=3, jets=4, seed=5)
    np.testing.assert_array_equal(ak.num(jets, axis=2), trees.n_jets)
    for k, name in enumerate(("px", "py", "pz", "E")):
        leading = ak.to_numpy(ak.pad_none(jets[name], 4, axis=2, clip=True)).filled(np.nan)
        np.testing.assert_allclose(leading, trees.momenta[..., k], rtol=1e-12)
    every = ak.flatten(jets.constituents, axis=3)
    counts = ak.from_numpy(np.repeat(batch.counts, 3).reshape(-1, 3))
    assert ak.all(
        ak.sort(every, axis=2) == ak.local_index(every, axis=2)
    )  # each particle is in exactly one jet
    assert ak.all(ak.num(every, axis=2) == counts)


def test_jets_are_the_sums_of_their_constituents(batch: dj.EventBatch, records: Records) -> None:
    particles = ak.with_name(records(batch), "Momentum4D")
    jets = dj.cluster_jets(particles, radius=0.7, jets=2)
    assert ak.max(ak.num(jets)) == 2
    lead = jets.constituents[:, 0]
    own = particles[lead]
    pt, phi, y = own.pt, own.phi, own.rapidity
    np.testing.assert_allclose(ak.sum(pt * np.cos(phi), axis=1), jets[:, 0].px, rtol=1e-9)
    np.testing.assert_allclose(
        ak.sum(np.hypot(pt, own.mass) * np.sinh(y), axis=1), jets[:, 0].pz, rtol=1e-9
    )
    pair = jets[:, 0] + jets[:, 1]
    exact = dj.cluster(batch, radius=0.7, rigidity=math.inf).jets
    np.testing.assert_allclose(pair.mass, MASS(exact)[:, 0], rtol=1e-9)
    np.testing.assert_allclose(
        jets[:, 0].deltaR(jets[:, 1]), exact[:, 0, 0].deltaR(exact[:, 0, 1]), rtol=1e-9
    )
    assert ak.all(jets.pt[:, 0] >= jets.pt[:, 1])


def test_events_without_particles_and_no_events(batch: dj.EventBatch, records: Records) -> None:
    particles = ak.concatenate(
        [records(batch)[:2], records(batch)[:1, :0], records(batch)[2:4, :1]]
    )
    jets = dj.cluster_jets(particles, radius=0.7)
    assert ak.num(jets).to_list()[2:] == [0, 1, 1]
    assert dj.cluster_jets(particles, radius=0.7, rigidity=1.0, trees=2)[2].to_list() == [[], []]
    found = dj.expectation(particles, MASS, radius=0.7, trees=2)
    assert (
        np.isnan(found.mean).tolist() == [False, False, True, False, False]
        and found.acceptance[2] == 0.0
    )
    assert dj.cluster_jets(particles[:0], radius=0.7).to_list() == []
    assert len(dj.cluster_jets(particles[:0], radius=0.7, rigidity=1.0, trees=2)) == 0
    assert len(dj.cluster_jets(particles[2:3], radius=0.7)) == 1
    nothing = dj.expectation(particles[:0], MASS, radius=0.7)
    assert nothing.mean.shape == nothing.error.shape == nothing.acceptance.shape == (0,)


@pytest.mark.parametrize("trees", [1, 3])
def test_jets_stay_in_their_events_whatever_is_empty(
    trees: int, batch: dj.EventBatch, records: Records
) -> None:
    empty = records(batch)[:1, :0]
    order = [
        empty,
        empty,
        records(batch)[:3],
        empty,
        empty,
        records(batch)[3:4],
        empty,
        records(batch)[4:6],
        empty,
    ]
    events = dj.EventBatch.from_awkward(ak.concatenate(order))
    jets = dj.cluster_jets(events, radius=0.6, rigidity=2.0, trees=trees, seed=4, jets=2)
    expected = dj.cluster(events, radius=0.6, rigidity=2.0, trees=trees, seed=4).momenta
    for k, name in enumerate(("px", "py", "pz", "E")):
        padded = ak.to_numpy(
            ak.fill_none(ak.pad_none(jets[name], 2, axis=2, clip=True), np.nan, axis=None)
        )
        np.testing.assert_allclose(padded, expected[..., k], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pt_min": -1.0}, "pt_min is -1.0"),
        ({"pt_min": math.nan}, "pt_min is nan"),
        ({"jets": 0}, "jets is 0"),
        ({"trees": 2}, "trees is 2, expected 1 with infinite rigidity"),
        ({"radius": -0.4}, "radius is -0.4"),
    ],
)
def test_arguments_of_cluster_jets(
    arguments: dict[str, Any], message: str, batch: dj.EventBatch
) -> None:
    with pytest.raises(InputError, match=message):
        dj.cluster_jets(batch, **{"radius": 0.7, **arguments})
