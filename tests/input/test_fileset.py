"""Filesets: coffea's datasets in a run, with their names, weights, steps and checks; a run on one equals a RadiusProcessor."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.dataset_tools.filespec import DataGroupSpec
from coffea.nanoevents import NanoAODSchema
from distributed import Client, LocalCluster

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.private import public
from djservice.errors import ConfigError, DjserviceError, InputError, MissingFileError
from djservice.input import fileset as fileset_module
from djservice.input.files import InputFile
from djservice.input.fileset import Source, load_fileset, sources
from djservice.input.plan import plan_input
from djservice.input.segments import Segment, segments
from djservice.on_dask.crew import Crew
from djservice.on_dask.load import default_bundle_events, load
from djservice.service.submission import pack, same_numbers, unpack
from djservice.store.run_store import Store

PATH = dj.examples.path("ZHllbb_200")
Fileset = dict[str, Any]


class Quiet(NanoAODSchema):
    """Without warnings of indices into collections that these files do not have."""

    warn_missing_crossrefs = False


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """30 events of the example in a tree of another name, with weights."""
    with uproot.open({PATH: "Events"}) as tree:
        names = (
            "run",
            "luminosityBlock",
            "event",
            *(f"PFCands_{f}" for f in ("pt", "eta", "phi", "mass")),
        )
        columns = tree.arrays(names, entry_start=150, entry_stop=180, how=dict)
    particles = ak.zip(
        {name[8:]: column for name, column in columns.items() if name.startswith("PFCands")}
    )
    data = {name: ak.to_numpy(columns[name]) for name in names[:3]}
    data |= {"genWeight": np.linspace(0.5, 1.5, 30), "PFCands": particles}
    path = tmp_path_factory.mktemp("fileset") / "other.root"
    with uproot.recreate(path) as file:
        types = {k: v.dtype if isinstance(v, np.ndarray) else v.type for k, v in data.items()}
        file.mktree("Selected", types).extend(data)
    return str(path)


@pytest.fixture
def fileset(other: str) -> Fileset:
    """Two datasets with cross sections; of the first file two steps are read."""
    steps = {"object_path": "Events", "steps": [[0, 7], [20, 33]], "num_entries": 200}
    return {
        "ZH": {"files": {PATH: steps}, "metadata": {"xsec": 0.08, "weight": 3.0}},
        "more": {"files": {other: "Selected"}, "metadata": {"xsec": 0.5, "sumw": 60.0}},
    }


def written(fileset: Fileset, path: Path) -> str:
    path.write_text(json.dumps(fileset))
    return str(path)


def settings(tiny: dict[str, Any], fileset: str | Fileset, scheduler: str) -> dict[str, Any]:
    given = {"fileset": fileset, "pt_min": 2.0, "bundle_events": 10}
    return tiny | {"input": given, "cluster": {"scheduler": scheduler}}


def test_a_run_on_a_fileset_equals_a_processor_on_it(
    tiny: dict[str, Any], fileset: Fileset, tmp_path: Path, scheduler: str
) -> None:
    fileset["ZH"]["files"] = {PATH: "Events"}
    run = Run.from_dict(settings(tiny, written(fileset, tmp_path / "fileset.json"), scheduler))
    dj.run(run)
    store = Store.read(run.output.store)
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0).where(
        dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0)
    )
    row = 1
    scanned = {"stream": "scan", "iteration": row, "estimator": dj.StateBaseline()}
    own = dj.RadiusProcessor(loss, radius=0.7, trees=4, pt_min=2.0, seed=1, **scanned)
    # A cache of its own: coffea's keeps the metadata of a dataset that another test read from the same file.
    runner = processor.Runner(
        processor.IterativeExecutor(status=False), schema=Quiet, metadata_cache={}
    )
    found = runner(fileset, own)
    assert found["all"].moments.events == 230 == store.attributes["events"]
    for column, number in (("loss", found["all"].loss), ("gradient", found["all"].gradient)):
        np.testing.assert_allclose(store.column("scan", column)[row], number.value, rtol=1e-12)
        np.testing.assert_allclose(
            store.column("scan", f"{column}_error")[row], number.error, rtol=1e-10
        )


def test_names_weights_and_steps_of_a_fileset_are_part_of_a_run(
    tiny: dict[str, Any], fileset: Fileset, tmp_path: Path, scheduler: str
) -> None:
    none = str(tmp_path / "none.root")  # a dataset of which nothing passes takes nothing with it
    with uproot.recreate(none) as file:
        file.mktree("Events", {"PFCands_pt": "f4"})
    fileset["none"] = {"files": {none: "Events"}, "metadata": {"xsec": 2.0}}
    given = settings(tiny, written(fileset, tmp_path / "fileset.json"), scheduler)
    lines = io.StringIO()
    store = Store.read(dj.run(Run.from_dict(given), watch=Lines(lines)).store)
    assert "warning: dataset none: no event passes, so it takes no part" in lines.getvalue()
    datasets = store.attributes["datasets"]
    events = {name: facts["events"] for name, facts in datasets.items()}
    assert events == {"ZH": 20, "more": 30, "none": 0}
    np.testing.assert_allclose(
        [facts["factor"] for facts in datasets.values()], [3 * 0.08 / 20, 0.5 / 60, 1.0], rtol=1e-15
    )
    assert [
        (file["dataset"], file["tree"], file["entries"]) for file in store.attributes["inputs"]
    ] == [
        ("ZH", "Events", 200),
        ("more", "Selected", 30),
        ("none", "Events", 0),
    ]
    weight = store.array("spectrum", "weight")
    np.testing.assert_allclose(weight[:20], 3 * 0.08 / 20, rtol=1e-15)
    np.testing.assert_allclose(weight[20:], np.linspace(0.5, 1.5, 30) * 0.5 / 60, rtol=1e-6)
    means, accepted = (
        store.column("spectrum", column) for column in ("event_mean", "event_accepted")
    )
    of_events = np.nansum(weight * accepted * means, axis=1) / (weight * accepted).sum(axis=1)
    np.testing.assert_allclose(
        store.column("spectrum", "mean"), of_events, rtol=1e-12
    )  # what the spectrum draws
    given["input"]["fileset"] = written(fileset, tmp_path / "renamed.json")
    dj.run(Run.from_dict(given))  # the same run, which is finished
    fileset["ZH"]["metadata"]["xsec"] = 0.09
    written(fileset, tmp_path / "renamed.json")
    with pytest.raises(
        DjserviceError, match=r"store of another run: input\.datasets\.ZH.* is .*0\.08.* there"
    ):
        dj.run(Run.from_dict(given))


def test_filesets_as_coffea_writes_them(fileset: Fileset, other: str, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "fileset.json.gz", "wt") as file:
        file.write(DataGroupSpec(fileset).model_dump_json())
    found = sources(section({"fileset": str(tmp_path / "fileset.json.gz")}))
    assert found == [
        Source(PATH, "ZH", "Events", ((0, 7), (20, 33)), 200, None),
        Source(other, "more", "Selected"),
    ]
    url = "root://host:1094//store/a.root"
    for dataset in (
        [f"{url}:Events"],
        {"files": [url], "treename": "Events"},
        {"files": {url: "Events"}},
    ):
        assert load_fileset({"d": dataset})["d"]["files"] == {url: {"object_path": "Events"}}
    assert load_fileset({"d": [url]})["d"]["files"] == {url: {}}  # the tree of the run


def section(given: dict[str, Any]) -> Any:
    return Run.from_dict({"input": given, "loss": {}, "output": {"store": "none"}}).input


@pytest.mark.parametrize(
    "given",
    [
        {"files": ["http://h/get?file=a&sig=xyzzy", "http://h/get?file=b&sig=xyzzy"]},
        {"files": ["root://me@h//a.root", "root://you@h//a.root"]},
        {"fileset": {"a": ["http://h/get?f=a"], "b": {"files": {"http://h/get?f=b": "Events"}}}},
    ],
)
def test_files_that_a_store_could_not_tell_apart_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="differ only in their queries or users") as error:
        plan_input(section(given))
    assert "xyzzy" not in str(error.value)
    ranges = {"http://h/get?f=a": {"object_path": "Events", "steps": [[0, 5]]}}
    plan_input(section({"fileset": {name: {"files": ranges} for name in "ab"}}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"files": {"gone.root": "Events"}},
            r"dataset 'more': .*gone\.root: there is no such file",
        ),
        (
            {"files": {PATH: {"step": [[0, 5]]}}},
            r"dataset 'more': unknown key files\..*ZHllbb_200\.root\.step \(did you mean 'steps'",
        ),
        (
            {"filez": {PATH: "Events"}, "files": {PATH: "Events"}},
            r"dataset 'more': unknown key filez \(did you mean 'files'",
        ),
        ({"files": {}}, "dataset 'more': files: expected 1 or more items"),
        (
            {"files": {PATH: {"format": "parquet"}}},
            r"ZHllbb_200\.root: the format is stated as parquet, and the name is that of another",
        ),
        (
            {"files": {"http://h/a.parquet": None}, "format": "root"},
            r"http://h/a\.parquet: the format is stated as root, .*: \.parquet for Parquet",
        ),
        ({"metadata": {}}, "xsec is missing in the metadata of more, and given for others"),
        (
            {"metadata": {"xsec": "big"}},
            r"dataset 'more': metadata\.xsec is 'big', expected a finite number",
        ),
    ],
)
def test_a_fileset_without_meaning_is_refused(
    fileset: Fileset, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    fileset["more"] |= change
    with pytest.raises((InputError, MissingFileError), match=message):
        sources(section({"fileset": written(fileset, tmp_path / "fileset.json")}))


def test_a_fileset_that_is_no_json_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fileset.json").write_text("{")
    with pytest.raises(
        InputError, match=r"fileset\.json: expected a fileset in JSON, found JSONDecodeError"
    ):
        load_fileset(str(tmp_path / "fileset.json"))
    with pytest.raises(
        InputError, match=r"gone\.json: expected a fileset in JSON, found FileNotFoundError"
    ):
        load_fileset(str(tmp_path / "gone.json"))
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b" " * 3_000_000))
    monkeypatch.setattr(fileset_module, "_LARGEST", 1_000_000)
    with pytest.raises(InputError, match=r"bomb\.json\.gz: .* more than 1,000,000 bytes"):
        load_fileset(str(tmp_path / "bomb.json.gz"))
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match=r"pipe\.json: expected a fileset .* a named pipe"):
        load_fileset(str(tmp_path / "pipe.json"))
    with pytest.raises(ConfigError, match="expected one of files and fileset"):
        section({"fileset": "a.json", "files": "b.root"})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            {"object_path": "Events", "num_entries": 12},
            "expected num_entries 12 from the fileset, found 200: the file changed",
        ),
        ({"object_path": "Events", "uuid": "x"}, "expected uuid x from the fileset, found "),
        (
            {"object_path": "Events", "steps": [[0, 201]]},
            r"expected steps within its 200 entries, found \[0, 201\]",
        ),
        ({"object_path": "Muons"}, "expected a tree 'Muons'"),
    ],
)
def test_a_file_that_is_not_what_the_fileset_says_is_named_with_its_dataset(
    tiny: dict[str, Any], file: dict[str, Any], message: str, scheduler: str
) -> None:
    given = settings(tiny, {"ZH": {"files": {PATH: file}}}, scheduler)
    with pytest.raises(InputError, match=rf"^dataset 'ZH': .*ZHllbb_200\.root: {message}"):
        dj.run(Run.from_dict(given))


def test_bundles_are_of_one_dataset_and_within_steps() -> None:
    files = [
        InputFile("a", 1, 0, 100, "", "one", "T", ((0, 5), (50, 53))),
        InputFile("b", 1, 0, 3, "", "one"),
        InputFile("c", 1, 0, 4, "", "two"),
    ]
    assert segments(files, None, 6) == [
        (Segment("a", 0, 5, "one", "T"), Segment("a", 50, 51, "one", "T")),
        (Segment("a", 51, 53, "one", "T"), Segment("b", 0, 3, "one")),
        (Segment("c", 0, 4, "two"),),
    ]
    assert segments(files, (6, 12), 100) == [
        (Segment("a", 51, 53, "one", "T"), Segment("b", 0, 3, "one")),
        (Segment("c", 0, 1, "two"),),
    ]
    with pytest.raises(InputError, match="not a range within the 15 entries of 3"):
        segments(files, (0, 16), 6)


def test_a_large_file_is_cut_in_ranges_of_entries_that_workers_read_side_by_side(
    tiny: dict[str, Any],
) -> None:
    huge = InputFile("huge", 1, 0, 10**6, "")
    bundles = segments([huge], None, default_bundle_events(huge.entries))
    assert len(bundles) == 128
    assert [(part.start, part.stop) for (part,) in bundles[:2]] == [(0, 7813), (7813, 15626)]

    async def holders() -> set[str]:
        here: dict[str, Any] = {
            "processes": False,
            "dashboard_address": None,
            "host": "127.0.0.1",
            "protocol": "tcp",
        }
        ports = {"dashboard_address": "127.0.0.1:0"}
        async with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, asynchronous=True, scheduler_kwargs=ports, **here
            ) as cluster,
            Client(cluster, asynchronous=True, set_as_default=False) as client,
        ):
            watch = Lines(io.StringIO())
            crew = await Crew.muster(client, watch)
            loaded = await load(crew, plan_input(Run.from_dict(tiny).input), watch, "shared")
            return {
                worker
                for workers in (await client.who_has(loaded.bundles)).values()
                for worker in workers
            }

    assert len(asyncio.run(holders())) == 2


def test_a_submitted_run_holds_its_fileset_with_absolute_paths(
    tiny: dict[str, Any], fileset: Fileset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.root").symlink_to(PATH)
    token = "root://host//a.root?authz=secret"
    fileset["ZH"]["files"] = {"here.root": "Events", token: "Events"}
    run = Run.from_dict(tiny | {"input": {"fileset": written(fileset, tmp_path / "fileset.json")}})
    packed = pack(run)
    assert list(packed["input"]["fileset"]["ZH"]["files"]) == [str(tmp_path / "here.root"), token]
    there = unpack(packed)
    fileset["ZH"]["metadata"]["xsec"] = 1.0
    other = unpack(pack(Run.from_dict(tiny | {"input": {"fileset": fileset}})))
    assert same_numbers(there) != same_numbers(other)
    with pytest.raises(ConfigError, match="expected the content of the fileset, found the name"):
        unpack(run.to_dict() | {"cluster": {}})
    assert "secret" not in json.dumps(public(packed))
