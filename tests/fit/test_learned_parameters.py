"""What a global run can learn beside one R: the rigidity with it, and the radius of variable-R jets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate
from djservice.fit.minibatches import MiniBatches
from djservice.store.run_store import Store

LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
LOSS = LOSS.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str) -> dict[str, Any]:
    return tiny | {"cluster": {"scheduler": scheduler}}


def shipped() -> Any:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))


def test_rigidity_and_radius_together(
    settings: dict[str, Any], stored: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    both = settings | {"clustering": {"learn_rigidity": [0.5, 20.0]}}
    run = Run.from_dict(both)
    finished = dj.run(run)
    opened, events = Store.read(finished.store), shipped()
    assert opened.root["history"].attrs["parameters"] == ["R", "alpha"]
    minibatches = MiniBatches(events.key, run.seed, 16)
    for iteration in range(6):
        radius, rigidity = opened.column("history", "parameters")[iteration]
        moments, _ = evaluate(
            events.select(minibatches.minibatch(iteration).of(events.key)),
            LOSS,
            StateBaseline(),
            Sampling(rigidity=rigidity, seed=run.seed),
            radius=radius,
            parameters=("radius", "rigidity"),
            trees=4,
            stream="train",
            iteration=iteration,
        )
        expected = moments.gradients()
        found = opened.column("history", "gradients")[iteration]
        assert found == pytest.approx([g.value for g in expected], rel=1e-9)
        errors = opened.column("history", "gradients_error")[iteration]
        assert errors == pytest.approx([g.error for g in expected], rel=1e-9)
    values = opened.column("history", "parameters")
    assert (values[0] == [1.0, 1.0]).all() and (np.diff(values[:, 1]) != 0).all()
    assert (opened.column("history", "radius") == values[:, 0]).all()
    # Averages over the second half, both geometric; scan and spectrum are at the averaged rigidity.
    average = np.exp(np.log(values[3:]).mean(axis=0))
    result = finished.result
    assert (result.radius, result.rigidity) == pytest.approx(tuple(average), rel=1e-12)
    moments, _ = evaluate(
        events,
        LOSS,
        StateBaseline(),
        Sampling(rigidity=result.rigidity, seed=1),
        radius=0.7,
        trees=4,
        stream="scan",
        iteration=1,
    )
    assert opened.column("scan", "loss")[1] == pytest.approx(moments.loss().value, rel=1e-12)
    moments, _ = evaluate(
        events,
        LOSS,
        StateBaseline(),
        Sampling(rigidity=result.rigidity, seed=1),
        radius=result.radius,
        parameters=("radius", "rigidity"),
        trees=4,
        stream="spectrum",
        iteration=1,
    )
    slope = moments.gradient(1)
    assert (result.rigidity_gradient, result.rigidity_gradient_error) == pytest.approx(
        (slope.value, slope.error), rel=1e-9
    )
    assert any("at the learned rigidity" in remark for remark in result.remarks)
    assert "alpha: 1 -> " in CliRunner().invoke(main, ["show", str(finished.store)]).output

    # More iterations end at another rigidity: its scan and spectrum are done again.
    elsewhere = both | {"output": {"store": str(tmp_path / "two.zarr")}}
    dj.run(Run.from_dict(elsewhere | {"optimiser": settings["optimiser"] | {"iterations": 4}}))
    assert stored(dj.run(Run.from_dict(elsewhere)).store) == stored(finished.store)


def test_variable_r(settings: dict[str, Any]) -> None:
    """R at a reference pT is rho over it: the same losses, and derivatives times that pT."""
    run = Run.from_dict(settings | {"radius": {"reference_pt": 60.0, "reach": [0.2, 1.2]}})
    finished = dj.run(run)
    opened, events = Store.read(finished.store), shipped()
    for row, radius in enumerate(run.scan.radii):
        model = dj.VariableR(60.0 * radius, 0.2, 1.2)
        sampling = Sampling(seed=run.seed)
        moments, _ = evaluate(
            events,
            LOSS,
            StateBaseline(),
            sampling,
            radius=model,
            trees=4,
            stream="scan",
            iteration=row,
        )
        gradient = moments.gradient()
        for name, value in (
            ("loss", moments.loss().value),
            ("loss_error", moments.loss().error),
            ("gradient", 60.0 * gradient.value),
            ("gradient_error", 60.0 * gradient.error),
            ("mean", moments.mean().value),
        ):
            assert opened.column("scan", name)[row] == pytest.approx(value, rel=1e-9)
    constant = dj.run(Run.from_dict(settings | {"output": {"store": str(finished.store) + "2"}}))
    assert constant.result.radius != finished.result.radius


def test_rigidity_learned_with_variable_r(settings: dict[str, Any]) -> None:
    together = settings | {
        "radius": {"reference_pt": 60.0},
        "clustering": {"learn_rigidity": [0.5, 20.0]},
    }
    finished = dj.run(Run.from_dict(together))
    events, result = shipped(), finished.result
    moments, _ = evaluate(
        events,
        LOSS,
        StateBaseline(),
        Sampling(rigidity=result.rigidity, seed=1),
        radius=dj.VariableR(60.0 * result.radius, 0.1, 1.5),
        parameters=("rho", "rigidity"),
        trees=4,
        stream="spectrum",
        iteration=1,
    )
    slopes = moments.gradients()
    assert result.gradient == pytest.approx(60.0 * slopes[0].value, rel=1e-9)
    assert result.rigidity_gradient == pytest.approx(slopes[1].value, rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clustering": {"learn_rigidity": [2.0, 20.0]}},
            r"expected rigidity 1.0 within learn_rigidity \[2.0, 20.0\]",
        ),
        ({"radius": {"reach": [1.0, 0.5]}}, r"expected reach as \[lowest, highest\]"),
        (
            {"radius": {"reference_pt": 60.0}, "estimator": "finite_difference"},
            r"radius.reference_pt needs an estimator that is made of the score, and finite_difference is not",
        ),
        (
            {"clustering": {"learn_rigidity": [0.5, 20.0]}, "task": "per-event"},
            r"clustering.learn_rigidity is for a global radius, not for task per-event",
        ),
        (
            {"radius": {"reference_pt": 60.0}, "task": "radius-model"},
            r"radius.reference_pt, variable-R jets, is for a global",
        ),
        (
            {"loss": {"kind": "width"}, "task": "per-event"},
            r"loss\[0\].kind is a width, which means nothing for a single event",
        ),
        ({"loss": {"kind": "width", "target": 125.0}}, r"a width has no target, found 125.0"),
    ],
)
def test_what_cannot_be_combined(
    settings: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dj.run(Run.from_dict(settings | changes))


@pytest.mark.parametrize("kind", ["width", "robust_width"])
def test_a_run_that_minimises_a_width(settings: dict[str, Any], kind: str) -> None:
    cuts = settings["loss"]["cuts"]
    finished = dj.run(Run.from_dict(settings | {"loss": {"kind": kind, "cuts": cuts}}))
    loss = (
        dj.Width(dj.observables.dijet_mass)
        if kind == "width"
        else dj.RobustWidth(dj.observables.dijet_mass)
    )
    loss = loss.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))
    moments, _ = evaluate(
        shipped(),
        loss,
        StateBaseline(),
        Sampling(seed=1),
        radius=0.7,
        trees=4,
        stream="scan",
        iteration=1,
    )
    assert Store.read(finished.store).column("scan", "loss")[1] == pytest.approx(
        moments.loss().value, rel=1e-12
    )
