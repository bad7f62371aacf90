"""Files of every format read by configuration alone: the particles are those read by hand."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import uproot
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.config.input import Input
from djservice.errors import ChangedFileError, DjserviceError, InputFileError, SchemaError
from djservice.input import formats
from djservice.input.files import inspect
from djservice.input.quarantine import read_or_bad
from djservice.input.read import read_segments
from djservice.input.schemas import schema_of
from djservice.input.segments import segments

pyhepmc = pytest.importorskip("pyhepmc")

EVENTS = 30
RNG = np.random.default_rng(8)
COUNTS = RNG.integers(0, 6, EVENTS)
P3 = RNG.normal(0.0, 20.0, (int(COUNTS.sum()), 3))
MASS = np.where(np.arange(len(P3)) % 2, 0.13957, 0.0)
E = np.sqrt((P3**2).sum(axis=1) + MASS**2)
PID = np.where(np.arange(len(P3)) % 5, 211, -14)
STARTS = np.concatenate([[0], np.cumsum(COUNTS)])


def lists(flat: Any) -> Any:
    return ak.unflatten(np.ascontiguousarray(flat), COUNTS)


def write_jetclass(path: Path) -> None:
    """Lists of numbers, as JetClass has them."""
    columns = {f"part_p{axis}": lists(P3[:, i]) for i, axis in enumerate("xyz")}
    data = {**columns, "part_energy": lists(E), "event_no": np.arange(EVENTS) + 7}
    ak.to_parquet(ak.Array(data), path, row_group_size=10)


def write_records(path: Path) -> None:
    """Lists of records of records."""
    momentum = ak.zip({axis: lists(P3[:, i]) for i, axis in enumerate("xyz")})
    data = {"PFCands": ak.zip({"momentum": momentum, "energy": lists(E)}, depth_limit=2)}
    ak.to_parquet(ak.zip(data, depth_limit=1), path, row_group_size=10, extensionarray=True)


def write_flat(path: Path) -> None:
    """The branches of NanoAOD."""
    pt = np.hypot(P3[:, 0], P3[:, 1])
    fields = {"pt": pt, "eta": np.arcsinh(P3[:, 2] / pt), "phi": np.arctan2(P3[:, 1], P3[:, 0])}
    data = {f"PFCands_{name}": lists(column) for name, column in {**fields, "mass": MASS}.items()}
    arrow = ak.to_arrow_table(ak.Array({**data, "genWeight": np.full(EVENTS, 0.5)}))
    pyarrow.parquet.write_table(
        arrow, path, row_group_size=7, compression="zstd", write_page_checksum=True
    )


def write_hepmc(path: Path, version: str = "HepMC3", units: Any = None) -> None:
    """Two beams, a Higgs boson, its b quarks, and the particles as products of these."""
    run = pyhepmc.GenRunInfo()
    run.weight_names = ["nominal", "up"]
    head = np.array([[0, 0, 6500.0], [0, 0, -6500.0], [0, 0, 0], [60, 0, 0], [-60, 0, 0]])
    masses = [0.938, 0.938, 125.0, 4.8, 4.8]
    with pyhepmc.open(str(path), "w", format=version) as file:
        for number in range(EVENTS):
            own = slice(STARTS[number], STARTS[number + 1])
            momenta, mass = np.vstack([head, P3[own]]), np.concatenate([masses, MASS[own]])
            event = pyhepmc.GenEvent()
            parents = [[0, 0], [0, 0], [1, 2], [3, 3], [3, 3]] + [[4, 4]] * len(mass[5:])
            event.from_hepevt(
                event_number=number + 7,
                px=momenta[:, 0], py=momenta[:, 1], pz=momenta[:, 2],
                en=np.sqrt((momenta**2).sum(axis=1) + mass**2), m=mass,
                pid=np.concatenate([[2212, 2212, 25, 5, -5], PID[own]]),
                status=np.concatenate([[4, 4, 62, 23, 23], np.full(len(mass) - 5, 1)]),
                parents=np.array(parents),
            )  # fmt: skip
            event.run_info, event.weights = run, [0.5, 2.0]
            if units is not None:
                event.set_units(units, pyhepmc.Units.MM)
            file.write(event)


JETCLASS = {
    "columns": {f"p{axis}": f"part_p{axis}" for axis in "xyz"} | {"E": "part_energy"},
    "identity": "event_no",
}
NESTED = {"columns": {f"p{axis}": f"momentum.{axis}" for axis in "xyz"}}
#: Name of a file, who writes it, and the keys of its configuration.
KINDS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any]]] = {
    "JetClass": ("a.parquet", write_jetclass, JETCLASS),
    "records": ("a.parq", write_records, NESTED),
    "NanoAOD in Parquet": ("a.pq", write_flat, {}),
    "HepMC3": ("a.hepmc3", write_hepmc, {"schema": "hepmc"}),
    "HepMC3 in MeV, packed": (
        "a.hepmc.gz",
        lambda path: write_hepmc(path, units=pyhepmc.Units.MEV),
        {"schema": "hepmc"},
    ),
    "HepMC2": ("a.hepmc", lambda path: write_hepmc(path, "HepMC2"), {"schema": "hepmc"}),
}  # fmt: skip


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of_kind(kind: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """A file of a kind, and an input section for it."""
    name, write, options = KINDS[kind]
    write(folder / name)
    return str(folder / name), {"files": str(folder / name), **options}


def schema_for(section: dict[str, Any], **more: Any) -> Any:
    return schema_of(Input.model_validate({**section, **more}))


def test_a_configuration_reads_what_is_read_by_hand(kind: str, tmp_path: Path) -> None:
    path, section = of_kind(kind, tmp_path)
    batch = dj.read(path, schema=schema_for(section))
    seen = np.abs(PID) != 14 if "HepMC" in kind else np.ones(len(PID), bool)
    pt, rapidity = np.hypot(P3[:, 0], P3[:, 1]), np.arctanh(P3[:, 2] / E)
    assert batch.counts.tolist() == ak.sum(lists(seen), axis=1).tolist()
    np.testing.assert_allclose(batch.pt, pt[seen], rtol=1e-9)
    np.testing.assert_allclose(batch.rapidity, rapidity[seen], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(batch.mass, MASS[seen], atol=1e-3)
    if "records" not in kind and "NanoAOD" not in kind:
        assert batch.event.tolist() == list(range(7, 7 + EVENTS))
    weight = 1.0 if kind in ("JetClass", "records") else 0.5
    np.testing.assert_array_equal(batch.weight, weight)
    bundles = segments([inspect(path, schema_for(section))], None, 4)
    parts = [read_segments(bundle, schema_for(section)) for bundle in bundles]
    np.testing.assert_array_equal(np.concatenate([part.pt for part in parts]), batch.pt)
    np.testing.assert_array_equal(np.concatenate([part.key for part in parts]), batch.key)


def test_hepmc_has_truth_other_collections_and_weights(tmp_path: Path) -> None:
    path, _ = of_kind("HepMC3", tmp_path)
    batch = dj.read(path, schema=dj.schemas.hepmc("Stable", truth="GenPart:higgs", weight="up"))
    assert batch.counts.tolist() == COUNTS.tolist() and set(batch.truth) == {125.0}
    np.testing.assert_array_equal(batch.weight, 2.0)
    schema = dj.schemas.hepmc(truth="GenPart:b_pair", columns=["pdgId"], quarks=True)
    pair = dj.read(path, schema=schema)
    np.testing.assert_allclose(pair.truth, 2.0 * np.hypot(60.0, 4.8))
    assert pair.quarks is not None
    assert pair.quarks.pdg_id.tolist() == [5, -5] * len(pair)
    np.testing.assert_allclose(pair.quarks.pt, 60.0)
    assert set(pair.columns["pdgId"]) == {211.0}
    with pytest.raises(SchemaError, match=r"needs branch 'Jets\.p.'; the file has .*'GenPart\.px'"):
        dj.read(path, schema=dj.schemas.hepmc("Jets"))


def damaged(content: bytes, seed: int) -> bytes:
    """A file that is cut, or of which a bit or forty bytes are others."""
    rng, bad = np.random.default_rng(seed), bytearray(content)
    at = int(rng.integers(len(bad) - 40))
    if seed % 3 == 0:
        return bytes(bad[:at])
    bad[at : at + 40] = rng.bytes(40) if seed % 3 == 1 else bad[at : at + 40]
    bad[at] ^= 1 << int(rng.integers(8))
    return bytes(bad)


def test_damage_is_named_and_never_a_raw_error(kind: str, tmp_path: Path) -> None:
    path, section = of_kind(kind, tmp_path)
    content, schema = Path(path).read_bytes(), schema_for(section, pt_min=0.1)
    whole, different = dj.read(path, schema=schema), 0
    for seed in range(24):
        Path(path).write_bytes(damaged(content, seed))
        try:
            batch = dj.read(path, schema=schema)
        except (DjserviceError, UserWarning) as error:
            assert path in str(error)
            continue
        assert seed % 3, "a file that was cut was read"
        different += not np.array_equal(batch.pt, whole.pt)
    if kind in ("NanoAOD in Parquet", "HepMC3 in MeV, packed"):  # they have checksums
        assert different == 0


def test_a_file_that_is_replaced_is_noticed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, section = of_kind(kind, tmp_path)
    schema = schema_for(section)
    (bundle,) = segments([inspect(path, schema)], (3, 9), 10)
    read_segments(bundle, schema)
    monkeypatch.setitem(globals(), "P3", P3[::-1])
    KINDS[kind][1](Path(path))
    with pytest.raises(ChangedFileError, match="the file changed since it was inspected"):
        read_segments(bundle, schema)


def test_a_damaged_event_or_row_group_is_left_out(tmp_path: Path) -> None:
    path, section = of_kind("HepMC3", tmp_path)
    text = Path(path).read_bytes()
    at = text.index(b"\nE 17 ")
    Path(path).write_bytes(text[:at] + text[at:].replace(b"\nP 3 ", b"\nX 3 ", 1))
    schema = schema_for(section)
    (bundle,) = segments([inspect(path, schema)], None, EVENTS)
    batch, (bad,), _ = read_or_bad(bundle, schema)
    assert (bad.first, bad.last, len(batch)) == (10, 11, EVENTS - 1) and "damaged" in bad.reason
    path, section = of_kind("NanoAOD in Parquet", tmp_path)
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    column = metadata.row_group(1).column(0)
    content = bytearray(Path(path).read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    content[start + column.total_compressed_size - 5] ^= 4
    Path(path).write_bytes(content)
    schema = schema_for(section)
    (bundle,) = segments([inspect(path, schema)], None, EVENTS)
    batch, (bad,), _ = read_or_bad(bundle, schema)
    assert (bad.first, bad.last, len(batch)) == (7, 14, EVENTS - 7)


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, section = of_kind("HepMC3", tmp_path)
    monkeypatch.setitem(sys.modules, "pyhepmc", None)
    with pytest.raises(InputFileError, match=r"pip install 'djservice\[hepmc\]'"):
        dj.read(path, schema=schema_for(section))


@pytest.mark.parametrize("name", ["a.parquet", "a.hepmc", "a.hepmc.gz"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"no such thing\n" * 99, bytes(5000)])
def test_something_else_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputFileError, match=rf"{name}: expected .*opy it again, or remove it"):
        dj.read(str(tmp_path / name), schema=dj.schemas.hepmc())
    with pytest.raises(InputFileError, match="expected a regular file, found a folder"):
        (tmp_path / "folder.hepmc").mkdir()
        dj.read(str(tmp_path / "folder.hepmc"), schema=dj.schemas.hepmc())


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (b"E 0 1 1\nU GEV MM\nV -1 0 [99]\nP 1 -1 11 1 0 0 2 0 1\n", "beyond its 1: the file is"),
        (b"E 4294967296 0 1\nU GEV MM\nP 1 0 11 1 0 0 2 0 1\n", "expected event numbers of 32"),
        (b"E 7 0 1\nU GEV MM\nP 1 0 11 1 0 0 2 0 1\n", ""),
    ],
)
def test_an_event_of_hepmc_without_names_of_weights_is_read_or_named(
    event: bytes, message: str, tmp_path: Path
) -> None:
    """A vertex with a particle that is not there ends pyhepmc's process."""
    path, listing = tmp_path / "a.hepmc3", b"HepMC::Asciiv3-%s_EVENT_LISTING\n"
    head = b"HepMC::Version 3.02.05\n" + listing % b"START"
    path.write_bytes(head + event + listing % b"END")
    if message:
        with pytest.raises(InputFileError, match=message):
            dj.read(str(path), schema=dj.schemas.hepmc())
        return
    batch = dj.read(str(path), schema=dj.schemas.hepmc())
    assert (batch.event.tolist(), batch.pt.tolist()) == ([7], [1.0])


