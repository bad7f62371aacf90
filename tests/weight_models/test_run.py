"""A run that learns weights of particles: its path against plain loops, its scores, its use elsewhere, resumption."""

import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError, JumpWarning, SchemaError, StoreError
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.jumps import _warn_once
from djservice.evaluation.weight_gradient import InWeights, weight_gradients
from djservice.fit.build import build_loss
from djservice.fit.minibatches import MiniBatches, held_back
from djservice.fit.optimisers import adam, learning_rate
from djservice.fit.weights_fit import RADIUS_PACE
from djservice.reports.summary import summary
from djservice.store.local_folder import LocalFolder
from djservice.store.written import WrittenGroup
from djservice.weight_models.features import abs_eta, log_pt
from djservice.weight_models.weighting import Weights, profile

SAMPLE = "particle_weights/held_back"
#: In GeV: with 13 particles in an event, not 31, of which every pair has its slopes.
PT_MIN = 4.0


class Schema(NanoAODSchema):
    warn_missing_crossrefs = False


def small(features: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(features, 2), nn.Tanh(), nn.Linear(2, 1))


def with_weights(run: dict[str, Any]) -> dict[str, Any]:
    return run | {
        "task": "particle-weights",
        "input": run["input"] | {"truth": "GenPart:higgs", "pt_min": PT_MIN},
        "clustering": {"rigidity": 5.0},
        "loss": {"kind": "bounded_error", "observable": "soft_dijet_mass", "scale": None},
        "particle_weights": {
            "iterations": 6,
            "batch_events": 8,
            "trees": 4,
            "score_trees": 4,
        },
    }


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str) -> dict[str, Any]:
    return with_weights(tiny) | {"cluster": {"scheduler": scheduler}}


@pytest.fixture(scope="module")
def weighted(done_once: Callable[..., Path], tiny_run: Callable[[Path], dict[str, Any]]) -> Path:
    """The store of a run, to be read."""
    return done_once("weighted", lambda path: with_weights(tiny_run(path)))


def events_of(entries: tuple[int, int] = (0, 40)) -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=PT_MIN, truth="GenPart:higgs", columns=("charge",))
    return dj.read("example:ZHllbb_200", schema=schema, entries=entries)


