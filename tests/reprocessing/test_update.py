"""Reprocessing: what is new or changed is done, everything else stays, and whatever happens `latest` is whole."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from places import Place, Settings, arrays, content

from djservice import examples
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import (
    ConfigError,
    MissingFileError,
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
from djservice.reprocessing.plan import make_plan
from djservice.store.run_store import Store
from djservice.weight_models.learned import LearnedWeights


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
    before = make_plan(*old.settings)
    (old.folder / "run.yaml").write_text(
        yaml.safe_dump(yaml.safe_load((old.folder / "run.yaml").read_text()) | {"seed": 2})
    )
    after = make_plan(*old.settings)
    assert after.settings != before.settings and after.fit_store != before.fit_store


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
    (place.data / "b.root").unlink()
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
    for text in ("{}", "{} "):
        ratio.write_text(text)
        names.append(make_plan(settings, settings.read_run([])))
    assert names[0].fit == names[1].fit and names[0].names != names[1].names
    ratio.unlink()
    with pytest.raises(ConfigError, match=r"apply.lund_weights.ratio: .*cannot be read"):
        make_plan(settings, settings.read_run([]))
