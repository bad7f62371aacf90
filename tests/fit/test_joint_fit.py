"""A run that trains a network together with R: its path against a plain loop, its scores, what is shown, resumption."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import ConfigError, RunError, StoreError
from djservice.evaluation.joint_gradient import joint_sums
from djservice.evaluation.taggers import Network, moment_efn
from djservice.evaluation.targets import Classes
from djservice.exports.contents import contents_of
from djservice.exports.write import export
from djservice.fit.joint_fit import JointFit, JointSample
from djservice.fit.minibatches import MiniBatches, held_back
from djservice.fit.optimisers import adam, learning_rate
from djservice.fit.plan import RunPlan
from djservice.on_dask.limits import check_sizes
from djservice.reports.compared import compare_runs
from djservice.reports.summary import summary
from djservice.reprocessing.config import Reprocessing
from djservice.reprocessing.plan import make_plan
from djservice.store.local_folder import LocalFolder
from djservice.store.written import WrittenGroup

SAMPLE = "joint/held_back"


@pytest.fixture(autouse=True)
def torch_is_there(requires: Callable[[str, object], None]) -> None:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


@pytest.fixture(scope="module")
def events_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty events of a dozen particles, narrower for one class than for the other."""
    path, generator = tmp_path_factory.mktemp("joint") / "events.root", np.random.default_rng(5)
    label = np.arange(40) % 2.0
    width = np.where(label == 1.0, 0.1, 0.4)[:, None]
    eta, phi = width * generator.standard_normal((2, 40, 12))
    pt = 3.0 + generator.exponential(20.0, (40, 12))
    with uproot.recreate(path) as file:
        ones = np.ones(40, np.int64)
        names = {"run": ones, "luminosityBlock": ones, "event": np.arange(40), "label": label}
        kinematics = {"pt": pt, "eta": eta, "phi": phi, "mass": np.zeros_like(pt)}
        particles = {f"PFCands_{name}": ak.from_regular(x) for name, x in kinematics.items()}
        columns = names | particles
        file.mktree("Events", {name: ak.type(x).content for name, x in columns.items()})
        file["Events"].extend(columns)
    return path


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str, events_file: Path) -> dict[str, Any]:
    source = {"files": str(events_file), "truth": "label", "bundle_events": 10}
    return tiny | {
        "task": "joint",
        "input": source,
        "loss": {"observable": "leading_jet_mass", "target": 10.0, "scale": 10.0},
        "clustering": {"rigidity": 5.0},
        "joint": {
            "network": {"name": "moment_efn", "particle_layers": [3], "jet_layers": [4]},
            "classes": [1.0, 0.0],
            "class_weights": [1.0, 2.0],
            "constituents": 8,
            "radius": 0.6,
            "network_steps": 2,
            "iterations": 6,
            "batch_events": 8,
            "trees": 4,
            "score_trees": 4,
        },
        "cluster": {"scheduler": scheduler},
    }


