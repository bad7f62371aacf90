"""Trees of other layouts, read by naming their branches: the particles are those read by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputError, InputWarning, SchemaError
from djservice.input.schemas import schema_of

RNG = np.random.default_rng(5)
COUNTS = [2, 0, 3, 1]
PT, ETA, PHI, MASS = (RNG.uniform(low, high, 6) for low, high in ((1, 9), (-3, 3), (-3, 3), (0, 2)))
BY_HAND = vector.array({"pt": PT, "eta": ETA, "phi": PHI, "mass": MASS})
FIELDS = {
    name: ak.unflatten(np.asarray(getattr(BY_HAND, name)), COUNTS)
    for name in ("pt", "eta", "phi", "mass", "px", "py", "pz", "E")
}
THETA = 2.0 * np.arctan(np.exp(-FIELDS["eta"]))
RUN, EVENT = np.full(4, 3), np.arange(11, 15)


def write(path: Path, data: dict[str, Any], tree: str = "Events", rntuple: bool = False) -> str:
    data = {name: ak.Array(array) for name, array in data.items()}
    with uproot.recreate(path) as file:
        if rntuple:
            file.mkrntuple(tree, ak.zip(data, depth_limit=1))
        else:
            file.mktree(tree, {n: str(a.type.content) for n, a in data.items()}).extend(data)
    return str(path)


def one_each(numbers: Any) -> Any:
    """A list of one number for each event."""
    return ak.unflatten(np.asarray(numbers), 1)


def fields(formats: dict[str, str], scale: float = 1.0) -> dict[str, Any]:
    """Branches of the particles, with energies in units of 1/scale GeV."""
    return {
        branch: FIELDS[name] * (1.0 if name in ("eta", "phi") else scale)
        for name, branch in formats.items()
    }


CODES = ak.unflatten(np.array([211, -11, 22, 130, -2212, 13], np.int32), COUNTS)
OF_CODES = np.array([0.13957039, 0.00051099895, 0.0, 0.497611, 0.93827209, 0.1056583755])
RECORDS = {"Jet_AK8": ak.zip({name: FIELDS[name] for name in ("pt", "eta", "phi", "mass")})}
MOMENTUM = ak.zip({axis: FIELDS[f"p{axis}"] for axis in "xyz"})
FCC = ak.zip({"momentum": MOMENTUM, "energy": FIELDS["E"]}, depth_limit=2)
FCC_MAP = {f"p{axis}": f"momentum.{axis}" for axis in "xyz"}
TRACKS = {
    "qOverP": -np.sin(THETA) / FIELDS["pt"] / 1000.0,
    "theta": THETA,
    "phi": FIELDS["phi"],
}
#: Content of a file, whether it is an RNTuple, schema and its options.
KINDS: dict[str, tuple[dict[str, Any], bool, str, dict[str, Any]]] = {
    "flat": (
        fields({n: f"part_{n}" for n in ("px", "py", "pz", "E")}, 1000.0) | {"event_no": EVENT},
        False,
        "nanoaod",
        {
            "columns": {"px": "part_px", "py": "part_py", "pz": "part_pz", "E": "part_E"},
            "identity": "event_no",
            "units": "MeV",
        },
    ),
    "pt and energy": (
        fields({"pt": "Jet_AK8_pt", "eta": "Jet_AK8_eta", "phi": "Jet_AK8_phi", "E": "Jet_AK8_E"}),
        False,
        "nanoaod",
        {"particles": "Jet_AK8"},
    ),
    "EDM4hep": (
        fields({f"p{axis}": f"Reconstructed.momentum.{axis}" for axis in "xyz"})
        | {"Reconstructed.energy": FIELDS["E"], "EventHeader.runNumber": one_each(RUN)}
        | {"EventHeader.eventNumber": one_each(EVENT), "EventHeader.weight": one_each([0.5] * 4)},
        False,
        "nanoaod",
        {
            "particles": "Reconstructed",
            "columns": FCC_MAP,
            "identity": ["EventHeader.runNumber", "EventHeader.eventNumber"],
            "weight": "EventHeader.weight",
        },
    ),
    "EDM4hep in an RNTuple": (
        {"Reconstructed": FCC},
        True,
        "nanoaod",
        {"particles": "Reconstructed", "columns": FCC_MAP},
    ),
    "records in an RNTuple": (RECORDS, True, "nanoaod", {"particles": "Jet_AK8"}),
    "TreeMaker": (
        fields(
            {n: f"Jets.fCoordinates.f{n.title()}" for n in ("pt", "eta", "phi", "E")}
        ),
        False,
        "nanoaod",
        {
            "particles": "Jets",
            "columns": {n: f"fCoordinates.f{n.title()}" for n in ("pt", "eta", "phi", "E")},
        },
    ),
    "TLorentzVector": (
        fields({n: f"Jets.fP.f{n[1].upper()}" for n in ("px", "py", "pz")} | {"E": "Jets.fE"}),
        False,
        "nanoaod",
        {
            "particles": "Jets",
            "columns": {"px": "fP.fX", "py": "fP.fY", "pz": "fP.fZ", "E": "fE"},
        },
    ),
    "tracks of PHYSLITE": (
        {f"TracksAuxDyn.{name}": column for name, column in TRACKS.items()},
        False,
        "physlite",
        {"particles": "Tracks", "columns": {"mass": 0.13957}},
    ),
    "muons of PHYSLITE": (
        fields({n: f"MuonsAuxDyn.{n}" for n in ("pt", "eta", "phi")}, 1000.0),
        False,
        "physlite",
        {"particles": "Muons", "columns": {"mass": 0.10566}},
    ),
    "masses by code": (
        fields({n: f"PFCands_{n}" for n in ("pt", "eta", "phi")}) | {"PFCands_pdgId": CODES},
        False,
        "nanoaod",
        {"columns": {"mass": "pdgId"}},
    ),
    "masses by code, of MeV": (
        fields({n: f"part_{n}" for n in ("px", "py", "pz")}, 1000.0) | {"part_id": CODES},
        False,
        "nanoaod",
        {
            "columns": {f"p{x}": f"part_p{x}" for x in "xyz"} | {"mass": "pdgId", "pdgId": "part_id"},
            "units": "MeV",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_reads_what_is_read_by_hand(
    kind: str, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    data, rntuple, schema, options = KINDS[kind]
    path = write(tmp_path / "a.root", data, "t", rntuple)
    tiny["input"] = {"files": path, "schema": schema, "tree": "t", **options}
    run = Run.from_dict(tiny)
    assert Run.from_dict(run.to_dict()) == run
    batch = dj.read(path, schema=schema_of(run.input))
    mass = options.get("columns", {}).get("mass", MASS)
    mass = OF_CODES if isinstance(mass, str) else mass
    assert batch.counts.tolist() == COUNTS
    rapidity = vector.array({"pt": PT, "eta": ETA, "phi": PHI, "mass": mass + 0.0 * PT}).rapidity
    for name, expected in (("pt", PT), ("phi", PHI), ("rapidity", rapidity)):
        np.testing.assert_allclose(getattr(batch, name), expected, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(batch.mass, mass, rtol=1e-4)  # E and p differ by little
    if "identity" in options:
        assert batch.event.tolist() == EVENT.tolist()
        assert batch.run.tolist() == [3 if len(options["identity"]) == 2 else 0] * 4
    np.testing.assert_array_equal(batch.weight, 0.5 if "weight" in options else 1.0)
    cut = dj.read(path, schema=schema_of(run.input.model_copy(update={"pt_min": 3.0})))
    np.testing.assert_array_equal(cut.pt, batch.pt[batch.pt > 3.0])


def test_the_schema_in_python_takes_the_same(tmp_path: Path) -> None:
    data, _, _, options = KINDS["flat"]
    path = write(tmp_path / "a.root", data | {"charge": FIELDS["phi"]})
    columns = options["columns"] | {"charge": "charge"}
    batch = dj.read(path, schema=dj.schemas.nanoaod(**options | {"columns": columns}))
    np.testing.assert_allclose(batch.pt, PT)
    np.testing.assert_array_equal(batch.columns["charge"], PHI)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"columns": {"px": "part_x"}}, SchemaError, r"a\.root: .* 'part_x'; .* has 'part_px'"),
        ({"columns": {"px": "part_px"}}, SchemaError, "needs branch 'PFCands_py'"),
        ({"columns": {"pt": "a", "px": "b"}}, InputError, "pt, px, which make no momentum"),
        ({"columns": {"pt": 3.0}}, InputError, "pt is 3.0, expected a field or a branch"),
        ({"columns": {"mass": -1.0}}, InputError, "mass is -1.0, expected"),
        ({"columns": {"identity": "event_no"}}, InputError, "expected it as a key beside columns"),
        ({"identity": ["run", "event_no"]}, SchemaError, "needs branch 'run'; .* 'event_no'"),
        ({"units": "TeV"}, InputError, "units: expected .*GeV.*MeV"),
        ({"particles": ("A", "B")}, SchemaError, "those of each of the collections A, B"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_named(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    data, _, _, right = KINDS["flat"]
    path = write(tmp_path / "a.root", data)
    with pytest.raises(error, match=message):
        dj.read(path, schema=dj.schemas.nanoaod(**{**right, **options}))


def test_a_code_without_a_known_mass_is_named(tmp_path: Path) -> None:
    data, _, _, options = KINDS["masses by code"]
    path = write(tmp_path / "a.root", {**data, "PFCands_pdgId": CODES * 10})
    with pytest.raises(InputError, match=r"a.root.*pdgId 110, 220, .* are not known. Name a field"):
        dj.read(path, schema=dj.schemas.nanoaod(**options))


def test_an_energy_below_the_momentum_is_named_unless_its_particle_is_cut(tmp_path: Path) -> None:
    data = dict(KINDS["flat"][0])
    energy = np.asarray(ak.flatten(data["part_E"])).copy()
    energy[3] = 1.0
    data["part_E"] = ak.unflatten(energy, COUNTS)
    path, options = write(tmp_path / "a.root", data), KINDS["flat"][3]
    with pytest.raises(InputError, match=r"a\.root\[0:4\], entry 2, particle 1: E is 1\.0, exp"):
        dj.read(path, schema=dj.schemas.nanoaod(**options))
    for axis in ("px", "py"):
        data[f"part_{axis}"] = ak.where(data["part_E"] == 1.0, 0.0, data[f"part_{axis}"])
    path = write(tmp_path / "b.root", data)
    batch = dj.read(path, schema=dj.schemas.nanoaod(pt_min=0.1, **options))
    assert batch.counts.tolist() == [2, 0, 2, 1]
    with pytest.raises(InputError, match=r"entry 2 .*particle 1: pt is 0\.0"):
        dj.read(path, schema=dj.schemas.nanoaod(**options))


def test_a_cut_in_mev_is_doubted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", KINDS["muons of PHYSLITE"][0], "CollectionTree")
    muons = {"particles": "Muons", "columns": {"mass": 0.10566}}
    with pytest.warns(InputWarning, match="pt_min is 2000 GeV, more than 100 times the median pT"):
        batch = dj.read(path, schema=dj.schemas.physlite(**muons, pt_min=2000.0))
    assert len(batch.doubts) == 1 and len(batch.pt) == 0
    assert not dj.read(path, schema=dj.schemas.physlite(**muons, pt_min=2.0)).doubts
