"""Runs over versions of their events: the same numbers however they are done, and what is refused."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ConfigError, StoreError
from djservice.exports.contents import contents_of
from djservice.exports.write import export
from djservice.fit.plan import RunPlan
from djservice.reports.compared import compare_runs
from djservice.reports.html import report
from djservice.reports.robust_figure import augmentations
from djservice.reports.summary import summary
from djservice.reports.text import robust_rows, robust_text
from djservice.store.run_store import Store

ROBUST = {"augmentations": ["smear", {"name": "drop", "probability": 0.1}], "weight": 0.5}


@pytest.fixture(scope="module")
def robust(done_once: Callable[..., Path], tiny_run: Callable[..., dict[str, Any]]) -> Path:
    return done_once("robust", lambda path: tiny_run(path) | {"robust": ROBUST})


def test_the_store_has_the_librarys_own_numbers(robust: Path) -> None:
    store, run = Store.read(robust), Run.from_dict(Store.read(robust).attributes["run"])
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    loss, changes = RunPlan(run).loss, [dj.augment.Smear(), dj.augment.Drop(0.1)]
    found = dj.gradient(events, dj.Robust(loss, changes, 0.5), radius=0.7, trees=4, seed=run.seed)
    assert found.error > 0
    from djservice.clustering.sampling import Sampling
    from djservice.evaluation.evaluate import evaluate

    moments, _ = evaluate(
        events,
        dj.Robust(loss, changes, 0.5),
        RunPlan(run).estimator,
        Sampling(1.0, seed=run.seed),
        radius=0.7,
        trees=4,
        stream="scan",
        iteration=1,
    )
    for name, value in (
        ("loss", moments.loss().value),
        ("gradient", moments.gradient().value),
        ("gradient_error", moments.gradient().error),
        ("mean", moments.mean().value),
    ):
        assert store.column("scan", name)[1] == pytest.approx(value, rel=1e-9)
    of_each = [moments.loss_along(one).value for one in np.eye(3)]
    np.testing.assert_allclose(store.column("scan", "version_loss")[1], of_each, rtol=1e-9)


def test_a_longer_run_from_a_shorter_one_has_its_bits(
    robust: Path, scheduler: str, tiny: dict[str, Any], stored: Callable[[Any], dict[str, bytes]]
) -> None:
    settings = tiny | {"robust": ROBUST, "cluster": {"scheduler": scheduler}}
    for iterations in (2, 6):
        optimiser = settings["optimiser"] | {"iterations": iterations}
        dj.run(Run.from_dict(settings | {"optimiser": optimiser}))
    assert stored(tiny["output"]["store"]) == stored(robust)


def test_the_report_has_the_radii_as_a_table(
    robust: Path, drawn: Callable[..., None], tmp_path: Path
) -> None:
    facts = summary(robust)
    assert [row[0] for row in robust_rows(facts)] == ["none", "smear", "drop (probability 0.1)"]
    assert "plus 0.5 standard deviations" in robust_text(facts)
    drawn("augmentations")
    page = report(robust, tmp_path / "page.html").read_text()
    assert "<h2>Augmentations</h2>" in page and "drop (probability 0.1)" in page


def test_the_figure_leaves_out_what_is_not_determined() -> None:
    import matplotlib.pyplot as plt

    def version(name: str, radius: float | None, shift: float | None) -> dict[str, Any]:
        errors = {"radius_error": radius and 0.1, "shift_error": shift and 0.05}
        return {"name": name, "radius": radius, "shift": shift, **errors}

    def drawn(*table: dict[str, Any], radius: float = 0.85) -> Any:
        result = {"radius": radius, "radius_error": 0.1}
        store = SimpleNamespace(
            groups=["robust"],
            attribute=lambda group, name: list(table),
            attributes={"result": result},
        )
        return augmentations(store)

    assert drawn(version("none", None, None), version("smear", None, None)) is None
    figure = drawn(version("none", 0.8, None), version("smear", None, None), version("a", 0.9, 0.1))
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[0.8, 0.0], [0.9, 2.0]]
    assert right.lines[0].get_xydata().tolist() == [[0.1, 2.0]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["none", "smear", "a"]
    plt.close(figure)


def test_a_note_of_several_is_said_once() -> None:
    rows = [
        {"name": name, "note": note, "shift": None}
        for name, note in (("none", "flat"), ("smear", ""), ("drop", "flat"))
    ]
    text = robust_text({"run": {"robust": {"weight": 0.0}}, "robust": rows})
    assert text.endswith(" none, drop: flat.")


def test_the_radii_are_exported_and_compared(robust: Path, tmp_path: Path) -> None:
    table, rows = contents_of(robust).tables["robust"], summary(robust)["robust"]
    assert table["name"].values.tolist() == [row["name"] for row in rows]
    for name in ("radius", "shift_error", "mean"):
        values = [math.nan if row[name] is None else row[name] for row in rows]
        assert np.array_equal(table[name].values, values, equal_nan=True)
    for format in ("root", "csv", "hepdata"):
        assert export(robust, format, tmp_path / f"robust.{format}").exists()
    with uproot.open(tmp_path / "robust.root") as file:
        assert file["robust"]["loss"].array().tolist() == table["loss"].values.tolist()
    assert "Nothing." in compare_runs([robust, robust], tmp_path / "two.html").read_text()


def test_a_store_is_continued_with_the_same_augmentations_only(
    robust: Path, scheduler: str, tiny_run: Callable[..., dict[str, Any]]
) -> None:
    other = tiny_run(robust) | {"robust": ROBUST | {"weight": 0.6}}
    with pytest.raises(StoreError, match=r"robust.weight is 0.5 there and 0.6 now"):
        dj.run(Run.from_dict(other | {"cluster": {"scheduler": scheduler}}))


INFORMATION = {"kind": "mutual_information"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"augmentations": ["smeer"]}, "robust.augmentations[0]: unknown name 'smeer'"),
        ({"augmentations": ["smear", {"name": "drop", "pt": 1}]}, "robust.augmentations[1]: drop"),
        (
            {"augmentations": ["smear", {"name": "smear", "scale": 0.1}]},
            "robust.augmentations[1] is Smear(scale=0.1, pt_min=0.1) again",
        ),
        ({"augmentations": ["smear"], "weight": -1.0}, "robust.weight"),
        ({"weight": 1.0}, "there are no augmentations"),
    ],
)
def test_wrong_sections_are_refused(
    tiny: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        RunPlan(Run.from_dict(tiny | {"robust": changed})).check()


@pytest.mark.parametrize("task", ["per-event", "radius-model", "particle-weights", "joint"])
def test_other_tasks_are_refused(tiny: dict[str, Any], task: str) -> None:
    run = Run.from_dict(tiny | {"robust": ROBUST, "task": task})
    with pytest.raises(ConfigError, match=f"for a global radius, not for task {task}"):
        RunPlan(run).check()


def test_objectives_are_refused(tiny: dict[str, Any]) -> None:
    settings = tiny | {"robust": ROBUST, "objective": INFORMATION}
    del settings["loss"]
    with pytest.raises(ConfigError, match="for a loss, not for the objective mutual_information"):
        RunPlan(Run.from_dict(settings)).check()
