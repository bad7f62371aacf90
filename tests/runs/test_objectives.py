"""Runs that maximise an objective: from the configuration to the report, and what is refused."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import ConfigError, RunError
from djservice.fit.plan import RunPlan
from djservice.store.grid_store import read_grid
from djservice.store.run_store import Store

WORKFLOWS = Path(__file__).parents[2] / "workflows"
PATH = dj.examples.path("ZHllbb_200")
CUTS = [{"name": "two_jets", "pt_min": 20.0}]


def fileset(**changed: Any) -> dict[str, Any]:
    """Two datasets of the example, with cross sections in pb."""
    parts = {"ZH": ([0, 60], 0.02), "Zjets": ([60, 150], 3.0), **changed}
    return {
        name: {
            "files": {PATH: {"object_path": "Events", "steps": [steps], "num_entries": 200}},
            "metadata": {} if xsec is None else {"xsec": xsec},
        }
        for name, (steps, xsec) in parts.items()
    }


OBJECTIVES: dict[str, dict[str, Any]] = {
    "mutual_information": {
        "kind": "mutual_information",
        "bins": [5, 4],
        "range": [20.0, 220.0],
        "truth_range": [85.0, 125.1],
        "cuts": CUTS,
        "held_back": 0.3,
    },
    "significance": {
        "kind": "significance",
        "signal": "ZH",
        "background": ["Zjets"],
        "luminosity": 300.0,
        "bins": [40.0, 90.0, 110.0, 140.0, 200.0, 201.0],
        "background_uncertainty": 0.1,
        "minimum_entries": 3.0,
        "cuts": CUTS,
        "held_back": 0.3,
    },
}
TITLES = {"mutual_information": "mutual information [nats]", "significance": "significance"}
INPUTS: dict[str, dict[str, Any]] = {
    "mutual_information": {"files": PATH, "truth": "GenVisH_mass", "entries": [0, 150]},
    "significance": {"fileset": fileset()},
}


def settings(name: str, store: Path, **objective: Any) -> dict[str, Any]:
    return {
        "input": INPUTS[name] | {"pt_min": 2.0, "bundle_events": 30},
        "objective": {**OBJECTIVES[name], **objective},
        "optimiser": {"iterations": 4, "batch_events": 80, "trees": 4, "averaging_start": 1},
        "scan": {"radii": [0.4, 0.7, 1.0, 1.2], "trees": 4},
        "spectrum": {"radii": [0.65], "trees": 4},
        "output": {"store": str(store)},
    }


@pytest.fixture(scope="module", params=OBJECTIVES)
def finished(
    request: pytest.FixtureRequest, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Kind of the objective, and the store of a finished run."""
    kind: str = request.param
    data = settings(kind, tmp_path_factory.mktemp(kind) / "run.zarr")
    run = Run.from_dict(data | {"cluster": {"scheduler": scheduler}})
    lines = StringIO()
    store = Path(dj.run(run, watch=Lines(lines)).store)
    assert re.search(rf"spectrum 3/3  {TITLES[kind].split(' [')[0]} \d", lines.getvalue())
    assert "loss" not in lines.getvalue()
    return kind, store


