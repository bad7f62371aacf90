"""Exports: numbers of the store, beside the identity of the event, in files that other programs read and accept."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from click.testing import CliRunner, Result

import djservice as dj
from djservice.cli import main
from djservice.errors import StoreError
from djservice.exports.contents import contents_of
from djservice.exports.write import export
from djservice.reports.html import report
from djservice.store.run_store import Store


@pytest.fixture(scope="session")
def per_event_run(done_once: Callable[..., Path], tiny_run: Callable[..., dict[str, Any]]) -> Path:
    """A run with one radius per event."""

    def settings(store: Path) -> dict[str, Any]:
        section = {"iterations": 3, "starts": [0.5, 1.0], "trees": 4}
        section |= {"choose_trees": 4, "score_trees": 4, "accepted": 1}
        return tiny_run(store) | {"task": "per-event", "per_event": section}

    return done_once("per_event", settings)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_a_friend_tree_joins_nanoaod_by_run_block_and_event(
    per_event_run: Path, tmp_path: Path
) -> None:
    file = export(per_event_run, "root", tmp_path / "friend.root", jets=2)
    with uproot.open(file) as friend, uproot.open(dj.examples.path("ZHllbb_200")) as nano:
        names = ("run", "luminosityBlock", "event")
        theirs, ours = nano["Events"].arrays(names), friend["events"].arrays()
        kinds = nano["Events"].typenames()
        assert all(friend["events"].typenames()[name] == kinds[name] for name in names)
        row = {
            tuple(map(int, values)): i
            for i, values in enumerate(zip(*ak.unzip(theirs), strict=True))
        }
        joined = [row[tuple(int(event[name]) for name in names)] for event in ours]
        description = json.loads(friend["description"])
    assert joined == ours["entry"].tolist() == list(range(40))
    store = Store.read(per_event_run)
    radius = store.column("per_event", "radius")
    assert ours["radius"].tolist() == radius.tolist()
    optimum = store.column("spectrum", "event_mean")[1]
    assert np.array_equal(ours["dijet_mass_optimum"], optimum, equal_nan=True)
    assert description["columns"]["events"]["dijet_mass_optimum"]["units"] == "GeV"
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    jets = dj.cluster_jets(events, radius=radius, jets=2)
    for name in ("pt", "eta", "phi", "mass"):
        assert ours[f"Jet_{name}"].tolist() == getattr(jets, name).tolist()


def test_jets_of_two_trees_of_one_file_are_not_mixed(
    tiny_run: Callable[[Path], dict[str, Any]], scheduler: str, tmp_path: Path
) -> None:
    """Their events have the same numbers."""
    path, few = tmp_path / "two.root", ["PFCands_pt", "PFCands_eta", "PFCands_phi", "PFCands_mass"]
    with uproot.open(dj.examples.path("ZHllbb_200"))["Events"] as tree:
        source = tree.arrays(few, entry_stop=20)
    particles = ak.zip({name[8:]: source[name] for name in few})
    numbers = {"run": np.ones(10, np.int64), "luminosityBlock": np.ones(10, np.int64)}
    with uproot.recreate(path) as file:
        for first, name in ((0, "A"), (10, "B")):
            events = numbers | {"event": np.arange(10)}
            file[name] = events | {"PFCands": particles[first : first + 10]}
    datasets = {name: {"files": {str(path): name}} for name in "AB"}
    settings = tiny_run(tmp_path / "two.zarr")
    settings["input"] = {"fileset": datasets, "pt_min": 2.0}
    settings["optimiser"]["iterations"] = 2
    store = dj.run(dj.Run.from_dict(settings | {"cluster": {"scheduler": scheduler}})).store
    assert Store.read(store).array("spectrum", "file").tolist() == [0] * 10 + [1] * 10
    rows = contents_of(store, jets=1).tables["events"]["Jet_pt"].values.tolist()
    radius = Store.read(store).attributes["result"]["radius"]
    for number, name in enumerate("AB"):
        schema = dj.schemas.nanoaod(tree=name, pt_min=2.0)
        jets = dj.cluster_jets(dj.read(str(path), schema=schema), radius=radius, jets=1)
        assert rows[10 * number : 10 * number + 10] == jets.pt.tolist()


def test_tables_have_the_same_numbers_in_every_format(finished_run: Path, tmp_path: Path) -> None:
    for name in ("csv", "parquet", "root"):
        export(finished_run, name, tmp_path / name, jets=1)
    tables = contents_of(finished_run, jets=1).tables
    assert list(tables) == ["events", "history", "scan", "newton", "spectrum", "result", "files"]
    with uproot.open(tmp_path / "root") as file:
        for name, table in tables.items():
            arrow = pq.read_table(tmp_path / "parquet" / f"{name}.parquet")
            rows = list(csv.reader((tmp_path / "csv" / f"{name}.csv").read_text().splitlines()))
            for key, column in table.items():
                values = ak.to_list(column.values)
                assert str(arrow[key].to_pylist()) == str(values)
                assert arrow.schema.field(key).metadata[b"units"].decode() == column.units
                if key != "path":
                    assert str(file[name][key].array().tolist()) == str(values)
                if not key.startswith("Jet_"):
                    place = rows[0].index(key)
                    assert [row[place] for row in rows[1:]] == [str(value) for value in values]
    jets = list(csv.DictReader((tmp_path / "csv" / "jets.csv").read_text().splitlines()))
    assert [float(jet["Jet_pt"]) for jet in jets] == ak.flatten(
        tables["events"]["Jet_pt"].values
    ).tolist()


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")  # in hepdata-validator
@pytest.mark.parametrize("run", ["finished_run", "per_event_run"])
def test_hepdata_accepts_the_submission(
    run: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from hepdata_validator.data_file_validator import DataFileValidator
    from hepdata_validator.submission_file_validator import SubmissionFileValidator

    folder = export(request.getfixturevalue(run), "hepdata", tmp_path / "out")
    submission = SubmissionFileValidator(schema_version="1.1.1")
    assert submission.validate(file_path=str(folder / "submission.yaml")), submission.get_messages()
    files = [file for file in folder.glob("*.yaml") if file.name != "submission.yaml"]
    assert len(files) == 3 + (run == "per_event_run")
    for file in files:
        validator = DataFileValidator(schema_version="1.1.1")
        assert validator.validate(file_path=str(file)), validator.get_messages()


def test_what_is_no_optimum_is_not_published_as_one(
    per_event_run: Path, tmp_path: Path, without_figures: None
) -> None:
    """Nor called so on the page of the report."""
    assert not Store.read(per_event_run).attributes["result"]["converged"]  # after few iterations
    submission = (
        export(per_event_run, "hepdata", tmp_path / "out") / "submission.yaml"
    ).read_text()
    assert "where the search ended, which is no optimum" in " ".join(submission.split())
    page = report(per_event_run, tmp_path / "page.html").read_text()
    texts = page.replace("no optimum", "")
    assert re.findall(r".{40}optimum", texts) == []


def test_nothing_else_is_replaced(finished_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert call(finished_run, "--to", "csv", "--output", target).exit_code == 0
    again = call(finished_run, "--to", "csv", "--output", target)
    assert (again.exit_code, "exists already" in again.output) == (1, True)
    assert call(finished_run, "--to", "csv", "--output", target, "--force").exit_code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("kept")
    with pytest.raises(StoreError, match="an earlier export"):
        export(finished_run, "csv", other, force=True)
    events = tmp_path / "events.root"
    for content in (Path(dj.examples.path("ZHllbb_200")).read_bytes(), b"root", b"mine"):
        events.write_bytes(content)
        with pytest.raises(StoreError, match="expected an earlier export, found another file"):
            export(finished_run, "root", events, force=True)
        assert events.read_bytes() == content
    for _ in range(2):
        export(finished_run, "root", tmp_path / "out.root", force=True)
    for place in (".", "/", "..", ""):
        ended = call(finished_run, "--to", "csv", "--output", place, "--force")
        assert (ended.exit_code, type(ended.exception)) == (1, SystemExit)
    assert [file.name for file in tmp_path.rglob("*") if file.name.startswith(".")] == []
    assert (other / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "expected --to FORMAT or --pyhf FILE"),
        (["--to", "excel"], 2, "excel"),
        (["--to", "csv", "--to", "root", "--output", "x"], 2, "expected one --to"),
        (["--to", "csv"], 1, "there is no store here"),
    ],
)
def test_what_cannot_be_exported_is_said(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    ended = call(tmp_path, *arguments)
    assert (ended.exit_code, message in ended.output) == (code, True), ended.output