def test_a_joint_run(
    settings: dict[str, Any],
    stored: Callable[[Path], dict[str, bytes]],
    drawn: Callable[..., None],
    tmp_path: Path,
) -> None:
    run = Run.from_dict(settings)
    assert Run.from_dict(run.to_dict()).numbers == run.numbers
    store = dj.run(run).store
    opened, source = dj.Store.read(store), settings["input"]
    batch = dj.read(source["files"], schema=dj.schemas.nanoaod(truth="label"))
    back = held_back(batch.key, run.seed, 0.3)
    tagger = moment_efn(particle_layers=[3], jet_layers=[4])
    theta, radius = tagger.vector(2).start(), 0.6
    classes, sampling = Classes((1.0, 0.0), (1.0, 2.0)), Sampling(5.0, seed=run.seed, threads=1)

    # The training again, without bundles: a step of R for every second one of the network.
    minibatches = MiniBatches(batch.key[~back], run.seed, 8, 0.3)
    of_network, of_radius = adam(), adam()
    network_state, state, path, slopes = of_network.init(theta), of_radius.init(np.ones(1)), [], []
    for iteration in range(6):
        path.append([radius, *theta])
        rows = np.flatnonzero(minibatches.minibatch(iteration).of(batch.key))
        sums, _ = joint_sums(
            batch.select(rows), Network(tagger, classes, 8, theta), sampling,
            radius=radius, trees=4, stream="joint", iteration=iteration,
        )  # fmt: skip
        slope = np.array([quantity.value for quantity in sums.gradients()])
        rate = learning_rate(1.0, 200.0, iteration)
        step, network_state = of_network.update(slope[1:], network_state, 0.01 * rate)
        theta = theta + step
        slopes.append(5.0 * radius * slope[:1])  # the pace of R is 5
        if iteration % 2:
            step, state = of_radius.update(np.mean(slopes[-2:], axis=0), state, 0.05 * rate)
            radius = radius * np.exp(step[0])
    np.testing.assert_allclose(opened.column("joint", "parameters"), path, rtol=1e-6, atol=1e-9)
    assert path[0][0] == path[1][0] != path[2][0] == path[3][0] != path[4][0]
    learned = opened.attribute("joint", "radius"), np.array(opened.attribute("joint", "theta"))
    assert learned[0] == pytest.approx(path[-1][0], rel=1e-6)

    # The scores, on events that it did not see.
    for row, r in enumerate((0.6, learned[0])):
        sums, events = joint_sums(
            batch.select(np.flatnonzero(back)), Network(tagger, classes, 8, learned[1]), sampling,
            radius=r, trees=4, stream="score-joint",
        )  # fmt: skip
        assert opened.array(SAMPLE, "loss")[row] == pytest.approx(sums.loss().value, rel=1e-9)
        assert opened.array(SAMPLE, "event_mean")[row] == pytest.approx(events.value)
    assert set(opened.array(SAMPLE, "weight")) == {1.0, 2.0}

    # What is shown, and that no global R was searched.
    assert not any(opened.n_complete(name) for name in ("history", "scan", "newton", "spectrum"))
    facts = summary(store)["joint"]
    assert facts["classes"] == [1.0, 0.0] and facts["choices"][1]["radius"] == learned[0]
    shown = CliRunner().invoke(main, ["show", str(store)]).output
    assert "ROC area" in shown and "R at the start: 0.6; no global R was searched" in shown
    drawn("joint")
    page = dj.report(store).read_text()
    assert "A network trained together with R" in page and "ROC curve" in page
    assert "which is given (joint.radius)" in page
    compared = compare_runs([store, store], tmp_path / "compared.html").read_text()
    assert compared.count(f"{learned[0]:.3f}") >= 2 and "with its network" in compared
    tables = contents_of(store).tables
    assert (
        tables["joint"]["radius"].values.tolist()
        == opened.column("joint", "parameters")[:, 0].tolist()
    )
    assert set(map(len, (column.values for column in tables["joint"].values()))) == {6}
    with pytest.raises(StoreError, match="without a scan"):
        export(store, "hepdata", tmp_path / "record")

    # Stopped while training or scoring, it goes on to the same bits.
    before, where = stored(store), LocalFolder(str(store))
    for name, rows in (("joint", 3), (SAMPLE, 1)):
        WrittenGroup(where, where.group("r+"), name).rewind(rows)
    dj.run(run)
    assert stored(store) == before
    with pytest.raises(StoreError, match=r"joint.trees is 4 there and 6 now"):
        dj.run(Run.from_dict(settings | {"joint": settings["joint"] | {"trees": 6}}))


def efn(classes: int) -> Any:
    return dj.networks.MomentEFN(
        order=1, latent=2, outputs=classes, particle_layers=[3], jet_layers=[3]
    )


