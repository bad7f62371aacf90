"""What notebooks show of a finished run: axes, tables and bars."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import djservice as dj
from djservice.core.html_table import html_table
from djservice.core.notebook import Notebook, in_notebook, python_display
from djservice.errors import MissingPackageError, StoreError
from djservice.events.augment import AUGMENTATIONS
from djservice.fit.result import Result
from djservice.input.layouts import LAYOUTS
from djservice.objectives import cuts, observables
from djservice.runs.finished import FinishedRun


@pytest.fixture
def store(finished_run: Path) -> dj.Store:
    return dj.Store.read(finished_run)


def test_figures_are_axes(store: dj.Store, finished_run: Path) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    assert store.plot_scan().get_xlabel() == "R"
    assert next(axes.get_ylabel() for axes in store.plot_iterations()) == "R"
    assert store.plot_spectra().get_legend() is not None
    with pytest.raises(StoreError, match="nothing to draw"):
        store.plot_radii()
    fit = FinishedRun(Result(**store.attributes["result"]), finished_run)
    assert fit.plot().get_ylabel() == "loss"
    assert "Finished run" in fit._repr_html_() and "Newton steps" in fit.result._repr_html_()
    plt.close("all")


def test_without_the_extra_one_line_says_what_to_install(
    store: dj.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_import = builtins.__import__

    def without_matplotlib(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}", name=name)
        return true_import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(MissingPackageError, match=r"figures need matplotlib.*djservice\[report\]"):
        store.plot_scan()


def test_tables_show_names_and_values_and_escape_them(store: dj.Store) -> None:
    events = _events()
    trees = dj.cluster(events, radius=0.7, rigidity=1.0, trees=2)
    mass = dj.observables.dijet_mass
    for shown, words in (
        (events, ["Events", "&lt;script&gt;", "\\x1b"]),
        (trees, ["Trees", "radius"]),
        (
            dj.gradient(events, mass, radius=0.7, trees=2),
            ["Gradient", "d/d radius", "not determined"],
        ),
        (dj.expectation(events, mass, radius=0.7, trees=2), ["Expectation"]),
        (dj.Run.from_dict(store.attributes["run"]), ["Run", "example:ZHllbb_200"]),
        (store, ["Store", "finished", "40"]),
    ):
        table = shown._repr_html_()
        assert all(word in table for word in words), table
        assert "<script>" not in table and len(table) < 20_000
        assert "\n" not in repr(shown)[:40]
    assert html_table("t", {"a": None, "b": ""}) == "<table><caption>t</caption></table>"


def _events() -> dj.EventBatch:
    return dj.EventBatch.from_arrays(
        pt=[50.0, 40.0],
        eta=[0.0, 1.0],
        phi=[0.0, 3.0],
        mass=[0.0, 0.0],
        offsets=[0, 2],
        source="<script>\x1b",
    )


def test_a_notebook_has_a_bar_for_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda html: shown.append(html))
    display = SimpleNamespace(HTML=lambda text: text, display=lambda html, display_id: handle)
    shell = SimpleNamespace(kernel=object())
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display)
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    watch = python_display()
    assert isinstance(watch, Notebook)
    watch.say("<read>")
    for phase in ("read", "optimise"):
        watch.phase(phase, 2, 0)
        for _ in range(2):
            watch.step({"radius": 0.7})
    assert shown[-1].count('<progress value="2" max="2">') == 2
    assert "&lt;read&gt;" in shown[-1] and "R 0.700" in shown[-1]


@pytest.mark.parametrize(
    "name", ["observables", "cuts", "schemas", "augment", "examples", "errors"]
)
def test_completion_shows_what_is_public(name: str) -> None:
    module = getattr(dj, name)
    assert dir(module) == sorted(module.__all__)
    for public in module.__all__:
        assert getattr(module, public).__doc__
    assert not {"Any", "np", "annotations"} & {*dir(module), *dir(dj)}
    assert {name, "__version__"} <= {*dir(dj)} and dj.__version__


def test_what_a_configuration_can_name_is_public() -> None:
    assert {*LAYOUTS} <= {*dj.schemas.__all__}
    assert {kind.__name__ for kind in AUGMENTATIONS.values()} <= {*dj.augment.__all__}
    for module, names in (
        (observables, observables.named_observables()),
        (cuts, cuts.named_cuts()),
    ):
        ours = {name for name in names if hasattr(module, name)}
        assert ours and ours <= {*module.__all__}