def test_a_run_with_weights_of_particles(
    settings: dict[str, Any],
    stored: Callable[[Path], dict[str, bytes]],
    weighted: Path,
    drawn: Callable[..., None],
) -> None:
    run = Run.from_dict(settings)
    assert run.clustering.scale == "safe"
    store = shutil.copytree(weighted, settings["output"]["store"])
    opened, loss, batch = dj.Store.read(store), build_loss(run), events_of()
    learned = dj.LearnedWeights.read(store)
    weighting = learned.weights.weighting
    prepared, back = weighting.prepare(batch), held_back(batch.key, run.seed, 0.3)
    assert 0 < back.sum() < 40
    sampling = Sampling(5.0, scale="safe", seed=run.seed, threads=1)

    # The training again, without bundles.
    minibatches, optimiser = MiniBatches(batch.key[~back], run.seed, 8, 0.3), adam(0.9, 0.95)
    optimum = opened.attribute("particle_weights", "global_radius")
    values, path = np.array([optimum, *weighting.start(0.7, run.seed)]), []
    pace = np.array([RADIUS_PACE, *[1.0] * 4])
    state = optimiser.init(values)
    for iteration in range(6):
        path.append(values)
        rows = np.flatnonzero(minibatches.minibatch(iteration).of(batch.key))
        (sums,) = weight_gradients(
            [prepared.select(rows)],
            Weights(weighting, values[1:]),
            loss,
            sampling,
            InWeights("full", True),
            radius=float(values[0]),
            trees=4,
            stream="weights",
            iteration=iteration,
        )
        slope = np.array([quantity.value for quantity in sums.gradients()])
        found = opened.column("particle_weights", "gradients")[iteration]
        assert found == pytest.approx(slope, rel=1e-6, abs=1e-12)
        slope = slope * pace * np.array([values[0], *[1.0] * 4])
        step, state = optimiser.update(slope, state, learning_rate(0.15, None, iteration))
        step = step * pace
        values = np.array([values[0] * np.exp(step[0]), *(values[1:] + step[1:])])
    assert opened.column("particle_weights", "parameters") == pytest.approx(
        np.array(path), rel=1e-6
    )
    assert learned.weights.theta == pytest.approx(path[-1][1:], rel=1e-6)
    assert learned.radius == pytest.approx(path[-1][0], rel=1e-6)

    # The scores, on events that it did not see.
    unseen = prepared.select(back)
    for row, (radius, each) in enumerate(
        ((optimum, unseen), (learned.radius, learned.weights.apply(unseen)))
    ):
        _, per_event = evaluate(
            each,
            loss,
            dj.StateBaseline(),
            sampling,
            radius=radius,
            trees=4,
            stream="score-weights",
        )
        assert np.array_equal(opened.array(SAMPLE, "event_mean")[row], per_event.mean)
        assert set(opened.array(SAMPLE, "radius")[row]) == {radius}
    sums = opened.attribute("particle_weights", "profile")["sums"]
    assert sums == pytest.approx(profile(learned.weights, unseen), rel=1e-12)

    # What is shown.
    facts = summary(store)["particle_weights"]
    assert facts["estimate"] == "full" and list(facts["theta"])[-1] == "bias"
    shown = CliRunner().invoke(main, ["show", str(store)]).output
    assert "full gradient, which is unbiased" in shown and "no weights" in shown
    drawn("particle_weights")
    page = dj.report(store).read_text()
    assert "Weights of particles" in page and page.count("<figure>") == 5

    # Stopped while training or scoring, it goes on to the same bits.
    before, where = stored(store), LocalFolder(str(store))
    for name, rows in (("particle_weights", 3), (SAMPLE, 1)):
        WrittenGroup(where, where.group("r+"), name).rewind(rows)
    dj.run(run)
    assert stored(store) == before


def test_bundles_and_stops_change_no_bits(
    settings: dict[str, Any],
    stored: Callable[[Path], dict[str, bytes]],
    requires: Callable[[str, object], None],
    tmp_path: Path,
) -> None:
    """With the pathwise part, a module of PyTorch and a fixed R; continued from a shorter run."""
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    section = {"model": dj.TorchWeights(small), "estimate": "pathwise", "learn_radius": False}
    section |= {"radius": 0.6, "features": [log_pt, abs_eta]}
    pathwise = settings | {"particle_weights": settings["particle_weights"] | section}
    pathwise["loss"] = settings["loss"] | {"observable": "dijet_mass"}
    with pytest.warns(JumpWarning, match="jumps where jets change places"):
        _warn_once.cache_clear()
        store = dj.run(Run.from_dict(pathwise)).store
    elsewhere = pathwise | {"output": {"store": str(tmp_path / "two.zarr")}}
    less = elsewhere | {"particle_weights": elsewhere["particle_weights"] | {"iterations": 3}}
    dj.run(
        Run.from_dict(
            less | {"task": "global"} | {"clustering": {"rigidity": 5.0, "scale": "safe"}}
        )
    )
    dj.run(Run.from_dict(less))
    assert stored(dj.run(Run.from_dict(elsewhere)).store) == stored(store)
    opened = dj.Store.read(store)
    assert opened.attribute("particle_weights", "radius") == 0.6
    remarks = "; ".join(opened.attributes["result"]["remarks"])
    assert "pathwise" in remarks and "'dijet_mass', which jumps" in remarks
    with pytest.raises(StoreError, match=r"is a Python object.*Give it as model="):
        dj.LearnedWeights.read(store)
    learned = dj.LearnedWeights.read(store, model=section["model"], features=(log_pt, abs_eta))
    assert learned.estimate == "pathwise" and len(learned.weights.theta) == 10
    assert np.ptp(learned(events_of())) > 0
    with pytest.raises(StoreError, match=r"expected 8 parameters .* found 10"):
        dj.LearnedWeights.read(store, model=section["model"], features=(log_pt,))
    with pytest.raises(StoreError, match=r"particle_weights.estimate is 'pathwise' there"):
        dj.run(
            Run.from_dict(
                pathwise | {"particle_weights": pathwise["particle_weights"] | {"estimate": "full"}}
            )
        )