def test_classes_are_datasets_and_r_may_be_kept(
    settings: dict[str, Any], events_file: Path, stored: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:  # fmt: skip
    """With a module from Python; continued from a shorter run."""
    fileset = {
        name: {"files": {str(events_file): {"object_path": "Events", "steps": [steps]}}}
        for name, steps in (("top", [0, 20]), ("qcd", [20, 40]))
    }
    section = settings["joint"] | {
        "classes": ["top", "qcd"], "network": dj.TorchTagger(efn), "learn_radius": False,
    }  # fmt: skip
    source = {"fileset": fileset, "bundle_events": 10}
    kept = settings | {"input": source, "joint": section}
    store = dj.run(Run.from_dict(kept)).store
    opened = dj.Store.read(store)
    assert set(opened.column("joint", "parameters")[:, 0]) == {0.6}
    assert opened.attribute("joint", "radius") == 0.6
    assert summary(store)["joint"]["classes"] == ["top", "qcd"]
    elsewhere = kept | {"output": {"store": str(tmp_path / "two.zarr")}}
    dj.run(Run.from_dict(elsewhere | {"joint": section | {"iterations": 3}}))
    assert stored(dj.run(Run.from_dict(elsewhere)).store) == stored(store)


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({"classes": [1.0], "class_weights": None}, ConfigError, r"joint.classes: expected two classes or more, found 1"),
        ({"classes": [1.0, 1.0], "class_weights": None}, ConfigError, r"expected different classes"),
        ({"class_weights": [1.0]}, ConfigError, r"expected 2 numbers, one for each .* found 1"),
        ({"classes": ["top", "qcd"]}, ConfigError, r"top, qcd are datasets, and the input is no fileset"),
        ({"class_weights": [0.0, 0.0]}, ConfigError, r"joint.class_weights.*expected 1e-09 or more"),
        ({"constituents": 0}, ConfigError, r"joint.constituents: expected 1 or more"),
        ({"jets": 0}, ConfigError, r"joint.jets: expected 1 or more"),
        ({"loss": "cross_entropi"}, ConfigError, r"joint.loss.*'cross_entropy', 'squared_error' or 'absolute_error'"),
        ({"loss": "squared_error"}, ConfigError, r"joint.classes and joint.class_weights are for joint.loss cross_entropy"),
        ({"held_back": 0.999}, RunError, r"joint.classes: 1\.0 has [01] events to train on"),
        ({"classes": [1.0, 5.0]}, dj.DjserviceError, r"20 events|10 events|5 events"),
        ({"classes": [1.0, 0.0, 5.0], "class_weights": None}, RunError, r"5\.0 has 0 events to train on"),
        ({"network": "moment_enf"}, ConfigError, r"joint.network: unknown name 'moment_enf'"),
        ({"network": {"name": "moment_efn", "order": 0}}, dj.DjserviceError, r"order is 0, expected"),
        ({"network": {"name": "moment_efn", "orders": 2}}, ConfigError, r"has no parameter 'orders'"),
        ({"trees": 1}, ConfigError, r"joint.trees"),
        ({"clases": []}, ConfigError, r"unknown key joint.clases .*did you mean 'classes'"),
        ({"network": {"name": "moment_efn", "jet_layers": [10**9]}}, ConfigError, r"limits.parameters"),
    ],
)  # fmt: skip
def test_settings_without_meaning(
    settings: dict[str, Any], section: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dj.run(Run.from_dict(settings | {"joint": settings["joint"] | section}))


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_class_without_weight_is_refused(settings: dict[str, Any], weight: float) -> None:
    keys, label = np.arange(40, dtype=np.uint64) << np.uint64(58), np.arange(40) % 2
    sample: Any = JointSample(None, keys, np.where(label == 0, weight, 1.0), label)  # type: ignore[arg-type]
    with pytest.raises(
        RunError, match=r"joint\.classes: 1\.0 has the weight -?\d+ to train on and -?\d+ held back"
    ):
        JointFit(RunPlan(Run.from_dict(settings)), sample, Lines())


def test_parameters_are_counted_before_they_take_memory(settings: dict[str, Any]) -> None:
    network = {"name": "moment_efn", "jet_layers": [4096] * 98}
    run = Run.from_dict(settings | {"joint": settings["joint"] | {"network": network}})
    with pytest.raises(ConfigError, match=r"joint\.network: .* found 1,627,\d\d\d,\d\d\d"):
        check_sizes(RunPlan(run))


@pytest.mark.parametrize(
    ("loss", "jets"),
    [
        ("squared_error", 2),
        pytest.param("absolute_error", 1, marks=pytest.mark.long),
        pytest.param("cross_entropy", 3, marks=pytest.mark.long),
    ],
)
def test_regressions_and_several_jets(
    settings: dict[str, Any],
    loss: str,
    jets: int,
    stored: Callable[[Path], dict[str, bytes]],
    drawn: Callable[..., None],
) -> None:
    """From the file to the report; stopped before the error of R, it goes on to the same bits."""
    of_classes = loss == "cross_entropy"
    section = settings["joint"] | {"loss": loss, "jets": jets}
    if not of_classes:
        section |= {"classes": [], "class_weights": None}
    run = Run.from_dict(settings | {"joint": section, "clustering": {"rigidity": 1.0}})
    finished = dj.run(run)
    store, facts = finished.store, summary(finished.store)["joint"]
    assert finished.radius == facts["radius"] and facts["curvature"] is not None
    assert facts["jets"] == jets and ("auc" in facts["choices"][1]) == of_classes
    if not of_classes:
        # The prediction has learned nothing yet, and its error is about the spread of the truth.
        assert facts["choices"][1]["rms"][0] == pytest.approx(0.5, abs=0.3)
    shown = CliRunner().invoke(main, ["show", str(store)]).output
    assert ("RMS" in shown) != of_classes and ("leading jets" in shown) == (jets > 1)
    assert f"{loss.replace('_', ' ').replace('cross ', 'cross-')}" in shown
    drawn("joint")
    assert "A network trained together with R" in dj.report(store).read_text()
    before = stored(store)
    dj.Store.read(store)  # readable while it is finished
    where = LocalFolder(str(store))
    WrittenGroup(where, where.group("r+"), "joint").update(curvature=None)
    dj.run(run)
    assert stored(store) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": None}, r"joint.loss is squared_error, and input.truth is missing"),
        ({"entries": [0, 2]}, r"joint has [012] events to train on and [012] that are held back"),
        ({"truth": "run"}, r"every event has the truth 1, expected several values"),
    ],
)
def test_regressions_without_meaning(
    settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    section = settings["joint"] | {"loss": "squared_error", "classes": [], "class_weights": None}
    with pytest.raises(dj.DjserviceError, match=message):
        dj.run(Run.from_dict(settings | {"joint": section, "input": settings["input"] | change}))


def test_it_is_not_reprocessed(settings: dict[str, Any]) -> None:
    section = {"files": settings["input"]["files"], "folder": "x"}
    with pytest.raises(ConfigError, match=r"task joint has no values of an observable"):
        make_plan(Reprocessing.model_construct(**section), Run.from_dict(settings))


def test_a_missing_extra_is_named(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for network in ("moment_efn", dj.TorchTagger(efn)):
        section = settings["joint"] | {"network": network}
        with pytest.raises(
            dj.DjserviceError, match=r"needs PyTorch: pip install 'djservice\[torch\]'"
        ):
            dj.run(Run.from_dict(settings | {"joint": section}))
