"""Fitted shapes as observables of leading jets, in a configuration and of trees."""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError
from djservice.fit.build import build_loss


@pytest.fixture(scope="module")
def events() -> Any:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 6))


def mean(events: Any, observable: Any) -> Any:
    return dj.expectation(events, observable, radius=0.8, rigidity=math.inf).mean


def test_they_are_fits_of_the_leading_jet(events: Any) -> None:
    jets = dj.cluster_jets(events, radius=0.8, jets=1).constituents
    rows = np.column_stack([events.pt, events.rapidity, events.phi])
    places = [events.offsets[i] + ak.to_numpy(jets[i][0]) for i in range(len(events))]
    shapes = dj.shapes
    ring, points = shapes.Ring() + shapes.Uniform(), shapes.Point(2)
    found = [dj.shapes.fit(rows[p], ring, beta=2.0) for p in places]
    for output, values in (
        ("value", [each.value for each in found]),
        ("radius", [each.radii[0] for each in found]),
        ("uniform", [each.uniform for each in found]),
    ):
        observable = dj.observables.shape("ring+uniform", 1, output, beta=2.0)
        assert mean(events, observable) == pytest.approx(values, rel=1e-6, abs=1e-9)
    ratio = [
        dj.shapes.fit(rows[p], points).value / dj.shapes.fit(rows[p], shapes.Point()).value
        for p in places
    ]
    assert mean(events, dj.observables.shape("point", 2, "ratio")) == pytest.approx(ratio, rel=1e-6)


def test_a_jet_of_too_few_particles_has_none() -> None:
    one = dj.EventBatch.from_arrays(
        pt=[30.0], rapidity=[0.0], phi=[0.0], mass=[0.0], offsets=[0, 1]
    )
    assert np.isnan(mean(one, dj.observables.shape("point", 2)))
    assert mean(one, dj.observables.shape("point")) == 0.0


def test_a_configuration_names_them(events: Any, tiny_run: Any, tmp_path: Any) -> None:
    observable = {"name": "shape", "shape": "point", "n": 2, "output": "weight", "prong": 1}
    settings = tiny_run(tmp_path / "run.zarr")
    settings["loss"] = {"observable": observable, "target": 0.2}
    loss = build_loss(dj.Run.from_dict(settings))
    sample = dj.cluster(events, radius=0.8, rigidity=10.0, trees=3, seed=1, constituents=True)
    values = loss.observable(sample.jets)
    assert values.shape == (6, 3) and (values[np.isfinite(values)] <= 0.5).any()
    same = dj.observables.shape("point", 2, "weight", prong=1)
    assert same.fingerprint == loss.observable.fingerprint
    assert same.fingerprint != dj.observables.shape("point", 2, "weight").fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "disc"}, "unknown shape 'disc'"),
        ({"shape": "disk", "output": "size"}, "unknown output 'size'"),
        ({"shape": "disk", "output": "ratio"}, "1-disk: no ratio"),
        ({"shape": "disk", "output": "radius", "prong": 1}, "no radius of prong 2"),
        ({"shape": "disk", "output": "uniform"}, "no uniform"),
        ({"shape": "disk", "beta": 3.0}, "beta is 3.0"),
        ({"shape": "disk", "n": 0}, "n is 0"),
        ({"shape": None}, "unknown shape 'None'"),
        ({"shape": "disk+sphere isotropy"}, "sphere isotropy is no part of a sum"),
    ],
)
def test_refusals(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.observables.shape(**arguments)
