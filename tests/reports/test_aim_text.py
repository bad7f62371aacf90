"""The loss and the cuts of a run, in words."""

from typing import Any

import pytest

import djservice as dj
from djservice.config.run import Run
from djservice.reports.aim_text import aim_text

CUTS = [{"name": "two_jets", "pt_min": 20.0}, {"name": "mass_below", "maximum": 250.0}]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"loss": {"target": 125.0, "scale": 125.0, "cuts": CUTS}},
            "Minimised: the squared distance of dijet_mass from 125, in units of 125. Trees count "
            "that pass two_jets (pt_min 20.0) and mass_below (maximum 250.0).",
        ),
        (
            {"loss": [{"kind": "robust_width"}, {"coefficient": 0.5, "scale": None}]},
            "Minimised: the width of the central 68 % of dijet_mass over its median, plus 0.5 times "
            "the squared distance of dijet_mass from the truth of the event, in units of the truth "
            "of the event. All trees count.",
        ),
        (
            {"loss": {"observable": dj.observables.leading_jet_mass, "target": 80.0}},
            "Minimised: the squared distance of leading_jet_mass from 80. All trees count.",
        ),
        (
            {"loss": {"target": 80.0}, "robust": {"augmentations": ["smear"], "weight": 0.5}},
            "Minimised: the squared distance of dijet_mass from 80; the mean of that over the events "
            "as they are and after smear, plus 0.5 standard deviations. All trees count.",
        ),
        (
            {"objective": {"kind": "mutual_information"}},
            "Maximised: the mutual information of dijet_mass and the true mass. All trees count.",
        ),
    ],
)
def test_the_aim_of_a_run(settings: dict[str, Any], expected: str) -> None:
    run = Run.from_dict({"input": {"files": "a.root"}, "output": {"store": "s.zarr"}} | settings)
    assert aim_text(run.to_dict()) == expected


@pytest.mark.parametrize(
    "kind", ["squared_error", "bounded_error", "squared_error_of_mean", "width"]
)
def test_every_kind_of_loss_has_words(kind: str) -> None:
    sections = {"input": {"files": "a.root"}, "output": {"store": "s.zarr"}}
    run = Run.from_dict(sections | {"loss": {"kind": kind}})
    assert "of dijet_mass" in aim_text(run.to_dict())


def test_the_aim_of_a_search() -> None:
    search = {"kind": "significance", "observable": {"name": "dijet_mass"}, "cuts": []}
    run = {"objective": search | {"signal": ["zh"], "background": ["zz", "zj"]}}
    assert "the significance of zh over zz and zj in a histogram of dijet_mass" in aim_text(run)