def shown(*arguments: str) -> str:
    ended = CliRunner().invoke(main, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.output


def test_a_run_and_its_reports(
    finished: tuple[str, Path], drawn: Callable[..., None], tmp_path: Path
) -> None:
    kind, path = finished
    store = Store.read(path)
    title = TITLES[kind]
    contents, error = (
        store.column("spectrum", "contents"),
        store.column("spectrum", "contents_error"),
    )
    assert contents.shape[0] == 3 and (error[contents > 0.0] > 0.0).all()
    loss = store.column("spectrum", "loss")
    assert (loss < 0.0).all()
    score = store.attribute("spectrum", "held_back")
    assert score["at"] == [store.attributes["result"]["radius"], None] and 20 < score["events"] < 70
    bootstrap = store.attribute("spectrum", "bootstrap_error")
    assert 0.2 < bootstrap / store.column("spectrum", "loss_error")[1] < 5.0
    text = shown("show", str(path))
    assert f"by a bootstrap over events: {bootstrap:.4f}" in text
    assert title in text and f"on the {score['events']} events that were held back" in text
    assert f"{-loss[1]:.2f}"[:4] in text
    drawn("objective", "landscape")
    page = dj.report(path, tmp_path / "run.html").read_text()
    assert title in page and "held back" in page
    for told in re.findall("<th.*?</th>|<figcaption.*?</figcaption>", page, flags=re.DOTALL):
        assert "loss" not in told.lower()
    assert {"objective.svg", "landscape.svg"} <= {
        p.name for p in (tmp_path / "run.report").iterdir()
    }


def test_a_run_that_is_continued_has_the_same_bits(
    finished: tuple[str, Path],
    scheduler: str,
    tmp_path: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
) -> None:
    kind, path = finished
    data = settings(kind, tmp_path / "run.zarr") | {"cluster": {"scheduler": scheduler}}
    for iterations in (2, 4):
        dj.run(Run.from_dict(data | {"optimiser": {**data["optimiser"], "iterations": iterations}}))
    assert stored(tmp_path / "run.zarr") == stored(path)


def test_a_scan(finished: tuple[str, Path], scheduler: str, tmp_path: Path) -> None:
    data = settings(finished[0], tmp_path / "run.zarr") | {"cluster": {"scheduler": scheduler}}
    grid = dj.scan(Run.from_dict(data), tmp_path / "scan.zarr", radii=[0.5, 0.9], trees=4)
    root = read_grid(grid)
    assert (root["loss"][...] < 0.0).all() and (root["gradient_error"][...] > 0.0).all()


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")  # in pyhf
def test_the_workspace_of_pyhf(finished: tuple[str, Path], tmp_path: Path) -> None:
    kind, path = finished
    output = tmp_path / "workspace.json"
    if kind != "significance":
        ended = CliRunner().invoke(main, ["export", str(path), "--pyhf", str(output)])
        assert (
            ended.exit_code == 1
            and "expected a run whose objective is a significance" in ended.output
        )
        return
    output.write_text("mine")
    ended = CliRunner().invoke(main, ["export", str(path), "--pyhf", str(output)])
    assert ended.exit_code == 1 and "workspace.json: exists already" in ended.output
    assert output.read_text() == "mine"
    shown("export", str(path), "--pyhf", str(output), "--force")
    pyhf = pytest.importorskip("pyhf")
    workspace = pyhf.Workspace(json.loads(output.read_text()))  # checks the schema
    model, store = workspace.model(), Store.read(path)
    fixed = (
        model.config.suggested_init(),
        model.config.suggested_bounds(),
        model.config.suggested_fixed(),
    )
    z = float(np.sqrt(pyhf.infer.test_statistics.q0(0.0, workspace.data(model), model, *fixed)))
    group = store.column("spectrum", "group")[1]
    contents = 300.0 * store.column("spectrum", "contents")[1]
    s, b = (np.bincount(group, row) for row in contents)
    assert len(s) < 5  # the last bin is narrow and empty, and merged
    n, rho = s + b, 0.01
    square = 2.0 * (
        n * np.log(n * (1 + rho * b) / (b * (1 + rho * n)))
        - np.log((1 + rho * n) / (1 + rho * b)) / rho
    )
    assert z == pytest.approx(np.sqrt(square.sum()), rel=1e-4)
    # The objective is less than that by its bias.
    assert 0.0 < -store.column("spectrum", "loss")[1] < z


def check(data: dict[str, Any]) -> None:
    RunPlan(Run.from_dict(data)).check()


MI, Z = "mutual_information", "significance"


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (MI, {"kind": "information"}, "objective.kind: .*mutual_information"),
        (MI, {"signal": "ZH"}, "a mutual_information has no signal, which is of a significance"),
        (MI, {"bins": [40.5, 20]}, "expected bins as two whole numbers"),
        (MI, {"bins": [40]}, r"objective: bins are \[40\], expected two numbers"),
        (MI, {"bins": [100, 100]}, "optimiser.batch_events is 80, expected 4901 or more"),
        (MI, {"range": [1, 0]}, r"range is \[1.0, 0.0\], expected \[lowest, highest\]"),
        (MI, {"observable": "dijet_mas"}, "objective.observable: unknown name 'dijet_mas'"),
        (MI, {"held_back": 1.0}, "objective.held_back"),
        (MI, {"binz": 3}, "unknown key objective.binz .did you mean 'bins'"),
        (Z, {"signal": ()}, "a significance needs signal, found none"),
        (Z, {"luminosity": None}, "a significance needs luminosity, found none"),
        (Z, {"bins": None}, "a significance needs bins, found none"),
        (Z, {"luminosity": -1.0}, "objective.luminosity: expected more than 0"),
        (Z, {"bins": [0, 10, 10]}, "objective: bins are .* edges of one bin or more, increasing"),
        (Z, {"bins": [10]}, "edges of one bin or more"),
        (Z, {"background": "ZH"}, "expected one dataset or more in each, and none twice"),
        (Z, {"background": "Zjet"}, "objective.background: the fileset has no dataset 'Zjet' .did you mean 'Zjets'"),
        (Z, {"background_uncertainty": -0.1}, "objective.background_uncertainty"),
        (Z, {"truth_range": [0, 1]}, "a significance has no truth_range"),
        (Z, {"minimum_entries": 0}, "objective.minimum_entries"),
    ],
)  # fmt: skip
def test_settings_without_meaning(
    kind: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(settings(kind, tmp_path / "run.zarr", **changed))


@pytest.mark.parametrize(
    ("kind", "sections", "message"),
    [
        (MI, {"input": {"files": PATH}}, "input.truth is null. Give input.truth"),
        (MI, {"loss": {}}, "expected one of loss, which is minimised, and objective"),
        (MI, {"objective": None}, "missing key loss; or give objective in its place"),
        (MI, {"task": "per-event"}, "objective.kind is a mutual_information, which means nothing for a single event"),
        (MI, {"task": "radius-model"}, "objective is for a global radius, not for task radius-model"),
        (Z, {"input": {"files": PATH}}, "needs the datasets and cross sections of input.fileset"),
        (Z, {"input": {"fileset": fileset(data=([0, 3], 1.0))}}, "data of the fileset is neither signal nor background"),
        (Z, {"input": {"fileset": fileset(ZH=([0, 3], None), Zjets=([3, 6], None))}}, "needs metadata.xsec of every dataset"),
        (Z, {"task": "per-event"}, "objective.kind is a significance, which means nothing for a single event"),
    ],
)  # fmt: skip
def test_sections_without_meaning(
    kind: str, sections: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(settings(kind, tmp_path / "run.zarr") | sections)


@pytest.mark.parametrize(
    ("kind", "section", "objective", "message"),
    [
        (MI, {"truth": 125.0}, {}, "all 150 events, of true masses from 125 to 125 GeV, are in one of 4 bins"),
        (MI, {"entries": [0, 5]}, {}, "the number of events is 5, expected 7 or more"),
        (Z, {"fileset": fileset(ZH=([0, 60], -0.1))}, {}, "dataset 'ZH': expected a positive xsec"),
        (Z, {}, {"minimum_entries": 1e6}, r"the background has .* effective entries in all bins together, expected 1e\+06"),
        (Z, {}, {"bins": [1e4, 2e4]}, "the background has 0 effective entries"),
        (Z, {}, {"held_back": 1e-9}, "0 of 150 events are held back"),
    ],
)  # fmt: skip
def test_events_without_meaning(
    kind: str,
    section: dict[str, Any],
    objective: dict[str, Any],
    message: str,
    scheduler: str,
    tmp_path: Path,
) -> None:
    data = settings(kind, tmp_path / "run.zarr", **objective)
    data |= {"input": {**data["input"], **section}, "cluster": {"scheduler": scheduler}}
    with pytest.raises((ConfigError, RunError, ValueError), match=re.compile(message)):
        dj.run(Run.from_dict(data))


def test_the_workflows_are_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(WORKFLOWS))
    significance = importlib.import_module("zh_significance")
    run = Run.from_dict(significance.configuration(tmp_path))
    assert run.objective is not None and run.objective.signal == ("ZH",)
    run = Run.from_yaml(WORKFLOWS / "zh_information.yaml")
    assert run.objective is not None and run.objective.kind == MI
