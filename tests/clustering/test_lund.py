"""Emissions of jets: FastJet's declustering, planes and parents, random trees, and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import pytest
from brute_force import event_of, shipped_events, to_batch
from every_tree import enumerate_trees

import djservice as dj
from djservice.clustering.particle_order import momenta_of
from djservice.errors import InputError

NAMES = ("plane", "delta", "kt", "z", "kappa", "psi", "mass")


def declustered(jet: Any, plane: int = 1) -> list[list[float]]:
    """The emissions of a jet and of its emissions, by FastJet's own functions."""
    rows: list[list[float]] = []
    hard, soft = fastjet.PseudoJet(), fastjet.PseudoJet()
    while jet.has_parents(hard, soft):
        if hard.pt() < soft.pt():
            hard, soft = soft, hard
        delta, z = hard.delta_R(soft), soft.pt() / (hard.pt() + soft.pt())
        psi = math.atan2(soft.rap() - hard.rap(), hard.delta_phi_to(soft))
        mass = (hard + soft).m()
        rows.append([plane, delta, soft.pt() * delta, z, z * delta, psi, mass])
        rows += declustered(soft, plane + 1)
        jet, hard, soft = hard, fastjet.PseudoJet(), fastjet.PseudoJet()
    return rows


def test_emissions_are_those_of_fastjet() -> None:
    events = shipped_events().select(range(12))
    jets = dj.cluster_jets(events, radius=0.8, pt_min=15.0)
    emissions, particles = dj.lund(events, jets), momenta_of(events)
    cambridge = fastjet.JetDefinition(fastjet.cambridge_algorithm, 1000.0)
    compared = 0
    for i, of_event in enumerate(jets.constituents):
        for k, constituents in enumerate(of_event):
            rows = events.offsets[i] + ak.to_numpy(constituents)
            inputs = [fastjet.PseudoJet(*map(float, momentum)) for momentum in particles[rows]]
            sequence = fastjet.ClusterSequence(inputs, cambridge)
            (whole,) = sequence.inclusive_jets()
            expected = np.array(declustered(whole)).reshape(-1, 7)
            found = np.stack([ak.to_numpy(emissions[i, k][name]) for name in NAMES], axis=1)
            # FastJet's go down each softer branch at once, ours back in the history.
            expected, found = (a[np.lexsort(a[:, [3, 1, 0]].T)] for a in (expected, found))
            np.testing.assert_allclose(found[:, :5], expected[:, :5], rtol=1e-12)
            turn = found[:, 5] - expected[:, 5]
            np.testing.assert_allclose(np.sin(turn / 2.0), 0.0, atol=1e-11)
            energy = particles[rows, 3].sum()
            np.testing.assert_allclose(found[:, 6], expected[:, 6], atol=1e-7 * energy)
            compared += len(found)
    assert compared > 500


def test_planes_and_parents() -> None:
    """Two pairs: the wide step is primary, and the pair of the softer branch is a secondary one."""
    jet = ak.Array(
        {
            "pt": [[50.0, 40.0, 20.0, 5.0], [], [7.0]],
            "rapidity": [[0.0, 0.1, 0.5, 0.55], [], [1.0]],
            "phi": [[0.0, 0.0, 0.0, 0.0], [], [0.0]],
            "mass": [[0.0, 0.0, 0.0, 0.0], [], [0.0]],
        }
    )
    records = ak.zip({name: jet[name] for name in jet.fields})
    found = dj.lund(records)
    assert ak.num(found).tolist() == [3, 0, 0]
    first = found[0]
    assert (first.plane.tolist(), first.parent.tolist()) == ([1, 1, 2], [-1, -1, 0])
    np.testing.assert_allclose(first.delta[1:], [0.1, 0.05], rtol=1e-9)
    np.testing.assert_allclose(first.kt[1:], [4.0, 0.25], rtol=1e-9)
    np.testing.assert_allclose(first.z[1:], [4.0 / 9.0, 0.2], rtol=1e-9)
    # dy is positive for the first two, so they lie at pi / 2 around the harder branch.
    np.testing.assert_allclose(first.psi[1:], math.pi / 2.0, rtol=1e-9)
    assert ak.num(dj.lund(records[:0])).tolist() == []


def test_random_trees_have_their_own_emissions() -> None:
    events = shipped_events().select(range(3))
    sample = dj.cluster(
        events, radius=0.8, rigidity=1.0, power=0.0, trees=4, jets=3, history=True, seed=2
    )
    found = dj.lund(events, sample)
    assert ak.num(found, axis=2).tolist() == sample.n_jets.tolist()
    np.testing.assert_array_equal(
        ak.to_numpy(ak.sum(ak.num(found, axis=3), axis=2)),
        events.counts[:, np.newaxis] - sample.n_jets,
    )
    root = ak.to_numpy(ak.firsts(found[:, :, :3].mass, axis=3))
    assert not np.ma.is_masked(root)  # the leading jets have several particles here
    np.testing.assert_allclose(root, sample.jets.mass, rtol=1e-6)
    assert ak.all(found.plane >= 1) and ak.all((found.parent == -1) == (found.plane == 1))


@pytest.mark.parametrize("parameter", ["radius", "rigidity"])
def test_the_derivative_of_a_density_is_that_of_the_score(parameter: str) -> None:
    """All trees of a tiny event, weighed by their probabilities: E[n S] against a finite step."""
    event = event_of(shipped_events().select([1]), 0)[:4]
    events, histories = to_batch([event]), np.array(list(enumerate_trees(event)))
    setting = {"radius": 0.7, "rigidity": 2.0}

    def trees(**changed: float) -> Any:
        return dj.replay(
            events, histories, power=0.0, parameters=(parameter,), **{**setting, **changed}
        )

    sample = replace(trees(), history=histories.reshape(-1, 2).astype(np.int32))
    number = ak.to_numpy(ak.sum(ak.sum(dj.lund(events, sample).kt > 1.0, axis=-1), axis=-1))[0]
    assert len(set(number.tolist())) > 1
    probability = np.exp(sample.log_prob[0])
    assert probability.sum() == pytest.approx(1.0, rel=1e-9)
    slope = float((probability * number * sample.scores[0, :, 0]).sum())
    step = 1e-5
    means = [
        float(np.exp(trees(**{parameter: setting[parameter] + s}).log_prob[0]) @ number)
        for s in (step, -step)
    ]
    assert slope == pytest.approx((means[0] - means[1]) / (2.0 * step), rel=1e-5)


def test_what_is_no_jet_is_refused() -> None:
    events = shipped_events().select(range(2))
    jets = dj.cluster_jets(events, radius=0.8)
    with pytest.raises(InputError, match="expected jets with a field constituents"):
        dj.lund(events, jets.pt)
    with pytest.raises(InputError, match="expected the jets of 1 event, found those of 2"):
        dj.lund(events.select([0]), jets)
    with pytest.raises(InputError, match="a constituent is no particle of its event"):
        dj.lund(events.select([events.counts.argmin()] * 2), jets)
    sample = dj.cluster(events, radius=0.8, rigidity=1.0)
    with pytest.raises(InputError, match="the trees have no history"):
        dj.lund(events, sample)
    with pytest.raises(InputError, match="expected particles, found list"):
        dj.lund([1.0, 2.0])
