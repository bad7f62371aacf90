"""Objectives are shown by their names and signs, losses as losses."""

from io import StringIO
from typing import Any

import pytest

import djservice as dj
from djservice.core.display import Lines
from djservice.core.shown import MAXIMISED, Shown, ShownSteps, shown_of
from djservice.objectives.losses import Term

STEP = {"loss": -0.3, "loss_error": 0.01, "radius": 0.7}
RUNS: list[tuple[dict[str, Any], str]] = [
    ({}, "loss -0.3000 +- 0.0100"),
    ({"objective": None}, "loss -0.3000 +- 0.0100"),
    ({"objective": {"kind": "mutual_information"}}, "mutual information 0.3000 +- 0.0100"),
    ({"objective": {"kind": "significance"}}, "significance 0.3000 +- 0.0100"),
]


@pytest.mark.parametrize(("run", "text"), RUNS)
def test_a_step(run: dict[str, Any], text: str) -> None:
    stream = StringIO()
    watch = ShownSteps(Lines(stream), shown_of(run))
    watch.phase("scan", 1, 0)
    watch.step(STEP)
    watch.say("words")
    assert f"scan 1/1  {text}" in stream.getvalue() and "words" in stream.getvalue()
    assert watch.step({"steps": 3.0}) is None  # without a loss


@pytest.mark.parametrize("kind", [dj.MutualInformation, dj.Significance, dj.SquaredError])
def test_what_is_maximised_has_a_name(kind: type[Term]) -> None:
    assert kind.maximised in (*MAXIMISED.values(), "")
    assert bool(kind.maximised) == (kind is not dj.SquaredError)


def test_the_page_of_a_run_names_it() -> None:
    pytest.importorskip("bokeh")
    from djservice.service.web.figures import figures

    labels = str(figures(Shown("significance", -1.0)))
    assert "'axis_label': 'significance'" in labels and "'axis_label': 'loss'" not in labels
    assert "'axis_label': 'loss'" in str(figures(Shown()))