def test_a_processor_applies_them(settings: dict[str, Any], weighted: Path) -> None:
    learned = dj.LearnedWeights.read(weighted)
    shown = r"LearnedWeights\(Logistic\(\): charged_density .*, bias .*; R [\d.]+, full gradient\)"
    assert re.fullmatch(shown, repr(learned))
    loss = build_loss(Run.from_dict(settings))
    with pytest.raises(InputError, match=r"weights is 'a.zarr', expected djservice.LearnedWeights"):
        dj.RadiusProcessor(loss, radius=0.7, weights="a.zarr")  # type: ignore[arg-type]
    common = {"radius": learned.radius, "rigidity": 5.0, "scale": "safe", "trees": 4}
    processor = dj.RadiusProcessor(
        loss, weights=learned, pt_min=PT_MIN, truth="GenPart:higgs", **common
    )
    events = NanoEventsFactory.from_root(
        {dj.examples.path("ZHllbb_200"): "Events"},
        schemaclass=Schema,
        mode="virtual",
        entry_stop=20,
        metadata={"dataset": ""},
    ).events()
    found = processor.postprocess(processor.process(events))["all"]
    batch = learned.apply(events_of((0, 20)))
    expected = dj.gradient(batch, loss, **common)
    assert found.gradient.value == pytest.approx(expected.value, rel=1e-9)
    with pytest.raises(dj.DjserviceError, match="expected the fields charge"):
        learned(dj.read("example:ZHllbb_200", entries=(0, 2)))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"features": ["log_p"]}, r"particle_weights.features\[0\]: unknown name 'log_p' .*valid: log_pt"),
        ({"model": "logistik"}, r"particle_weights.model: unknown name 'logistik'"),
        ({"estimate": "score"}, r"particle_weights.estimate"),
        ({"vertex": "fromPV", "tracker_eta": None}, r"vertex is for charged particles"),
        ({"score_trees": 1}, r"particle_weights.score_trees: expected 2 or more, found 1"),
        ({"featurs": []}, r"unknown key particle_weights.featurs .*did you mean 'features'"),
    ],
)  # fmt: skip
def test_settings_without_meaning(
    settings: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dj.run(Run.from_dict(settings | {"particle_weights": section}))


def test_losses_and_inputs_without_meaning(settings: dict[str, Any]) -> None:
    for loss, message in (
        ({"kind": "width", "observable": "soft_dijet_mass"}, r"Width is not a mean over the trees"),
        ({"kind": "squared_error_of_mean", "target": 1.0}, r"SquaredErrorOfMean is not a mean"),
    ):
        with pytest.raises(ConfigError, match=f"task particle-weights: {message}"):
            dj.run(Run.from_dict(settings | {"loss": loss}))
    missing = {"features": [{"name": "field", "field": "puppiWeight"}]}
    with pytest.raises(SchemaError, match=r"40 of 40 entries have no field 'puppiWeight'"):
        dj.run(Run.from_dict(settings | {"particle_weights": missing}))


def test_what_is_doubtful_is_said(settings: dict[str, Any], weighted: Path) -> None:
    from djservice.fit.plan import RunPlan
    from djservice.fit.weights_fit import weight_remarks

    doubtful = settings | {
        "loss": {"kind": "squared_error", "observable": "dijet_mass", "target": 125.0},
        "clustering": {"scale": "minimum"},
    }
    run = Run.from_dict(doubtful)
    remarks = list(weight_remarks(run, dj.Store.read(weighted)))
    assert len(remarks) == 2 and "bounded_error" in remarks[0] and "use safe" in remarks[1]
    _warn_once.cache_clear()
    with pytest.warns(JumpWarning, match="jumps where jets change places"):
        RunPlan(run).check()
