"""Reprocessing: what is new or changed is done, everything else stays, and whatever happens `latest` is whole."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from djservice import examples
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import (
    ConfigError,
    DamagedStoreError,
    DjserviceError,
    MissingFileError,
    RunError,
    StoreError,
)
from djservice.evaluation.evaluate import evaluate
from djservice.fit.build import build_estimator, build_loss
from djservice.input.read import read
from djservice.input.schemas import nanoaod
from djservice.on_dask.arithmetic import clustering_digest
from djservice.reprocessing import apply, results
from djservice.reprocessing.apply import read_attributes
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.file_identity import identify
from djservice.reprocessing.lease import HeldError
from djservice.reprocessing.plan import make_plan
from djservice.reprocessing.update import reprocess
from djservice.store.run_store import Store
from djservice.weight_models.learned import LearnedWeights

Settings = dict[str, Any]


class Quiet:
    """A watch that keeps what is said, and does something when a phase begins."""

    def __init__(self, at: Callable[[str], None] = lambda phase: None) -> None:
        self.said: list[str] = []
        self.at = at

    def phase(self, name: str, total: int, done: int) -> None:
        self.at(name)

    def step(self, numbers: dict[str, float]) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)


class Place:
    """A folder with two files to apply a fit to, its configuration, and how to reprocess it."""

    def __init__(self, folder: Path, run: Settings, scheduler: str, **more: Any) -> None:
        self.folder, self.data, self.out, self.scheduler = (
            folder,
            folder / "data",
            folder / "out",
            scheduler,
        )
        self.data.mkdir()
        for name in ("a", "b"):
            self.add(name)
        (folder / "run.yaml").write_text(yaml.safe_dump(run))
        given = {"run": str(folder / "run.yaml"), "folder": str(self.out), "lease": 60.0} | more
        given["apply"] = {"files": f"{self.data}/*.root", "pt_min": 2.0} | more.get("apply", {})
        (folder / "nightly.yaml").write_text(yaml.safe_dump(given))

    def add(self, name: str) -> Path:
        return Path(shutil.copy(examples.path("ZHllbb_200"), self.data / f"{name}.root"))

    @property
    def settings(self) -> tuple[Reprocessing, Run]:
        settings = Reprocessing.from_yaml(self.folder / "nightly.yaml")
        return settings, settings.read_run([f"cluster.scheduler={self.scheduler}"])

    def reprocess(self, watch: Quiet | None = None) -> Any:
        return reprocess(*self.settings, watch or Quiet())

    def command(self, code: str = "") -> subprocess.Popen[str]:
        """The command line in a process of its own, after some code."""
        call = ["reprocess", str(self.folder / "nightly.yaml"), "--scheduler", self.scheduler]
        code = f"{code}\nfrom djservice.cli import main\nmain({call!r})"
        return subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def applied(self) -> dict[str, Path]:
        """Name of each file -> the store of what came of it, as the latest result has it."""
        manifest = results.read_manifest(self.out / "latest")
        return {
            Path(each["inputs"][0]["path"]).stem: self.out / each["store"]
            for each in manifest["applied"]
        }


@pytest.fixture
def place(tmp_path: Path, tiny: Settings, scheduler: str) -> Place:
    return Place(tmp_path, tiny, scheduler)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with the time of its last change."""
    return {
        str(path.relative_to(folder)): path.read_bytes() + str(path.stat().st_mtime_ns).encode()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def arrays(path: Path) -> dict[str, bytes]:
    return {
        name: array[...].tobytes() for name, array in zarr.open_group(str(path), mode="r").arrays()
    }


def test_only_what_is_new_or_changed_is_done_and_earlier_results_stay(
    place: Place, tmp_path: Path
) -> None:
    first = place.reprocess()
    assert first.reasons == ("there is no result yet",)
    one = place.applied()
    assert sorted(one) == ["a", "b"]
    before, (fit,) = content(place.out), place.out.glob("fits/*")

    place.add("c")
    second = place.reprocess()
    assert second.reasons == (f"apply: new: {place.data / 'c.root'}",)
    two = place.applied()
    assert {name: two[name] for name in one} == one and len(two) == 3

    os.utime(place.data / "b.root", (1, 1))
    third = place.reprocess()
    assert third.reasons == (f"apply: changed: {place.data / 'b.root'}",)
    three = place.applied()
    assert [name for name in three if three[name] != two[name]] == ["b"]

    (place.data / "a.root").unlink()
    fourth = place.reprocess()
    assert fourth.reasons == (f"apply: removed: {place.data / 'a.root'}",)
    assert place.applied() == {name: three[name] for name in ("b", "c")}

    assert list(place.out.glob("fits/*")) == [fit]
    assert len(list(place.out.glob("applied/*"))) == 4
    after = content(place.out)
    assert {name: after[name] for name in before} == before
    for outcome, names in ((first, 2), (second, 3), (third, 3), (fourth, 2)):
        assert Store.read(outcome.result / "fit.zarr").attributes["status"] == "finished"
        assert len(list((outcome.result / "applied").iterdir())) == names
        assert all(
            len(arrays(link)["radius"]) == 200 * 8
            for link in (outcome.result / "applied").iterdir()
        )
    manifest = results.read_manifest(place.out / "latest")
    assert manifest["code"] and manifest["versions"]["djservice"]
    applied = [
        read_attributes(link)["versions"] for link in (place.out / "latest/applied").iterdir()
    ]
    assert [versions["arithmetic"] for versions in applied] == [clustering_digest()] * 2
    assert manifest["fit"]["inputs"][0]["entries"] == 200
    assert [each["inputs"][0]["entries"] for each in manifest["applied"]] == [200, 200]


def test_another_input_of_the_fit_means_another_fit_which_owes_nothing_to_the_first(
    tmp_path: Path, tiny: Settings, scheduler: str, stored: Callable[[Path], dict[str, bytes]]
) -> None:
    places = []
    for name in ("with a past", "without"):
        (tmp_path / name).mkdir()
        of_fit = tiny["input"] | {"files": f"{tmp_path / name}/fit/*.root"}
        places.append(Place(tmp_path / name, tiny | {"input": of_fit}, scheduler))
        (tmp_path / name / "fit").mkdir()
        shutil.copy2(examples.path("ZHllbb_200"), tmp_path / name / "fit/second.root")
    old, new = places
    old.reprocess()
    stores = old.applied()
    for each in places:  # comes first, so other events are read
        shutil.copy2(examples.path("ZHllbb_1000"), each.folder / "fit/first.root")
    outcome = old.reprocess()
    assert outcome.reasons == (f"input: new: {old.folder / 'fit/first.root'}",)
    assert not set(stores.values()) & set(old.applied().values())
    fresh = new.reprocess()
    assert stored(outcome.result / "fit.zarr") == stored(fresh.result / "fit.zarr")
    assert [arrays(path) for path in old.applied().values()] == [
        arrays(path) for path in new.applied().values()
    ]
    (old.folder / "fit/first.root").unlink()  # as it was before: nothing to do again
    assert old.reprocess().result.name.split("-")[1] != outcome.result.name.split("-")[1]
    assert old.applied() == stores and len(list(old.out.glob("fits/*"))) == 2
    (old.folder / "run.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((old.folder / "run.yaml").read_text()) | {"seed": 2})
    )
    assert old.reprocess().reasons == ("the settings changed",)


def test_another_weight_in_a_fileset_means_another_fit(
    tmp_path: Path, tiny: Settings, scheduler: str
) -> None:
    fileset = {
        "zh": {"files": {examples.path("ZHllbb_200"): "Events"}, "metadata": {"weight": 1.0}}
    }
    (tmp_path / "fileset.json").write_text(json.dumps(fileset))
    of_fit = {key: value for key, value in tiny["input"].items() if key != "files"}
    place = Place(
        tmp_path, tiny | {"input": of_fit | {"fileset": str(tmp_path / "fileset.json")}}, scheduler
    )
    place.reprocess()
    assert place.reprocess().reasons == ()
    fileset["zh"]["metadata"] = {"weight": 2.0}
    (tmp_path / "fileset.json").write_text(json.dumps(fileset))
    assert place.reprocess().reasons == ("the settings changed",)
    assert len(list(place.out.glob("fits/*"))) == 2


def test_nothing_is_done_nor_even_imported_where_nothing_changed(place: Place) -> None:
    place.reprocess()
    before = content(place.out)
    heavy = "import atexit, sys\natexit.register(lambda: print({'numba', 'distributed', 'uproot'} & set(sys.modules)))"
    process = place.command(heavy)
    said, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert said.startswith("nothing changed; latest: ") and said.endswith("set()\n")
    assert content(place.out) == before


def test_what_is_damaged_is_named_and_made_again(place: Place) -> None:
    first = place.reprocess().result
    before = {name: arrays(path) for name, path in place.applied().items()}
    assert results.verify_result(place.out / "latest") == 3
    fit = (place.out / "latest/fit.zarr").resolve()
    file = place.applied()["a"] / "event_mean/c/0"
    file.write_bytes(file.read_bytes()[:-1])
    (fit / "zarr.json").write_bytes(b"")
    (fit / "history/loss/c/0").unlink()
    with pytest.raises(DamagedStoreError, match=r"fit\.zarr: damaged: the root: zarr\.json"):
        results.verify_result(place.out / "latest")
    watch = Quiet()
    second = place.reprocess(watch)
    assert "damaged: the root: zarr.json is empty" in second.reasons[0]
    assert second.result == first
    assert {name: arrays(path) for name, path in place.applied().items()} == before
    assert place.reprocess().reasons == ()
    manifest = place.out / "latest/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"owner": "', b'"owner": "x'))
    with pytest.raises(StoreError, match=r"manifest\.json: .* does not match its checksum"):
        place.reprocess()


def test_killed_between_data_and_pointer(place: Place) -> None:
    place.reprocess()
    before = results.read_manifest(place.out / "latest")
    place.add("c")
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings | {"lease": 3.0}))
    process = place.command(
        "import os, signal, djservice.reprocessing.results as r\nr.point = lambda *given: os.kill(os.getpid(), signal.SIGKILL)"
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert results.read_manifest(place.out / "latest") == before
    assert len(list(place.out.glob("results/*"))) == 2
    done = content(place.out)
    lock = place.out / "lock.json"
    left = json.loads(lock.read_text())
    lock.write_text(
        json.dumps(left | {"expires": time.time() + 100.0})
    )  # does not end while we look
    with pytest.raises(HeldError, match=f"process {process.pid} has held the lock"):
        place.reprocess()
    lock.write_text(json.dumps(left))
    time.sleep(max(0.0, left["expires"] - time.time()))
    watch = Quiet()
    outcome = place.reprocess(watch)
    assert watch.said[0].startswith("took over from ") and "compiling" not in " ".join(watch.said)
    assert (place.out / "latest").resolve() == outcome.result and len(place.applied()) == 3
    del done["lock.json"]
    assert content(place.out) == done


def test_killed_in_the_middle_of_a_fit(place: Place) -> None:
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings | {"lease": 1.0}))
    process = place.command(
        "import os, signal, djservice.core.display as d\nclass Killing(d.Lines):\n    def phase(self, name, total, done):\n"
        "        if name == 'scan':\n            os.kill(os.getpid(), signal.SIGKILL)\nd.choose_display = Killing"
    )
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL and not os.path.lexists(place.out / "latest")
    (path,) = place.out.glob("fits/*")
    assert Store.read(path).n_complete("history") == 6
    before = content(path / "history/gradient")
    time.sleep(max(0.0, json.loads((place.out / "lock.json").read_text())["expires"] - time.time()))
    assert (place.reprocess().result / "fit.zarr").resolve() == path
    assert content(path / "history/gradient") == before and sorted(place.applied()) == ["a", "b"]