@pytest.mark.parametrize(("limit", "where"), [("HEAD", "before the first"), ("EVENT", "in an")])
def test_text_that_would_fill_the_memory_is_named(
    limit: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a packed file of a few megabytes."""
    path, section = of_kind("HepMC3", tmp_path)
    monkeypatch.setattr(f"djservice.input.hepmc_file._LARGEST_{limit}", 50)
    with pytest.raises(InputFileError, match=rf"expected at most 50 bytes {where} event, found m"):
        dj.read(path, schema=schema_for(section))


def test_files_without_events_are_empty_files(tmp_path: Path) -> None:
    for kind in ("NanoAOD in Parquet", "HepMC3"):
        path, section = of_kind(kind, tmp_path)
        empty = tmp_path / f"0{Path(path).suffix}"
        if kind == "HepMC3":
            text = Path(path).read_bytes()
            empty.write_bytes(text[: text.index(b"\nE ")] + b"\nHepMC::Asciiv3-END_EVENT_LISTING\n")
        else:
            pyarrow.parquet.write_table(pyarrow.table({}), empty)
        assert inspect(str(empty), schema_for(section)).entries == 0
        assert len(dj.read([path, str(empty)], schema=schema_for(section))) == EVENTS


def test_selections_and_skims_say_what_they_take(tmp_path: Path) -> None:
    parquet, _ = of_kind("NanoAOD in Parquet", tmp_path)
    hepmc, _ = of_kind("HepMC3", tmp_path)
    schema = dj.schemas.nanoaod(selection={"name": "any"})
    (bundle,) = segments([inspect(parquet, schema)], None, EVENTS)
    with pytest.raises(SchemaError, match="expected a ROOT file, of whose tree coffea"):
        read_segments(bundle, schema)
    target = tmp_path / "skim.root"
    done = CliRunner().invoke(main, ["skim", parquet, str(target), "--pt-min", "2"])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(
        dj.read(str(target), schema=dj.schemas.nanoaod(pt_min=2.0)).pt,
        dj.read(parquet, schema=dj.schemas.nanoaod(pt_min=2.0)).pt,
    )
    refused = CliRunner().invoke(main, ["skim", hepmc, str(target)])
    assert refused.exit_code == 1 and "needs branch 'PFCands_pt'; the file has" in refused.output


def test_root_files_of_other_names_are_read(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "events.dat") as file:
        file.mktree("Events", {"x": "f8"}).extend({"x": np.ones(2)})
    assert formats.opener_of("https://a/b.parquet?token=x") is formats.opener_of("b.PQ")
    with pytest.raises(SchemaError, match="needs branch 'PFCands_pt'; the tree 'Events' has 'x'"):
        dj.read(str(tmp_path / "events.dat"))
