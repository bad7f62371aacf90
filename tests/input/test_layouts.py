"""Delphes, PHYSLITE, PFNano, several collections, weights of particles: the same events by the service and by coffea."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import coffea.nanoevents
import numpy as np
import pytest
import uproot
import vector

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputError, SchemaError
from djservice.input.schemas import Schema, delphes, nanoaod, pfnanoaod, physlite, schema_of

DATA = Path(__file__).parent / "data"  # written by ROOT itself: write_layouts.py
FLOW = ("GlobalChargedParticleFlowObjects", "GlobalNeutralParticleFlowObjects")
#: pt, eta, phi, mass of the three events of both files, charged particles first.
PARTICLES = np.array(
    [
        (10.0, 0.5, 0.1, 0.13957),
        (20.0, -1.5, 2.0, 0.49368),
        (7.0, 1.0, 0.5, 0.0),
        (5.0, 2.0, -3.0, 0.0),
        (3.0, -0.5, 1.5, 0.0),
        (4.0, 0.25, -1.5, 0.0),
        (9.0, -2.5, 3.0, 0.0),
    ]
)
OFFSETS = [0, 3, 3, 7]
OF_A_BATCH = (
    "pt",
    "rapidity",
    "phi",
    "mass",
    "offsets",
    "weight",
    "truth",
    "run",
    "event",
    "entry",
    "key",
)


def write(path: Path, weights: Any = ((0.5, 0.0), (), (1.0,))) -> str:
    """Charged and neutral candidates of three events, with puppiWeight."""
    rng = np.random.default_rng(1)

    def particles(counts: list[int], weight: Any) -> Any:
        columns = {
            f: rng.uniform(1, 3, sum(counts)).astype(np.float32)
            for f in ("pt", "eta", "phi", "mass")
        }
        columns["charge"] = np.ones(sum(counts), np.int32)
        columns["puppiWeight"] = np.asarray(weight, np.float32)
        return ak.unflatten(ak.zip(columns), counts)

    data = {
        "PFCands": particles([2, 0, 1], [w for event in weights for w in event]),
        "Neutrals": particles([1, 1, 2], [0.25, 0.0, 1.0, 0.5]),
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: array.type for name, array in data.items()}).extend(data)
    return str(path)


def momenta(batch: dj.EventBatch) -> Any:
    """Four-momenta of its particles."""
    px, py = batch.pt * np.cos(batch.phi), batch.pt * np.sin(batch.phi)
    mt = np.hypot(batch.pt, batch.mass)
    return np.stack([px, py, mt * np.sinh(batch.rapidity), mt * np.cosh(batch.rapidity)])


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("delphes", delphes(truth="GenPart:higgs")),
        ("physlite", physlite(FLOW, truth="GenPart:higgs")),
    ],
)
def test_files_of_delphes_and_physlite_give_the_particles_in_gev(file: str, schema: Schema) -> None:
    batch = dj.read(DATA / f"{file}.root", schema=schema)
    pt, eta, phi, mass = PARTICLES.T
    np.testing.assert_array_equal(batch.offsets, OFFSETS)
    for name, expected in (("pt", pt), ("phi", phi), ("mass", mass)):
        np.testing.assert_allclose(getattr(batch, name), expected, rtol=1e-6, err_msg=name)
    expected = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass}).rapidity
    np.testing.assert_allclose(batch.rapidity, expected, rtol=1e-5)
    np.testing.assert_array_equal(batch.weight, [0.5, 1.0, 2.0])
    np.testing.assert_array_equal(batch.truth, {"delphes": 125.0, "physlite": 124.5}[file])
    run, number = {"delphes": (0, [0, 0, 0]), "physlite": (284500, [1000, 1001, 1002])}[file]
    np.testing.assert_array_equal(batch.run, run)
    np.testing.assert_array_equal(batch.event, number)
    assert len(np.unique(batch.key)) == 3


def test_truth_of_other_layouts() -> None:
    b_pair = np.sqrt(2 * 4.75**2 + 2 * (np.hypot(4.75, 60 * np.cosh(1)) * np.hypot(4.75, 50 * np.cosh(1))
        - 60 * 50 * (np.cos(2.0) - np.sinh(1) ** 2)))  # fmt: skip
    truth = dj.read(DATA / "delphes.root", schema=delphes(truth="GenPart:b_pair")).truth
    np.testing.assert_allclose(truth, b_pair, rtol=1e-6)
    for schema in (delphes(truth=90), physlite(FLOW, truth=90)):
        np.testing.assert_array_equal(
            dj.read(DATA / f"{schema.kind}.root", schema=schema).truth, 90.0
        )
    assert dj.read(DATA / "delphes.root", schema=delphes(truth="Event.Weight")).truth.tolist() == [
        0.5,
        1.0,
        2.0,
    ]
    in_mev = dj.read(DATA / "physlite.root", schema=physlite(FLOW, truth="TruthBosonAuxDyn.m"))
    np.testing.assert_array_equal(in_mev.truth, 91.0)
    with pytest.raises(
        InputError, match="truth='GenPart:b_pair': expected a branch, or one of GenPart:higgs"
    ):
        physlite(FLOW, truth="GenPart:b_pair")


def test_collections_are_put_together_and_their_weights_multiply_the_momenta(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "puppi.root")
    parts = {name: dj.read(path, schema=nanoaod(name)) for name in ("PFCands", "Neutrals")}
    both = dj.read(path, schema=nanoaod(("PFCands", "Neutrals")))
    assert both.counts.tolist() == [3, 1, 3]
    order = [
        ("PFCands", 0),
        ("PFCands", 1),
        ("Neutrals", 0),
        ("Neutrals", 1),
        ("PFCands", 2),
        ("Neutrals", 2),
    ]
    np.testing.assert_array_equal(both.pt[:6], [parts[name].pt[i] for name, i in order])
    scaled = dj.read(path, schema=nanoaod(("PFCands", "Neutrals"), particle_weight="puppiWeight"))
    assert scaled.counts.tolist() == [2, 0, 3]
    weight, kept = np.array([0.5, 0.25, 1.0, 1.0, 0.5]), [0, 2, 4, 5, 6]
    np.testing.assert_allclose(momenta(scaled), weight * momenta(both)[:, kept], rtol=1e-12)
    threshold = float(scaled.pt[0])
    cut = dj.read(
        path,
        schema=nanoaod(("PFCands", "Neutrals"), particle_weight="puppiWeight", pt_min=threshold),
    )
    np.testing.assert_array_equal(cut.pt, scaled.pt[scaled.pt > threshold])


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("delphes", delphes(truth="GenPart:b_pair")),
        ("physlite", physlite(FLOW, pt_min=4.5, truth="GenPart:higgs")),
        ("puppi", pfnanoaod(particle_weight="puppiWeight", eta_max=2.5)),
        ("puppi", nanoaod(("PFCands", "Neutrals"), particle_weight="puppiWeight")),
    ],
    ids=["delphes", "physlite", "pfnanoaod", "several"],
)
def test_coffea_and_the_service_read_the_same_events(
    file: str, schema: Schema, tmp_path: Path
) -> None:
    path = write(tmp_path / "puppi.root") if file == "puppi" else str(DATA / f"{file}.root")
    base = getattr(coffea.nanoevents, schema.layout.coffea)
    quiet = type("Quiet", (base,), {"warn_missing_crossrefs": False, "event_ids": [], "mixins": {}})
    events = coffea.nanoevents.NanoEventsFactory.from_root(
        {path: schema.tree},
        schemaclass=quiet if issubclass(base, coffea.nanoevents.NanoAODSchema) else base,
        metadata={"dataset": "d", "filename": path},
        mode="virtual",
    ).events()
    given = schema.model_dump(exclude={"kind", "tree", "selection", "quarks"})
    own = dj.RadiusProcessor(
        dj.observables.dijet_mass, radius=0.4, schema=schema.kind, **given
    ).batch(events)
    expected = dj.read(path, schema=schema, dataset="d")
    for name in OF_A_BATCH:
        np.testing.assert_array_equal(getattr(own, name), getattr(expected, name), err_msg=name)


def test_a_configuration_names_them(tiny: dict[str, Any]) -> None:
    tiny["input"] = {"files": str(DATA / "delphes.root"), "schema": "delphes", "pt_min": 1.0}
    assert schema_of(Run.from_dict(tiny).input) == delphes(pt_min=1.0)
    tiny["input"] |= {"schema": "physlite", "particles": list(FLOW)}
    assert schema_of(Run.from_dict(tiny).input) == physlite(FLOW, pt_min=1.0)
    tiny["input"] |= {
        "schema": "pfnanoaod",
        "particles": "PFCands",
        "particle_weight": "puppiWeight",
    }
    run = Run.from_dict(tiny)
    assert schema_of(run.input) == pfnanoaod(particle_weight="puppiWeight", pt_min=1.0)
    assert Run.from_dict(run.to_dict()) == run


def test_what_is_missing_or_has_no_meaning_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "puppi.root", weights=((0.5, -1.0), (), (1.0,)))
    with pytest.raises(
        InputError,
        match=r"puppi\.root, entry 0, particle 1: puppiWeight is -1\.0, expected a finite",
    ):
        dj.read(path, schema=pfnanoaod(particle_weight="puppiWeight"))
    with pytest.raises(SchemaError, match="needs branch 'PFCands_weight'"):
        dj.read(path, schema=nanoaod(particle_weight="weight"))
    with pytest.raises(SchemaError, match=r"needs branch 'Jet\.PT'; the tree 'Delphes' has"):
        dj.read(DATA / "delphes.root", schema=delphes("Jet"))
    with pytest.raises(InputError, match="physlite': expected the name of a collection"):
        physlite(())
    with pytest.raises(InputError, match="a collection is named twice"):
        nanoaod(("PFCands", "PFCands"))
    with pytest.raises(SchemaError, match="expected one number per event in branch 'PFCands_pt'"):
        dj.read(path, schema=nanoaod(weight="PFCands_pt"))
    with pytest.raises(
        InputError,
        match=r"entry 1: expected a number in branch 'EFlowTrack\.PT', found an empty list",
    ):
        dj.read(DATA / "delphes.root", schema=delphes(truth="EFlowTrack.PT"))


@pytest.mark.parametrize("branch", ["{}AuxDyn:{}", "{}Aux:{}", "{}AuxDyn.{}", "{}Aux.{}"])
def test_physlite_in_an_rntuple_and_static_containers(tmp_path: Path, branch: str) -> None:
    values = {
        "pt": [2e4, 1e4, 3e4],
        "eta": [0.5, -1.0, 2.0],
        "phi": [0.1, 3.0, -2.0],
        "m": [5e3] * 3,
    }
    columns = {
        branch.format("AnalysisJets", name): ak.unflatten(np.array(column, np.float32), [2, 1])
        for name, column in values.items()
    }
    for name, number in (("runNumber", 7), ("lumiBlock", 1), ("eventNumber", 3)):
        columns[
            branch.replace("Aux:", "AuxDyn:").replace("Aux.", "AuxDyn.").format("EventInfo", name)
        ] = ak.Array(np.full(2, number) + np.arange(2))
    with uproot.recreate(tmp_path / "a.root") as file:
        if ":" in branch:
            file.mkrntuple("EventData", ak.zip(columns, depth_limit=1))
        else:
            types = {name: str(column.type.content) for name, column in columns.items()}
            file.mktree("EventData", types).extend(columns)
    batch = dj.read(
        tmp_path / "a.root", schema=dj.schemas.physlite("AnalysisJets", tree="EventData")
    )
    np.testing.assert_array_equal(batch.pt, [20.0, 10.0, 30.0])
    assert batch.run.tolist() == [7, 8] and batch.event.tolist() == [3, 4]


VECTOR = {"px": "fP.fX", "py": "fP.fY", "pz": "fP.fZ", "E": "fE"}


@pytest.mark.parametrize(
    ("collection", "columns"),
    [("vectors", VECTOR), ("split_clones", VECTOR), ("split_structs", {})],
)
def test_whole_objects_that_uproot_reads(collection: str, columns: dict[str, str]) -> None:
    batch = dj.read(str(DATA / "objects.root"), schema=nanoaod(collection, columns=columns))
    assert batch.offsets.tolist() == [0, 2, 2, 3]
    np.testing.assert_allclose(batch.pt, [10.0, 20.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(batch.mass, [0.13957, 0.49368, 0.0], atol=1e-5)


@pytest.mark.parametrize(
    ("collection", "columns", "message"),
    [
        ("vectors", {}, "'vectors' has whole objects: name fP.fX, fP.fY, fP.fZ, fE in columns"),
        ("structs", {}, "uproot cannot read the objects in branch 'structs'.* Write them split"),
        ("lists", {}, r"'lists' has whole objects \(Candidates\)\. Write them split"),
        ("clones", VECTOR, r"'clones' has whole objects \(TClonesArray\)\. Write them split"),
    ],
)
def test_whole_objects_that_are_refused(
    collection: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(SchemaError, match=rf"objects\.root.*{message}"):
        dj.read(str(DATA / "objects.root"), schema=nanoaod(collection, columns=columns))