def test_two_at_once_do_it_once(place: Place) -> None:
    processes = [place.command() for _ in range(2)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    (did,) = (out for out, _ in said if out.startswith("latest: "))
    (did_not,) = (out for out, _ in said if out != did)
    assert "has held the lock" in did_not or "nothing changed" in did_not
    assert len(list(place.out.glob("results/*"))) == 1 and not (place.out / "lock.json").exists()


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_either(place: Place) -> None:
    place.reprocess()
    before = (place.out / "latest").readlink()
    place.add("c")
    touch = Quiet(
        lambda phase: os.utime(place.data / "c.root", (1, 1)) if phase == "apply" else None
    )
    with pytest.raises(RunError, match="an input changed while it was read"):
        place.reprocess(touch)
    assert (place.out / "latest").readlink() == before
    assert len(list(place.out.glob("applied/*"))) == 2  # nothing is kept of what was read
    place.reprocess()
    assert sorted(place.applied()) == ["a", "b", "c"]


def test_a_bad_file_holds_up_nothing_that_is_good(place: Place) -> None:
    (place.data / "c.root").write_bytes(b"root, or is it")
    with pytest.raises(DjserviceError, match=r"c\.root"):
        place.reprocess()
    assert not (place.out / "latest").exists()
    assert len(list(place.out.glob("applied/*"))) == 2  # and they need not be done again
    settings = yaml.safe_load((place.folder / "nightly.yaml").read_text())
    settings["apply"]["bad_inputs"] = "quarantine"
    (place.folder / "nightly.yaml").write_text(yaml.safe_dump(settings))
    process = place.command()
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 3 and "bad inputs left out: 1" in said and "c.root" in said
    assert sorted(place.applied()) == ["a", "b"]
    again = place.command()
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 3 and said.startswith("nothing changed")


def test_an_input_of_the_fit_that_changes_while_it_is_read(
    tmp_path: Path, tiny: Settings, scheduler: str
) -> None:
    source = Path(shutil.copy(examples.path("ZHllbb_200"), tmp_path / "fit.root"))
    place = Place(tmp_path, tiny | {"input": tiny["input"] | {"files": str(source)}}, scheduler)
    with pytest.raises(RunError, match="an input changed while it was read"):
        place.reprocess(Quiet(lambda phase: os.utime(source, (1, 1)) if phase == "scan" else None))
    assert not list(place.out.glob("fits/*")) and not os.path.lexists(place.out / "latest")
    assert sorted(path.name for path in place.out.iterdir()) == [".lock", "fits"]


@pytest.mark.parametrize(
    "task",
    [
        "per-event",
        "particle-weights",
        *(
            pytest.param(task, marks=pytest.mark.long)
            for task in ("global", "global with its rigidity", "radius-model")
        ),
    ],
)
def test_what_is_applied_is_what_was_learned(
    task: str, tmp_path: Path, tiny: Settings, scheduler: str
) -> None:
    few = {"iterations": 3, "trees": 4, "choose_trees": 4, "score_trees": 4, "accepted": 2}
    model = {"iterations": 4, "batch_events": 16, "trees": 4, "score_trees": 4}
    whole = tiny["input"] | {"entries": None, "bundle_events": 70}
    learned = {"learn_rigidity": [0.5, 2.0]} if "rigidity" in task else {}
    run = tiny | {
        "task": task.split()[0],
        "clustering": learned,
        "input": whole,
        "per_event": few,
        "radius_model": model,
        "particle_weights": model,
    }
    if task == "particle-weights":
        run["loss"] = {"observable": "dijet_mass", "target": 125.0, "kind": "bounded_error"}
    place = Place(tmp_path, run, scheduler)
    (place.data / "b.root").unlink()
    fit = Store.read(place.reprocess().result / "fit.zarr")
    found = zarr.open_group(str(place.applied()["a"]), mode="r")
    radius, keys = found["radius"][:], found["key"][:]
    assert np.array_equal(keys, fit.array("spectrum", "key"))
    if task.startswith("global"):
        assert set(radius) == {fit.attributes["result"]["radius"]}
    if task == "per-event":
        assert np.array_equal(radius, fit.column("per_event", "radius"))
        assert np.array_equal(found["left"][:], fit.column("per_event", "left"))
    if task == "radius-model":
        held_back = np.isin(keys, fit.array("radius_model/held_back", "key"))
        assert np.array_equal(radius[held_back], fit.column("radius_model/held_back", "radius")[1])
        assert len(set(radius)) > 100
    schema = nanoaod(pt_min=2.0, columns=("charge",))
    events = read(place.data / "a.root", schema=schema)
    settings, scale = place.settings[1], "minimum"
    if task == "particle-weights":
        weights, scale = LearnedWeights.read(fit.path), "safe"
        assert set(radius) == {weights.radius}
        assert 0.0 < weights(events).min() < weights(events).max() == 1.0
        events = weights.apply(events)
    rigidity = fit.attributes["result"]["rigidity"] if learned else 1.0
    assert learned == {} or rigidity != 1.0
    _, alone = evaluate(
        events,
        build_loss(settings),
        build_estimator({"name": "score"}),
        Sampling(rigidity=rigidity, seed=settings.seed, scale=scale),
        radius=radius,
        trees=4,
        stream="apply",
    )
    assert np.array_equal(found["event_mean"][:], alone.mean, equal_nan=True)
    assert np.array_equal(found["event_accepted"][:], alone.accepted)
    assert np.isfinite(alone.mean).sum() > 100


def test_identities_of_urls_tell_changes_and_no_secrets(place: Place) -> None:
    section = place.settings[1].input.model_copy(update={"files": (f"file://{place.data}/a.root",)})
    ((_, before),) = identify(section).items()
    os.utime(place.data / "a.root", (1, 1))
    ((_, after),) = identify(section).items()
    assert before.size == after.size > 0 and before.changed != after.changed
    gone = section.model_copy(update={"files": ("file:///not/there.root?authz=hunter2",)})
    with pytest.raises(MissingFileError, match="its server gives no information"):
        identify(gone)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"run": "x.yaml"}, "missing key folder"),
        (
            {"run": "x.yaml", "folder": "f", "appply": {}},
            r"unknown key appply \(did you mean 'apply'",
        ),
        (
            {"run": "x.yaml", "folder": "f", "apply": {"file": "a"}},
            r"unknown key apply\.file \(did you mean 'files'",
        ),
        (
            {"run": "x.yaml", "folder": "f", "apply": {"files": "a", "entries": [0, 1]}},
            "is applied to all entries of a file",
        ),
        (
            {"run": "x.yaml", "folder": "f", "apply": {"fileset": "a.json"}},
            "name them in apply.files",
        ),
        ({"run": "x.yaml", "folder": "f", "lease": 0}, "lease: expected more than 0, found 0"),
        ({"input": {"files": "a"}}, "expected the keys run and folder"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(
    given: Settings, message: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(ConfigError, match=rf"bad\.yaml: .*{message}"):
        Reprocessing.from_yaml(tmp_path / "bad.yaml")


def test_a_fit_with_columns_is_not_applied_without_them() -> None:
    run = Run.from_dict(
        {
            "input": {"files": "a.root", "columns": ["charge"]},
            "loss": {"observable": "dijet_mass", "target": 125.0},
            "output": {"store": "a.zarr"},
        }
    )
    applied = run.input.model_copy(update={"columns": {}})
    with pytest.raises(ConfigError, match=r"apply.columns: expected charge as in the input of the"):
        apply._of_file(run, applied)
    assert apply._of_file(run, run.input).input == run.input


def test_another_lund_ratio_means_other_stores_of_the_same_fit(
    tmp_path: Path, tiny: Settings
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny))
    ratio, names = tmp_path / "ratio.json", []
    applied = {"files": str(examples.path("ZHllbb_200")), "lund_weights": {"ratio": str(ratio)}}
    settings = Reprocessing(run=str(tmp_path / "run.yaml"), folder="out", apply=applied)  # type: ignore[arg-type]
    for content in ("{}", "{} "):
        ratio.write_text(content)
        names.append(make_plan(settings, settings.read_run([])))
    assert names[0].fit == names[1].fit and names[0].names != names[1].names
    ratio.unlink()
    with pytest.raises(ConfigError, match=r"apply.lund_weights.ratio: .*cannot be read"):
        make_plan(settings, settings.read_run([]))
