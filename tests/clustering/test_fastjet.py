"""At infinite rigidity the jets are FastJet's, jet by jet, on simulated events."""

from __future__ import annotations

import awkward as ak
import fastjet
import numpy as np
import pytest
from brute_force import Floats, shipped_events

from djservice.clustering.cluster import cluster
from djservice.events.batch import EventBatch

POWERS = (-1, 0, 1)
RADII = (0.4, 0.65, 1.0)
ALGORITHMS = {-1: "antikt_algorithm", 0: "cambridge_algorithm", 1: "kt_algorithm"}


def momenta(batch: EventBatch) -> Floats:
    """(px, py, pz, E), shape (particle, 4)."""
    transverse = np.hypot(batch.pt, batch.mass)
    x, y = batch.pt * np.cos(batch.phi), batch.pt * np.sin(batch.phi)
    return np.stack(
        [x, y, transverse * np.sinh(batch.rapidity), transverse * np.cosh(batch.rapidity)], axis=1
    )


def fastjet_jets(batch: EventBatch, power: int, radius: float) -> list[Floats]:
    """All inclusive jets of each event as (px, py, pz, E)."""
    flat = ak.zip(
        dict(zip(("px", "py", "pz", "E"), momenta(batch).T, strict=True)), with_name="Momentum4D"
    )
    definition = fastjet.JetDefinition(getattr(fastjet, ALGORITHMS[power]), radius)
    jets = fastjet.ClusterSequence(ak.unflatten(flat, batch.counts), definition).inclusive_jets()
    return [
        np.stack([ak.to_numpy(event[name]) for name in ("px", "py", "pz", "E")], axis=1)
        for event in jets
    ]


def kinematics(jets: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """pt, rapidity, phi, squared mass, E."""
    px, py, pz, energy = jets.T
    rapidity = 0.5 * np.log((energy + pz) / (energy - pz))
    return np.hypot(px, py), rapidity, np.arctan2(py, px), energy**2 - px**2 - py**2 - pz**2, energy


def assert_same_jets(ours: Floats, theirs: Floats, where: str) -> None:
    """One to one. Jets are paired by nearness: two of equal pt have no order."""
    assert len(ours) == len(theirs), f"{where}: {len(ours)} jets, FastJet has {len(theirs)}"
    a, b = kinematics(ours), kinematics(theirs)
    off_pt = np.abs(a[0][:, None] / b[0] - 1)
    off_rapidity = np.abs(a[1][:, None] - b[1])
    off_phi = np.abs(np.remainder(a[2][:, None] - b[2] + np.pi, 2 * np.pi) - np.pi)
    partner = (off_pt + off_rapidity + off_phi).argmin(axis=1)
    assert sorted(partner) == list(range(len(ours))), f"{where}: no one-to-one pairing"
    pair = np.arange(len(ours)), partner
    assert off_pt[pair].max() < 1e-7, where
    assert off_rapidity[pair].max() < 1e-7, where
    assert off_phi[pair].max() < 1e-7, where
    assert (np.abs(a[3] - b[3][partner]) <= 1e-12 * b[4][partner] ** 2).all(), where


def as_momenta(jets: np.ndarray) -> Floats:
    """The jets of one tree without the missing ones."""
    values = np.stack([jets.px, jets.py, jets.pz, jets.E], axis=1)
    return values[~np.isnan(values[:, 0])]


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("power", POWERS)
def test_all_jets_are_fastjets(power: int, radius: float) -> None:
    events = shipped_events()
    every = cluster(
        events, radius=radius, rigidity=np.inf, power=float(power), jets=int(events.counts.max())
    )
    leading = cluster(events, radius=radius, rigidity=np.inf, power=float(power), jets=2)
    for i, theirs in enumerate(fastjet_jets(events, power, radius)):
        where = f"event {i}, p = {power}, R = {radius}"
        ours = as_momenta(every.jets[i, 0])
        assert every.n_jets[i, 0] == len(theirs), where
        assert_same_jets(ours, theirs, where)
        pt = np.hypot(ours[:, 0], ours[:, 1])
        assert (np.diff(pt) <= 0).all(), f"{where}: jets are not ordered by pt"
        np.testing.assert_array_equal(as_momenta(leading.jets[i, 0]), ours[:2], err_msg=where)
        hardest = theirs[np.argsort(-np.hypot(theirs[:, 0], theirs[:, 1]))[:2]]
        assert_same_jets(ours[:2], hardest, where)


def test_a_radius_per_event_is_that_radius() -> None:
    events = shipped_events().select(np.arange(30))
    radii = np.tile(RADII, 10)
    trees = cluster(
        events, radius=radii, rigidity=np.inf, power=-1.0, jets=int(events.counts.max())
    )
    for i, radius in enumerate(radii):
        (theirs,) = fastjet_jets(events.select([i]), -1, radius)
        assert_same_jets(as_momenta(trees.jets[i, 0]), theirs, f"event {i}, R = {radius}")


def test_the_properties_of_a_jet_are_those_of_its_momentum() -> None:
    events = shipped_events().select(np.arange(20))
    jets = cluster(events, radius=0.7, rigidity=np.inf, power=-1.0, jets=4).jets
    flat = np.stack([jets.px, jets.py, jets.pz, jets.E], axis=-1).reshape(-1, 4)
    pt, rapidity, phi, mass2, energy = kinematics(flat)
    np.testing.assert_allclose(jets.pt.ravel(), pt, rtol=1e-14)
    np.testing.assert_allclose(jets.rapidity.ravel(), rapidity, rtol=0, atol=1e-9)
    np.testing.assert_allclose(jets.phi.ravel(), phi, rtol=0, atol=1e-14)
    assert (np.abs(jets.mass.ravel() ** 2 - np.maximum(mass2, 0)) <= 1e-12 * energy**2).all()
