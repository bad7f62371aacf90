"""workflows/coffea_analysis.py: what it does to events, and that chunks and executors do not change its numbers."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from click.testing import CliRunner
from coffea import processor
from coffea.nanoevents import NanoEventsFactory
from coffea.nanoevents.methods import vector as coffea_vector
from distributed import Client

import djservice as dj

SCRIPT = Path(__file__).parents[2] / "workflows/coffea_analysis.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The workflow as a module."""
    spec = importlib.util.spec_from_file_location("coffea_analysis", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_isolated_leptons(script: ModuleType) -> None:
    fields = ("pt", "eta", "phi", "mass", "pdgId")
    events = [
        [
            (30.0, 0.0, 0.0, 0.1, 13),
            (3.0, 0.1, 0.1, 0.1, 211),
            (40.0, 0.0, 3.0, 0.1, -211),
        ],  # 10 % near it: isolated
        [(30.0, 0.0, 3.1, 0.1, -11), (6.0, 0.1, -3.1, 0.1, 211)],  # 20 % near it, across phi = pi
        [(9.0, 0.0, 0.0, 0.1, 11), (50.0, 1.0, 1.0, 0.0, 22)],  # too soft
        [],
        [(12.0, 2.0, 1.0, 0.1, 11), (12.0, -2.0, 1.0, 0.1, -11)],  # two of them
    ]
    particles = ak.zip(
        {
            name: ak.Array([[particle[i] for particle in event] for event in events])
            for i, name in enumerate(fields)
        },
        with_name="PtEtaPhiMLorentzVector",
        behavior=coffea_vector.behavior,
    )
    expected = [[True, False, False], [False, False], [False, False], [], [True, True]]
    assert script.isolated_leptons(particles).to_list() == expected


@pytest.fixture(scope="module")
def results(script: ModuleType) -> tuple[dict[str, Any], dict[str, Any]]:
    """What comes of it in one chunk."""
    own, radius = script.analyse(processor.IterativeExecutor(status=False), chunksize=200)
    return own, radius


def test_the_histogram_is_what_the_batch_api_gives(
    script: ModuleType, results: tuple[dict[str, Any], Any]
) -> None:
    found = results[0]["ZH"]
    batch = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))
    particles = ak.unflatten(
        ak.zip({f: getattr(batch, f) for f in ("pt", "rapidity", "phi", "mass")}), batch.counts
    )
    events = processor_events(script, dj.examples.path("ZHllbb_200"))
    lepton = script.isolated_leptons(events.PFCands[events.PFCands.pt > 0.5])
    assert ak.sum(lepton) > 0
    identity = (batch.run, batch.luminosity_block, batch.event)
    cleaned = dj.EventBatch.from_awkward(particles[~lepton], identity=identity)
    jets = dj.cluster(cleaned, radius=0.4, rigidity=math.inf, jets=20).jets[:, 0]
    selected = ((np.nan_to_num(jets.pt) > 20.0) & (np.abs(jets.eta) < 2.5)).sum(axis=1) >= 2
    mass = dj.expectation(
        cleaned.select(selected),
        dj.observables.dijet_mass,
        radius=0.7,
        trees=20,
        seed=1,
        where=script.CUT,
    )
    known = mass.acceptance > 0
    assert (found["events"], found["selected"], found["accepted"]) == (
        200,
        selected.sum(),
        known.sum(),
    )
    weights = np.histogram(
        mass.mean[known], found["mass"].axes[0].edges, weights=mass.acceptance[known]
    )[0]
    assert weights.sum() > 50
    np.testing.assert_allclose(found["mass"].values(), weights, rtol=1e-12)


def processor_events(script: ModuleType, path: str) -> Any:
    """The events as a Runner gives them."""
    return NanoEventsFactory.from_root(
        {path: "Events"}, schemaclass=script.Schema, mode="virtual"
    ).events()


def test_chunks_and_executors_change_rounding_only(
    script: ModuleType, results: tuple[dict[str, Any], dict[str, Any]], scheduler: str
) -> None:
    own, radius = results
    with Client(scheduler, set_as_default=False) as client:
        for executor in (
            processor.IterativeExecutor(status=False),
            processor.DaskExecutor(client=client, status=False),
        ):
            some, other = script.analyse(executor, chunksize=60)
            np.testing.assert_allclose(
                some["ZH"]["mass"].values(), own["ZH"]["mass"].values(), rtol=1e-12
            )
            assert [some["ZH"][name] for name in ("events", "selected", "accepted")] == [
                own["ZH"][name] for name in ("events", "selected", "accepted")
            ]
            for name in ("loss", "gradient", "mean", "sd", "acceptance"):
                a, b = getattr(other["all"], name), getattr(radius["all"], name)
                np.testing.assert_allclose(
                    (a.value, a.error), (b.value, b.error), rtol=1e-11, err_msg=name
                )


def test_the_command(script: ModuleType, results: tuple[dict[str, Any], dict[str, Any]]) -> None:
    done = CliRunner().invoke(script.main, [])
    assert done.exit_code == 0, done.output
    loss = results[1]["all"].loss
    assert f"loss at R = 0.7: {loss.value:.4f} +- {loss.error:.4f}" in done.output
    assert f"ZH: 200 events, {results[0]['ZH']['selected']} selected" in done.output


def test_jets_meet_the_vectors_of_coffea(script: ModuleType) -> None:
    events = processor_events(script, dj.examples.path("ZHllbb_200"))[:20]
    jets = dj.cluster_jets(events.PFCands, radius=0.4, pt_min=20.0)
    assert jets.layout.content.purelist_parameter("__record__") == "Momentum4D"
    both = ak.num(jets) >= 2
    pair = jets[both][:, 0] + jets[both][:, 1]
    exact = vector.obj(
        **{c: float(sum(jets[both][0, k][c] for k in (0, 1))) for c in ("px", "py", "pz", "E")}
    )
    assert pair[0].mass == pytest.approx(exact.mass, rel=1e-12)
    generated = events.GenJet[both]
    distance = ak.min(jets[both][:, 0].deltaR(generated), axis=1)
    assert 0.0 < ak.min(distance) < 0.1
