"""R as a function of features: its derivatives, its training against plain loops, its scores on events it never saw."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError, RunError, StoreError
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.fit.minibatches import HeldBack, held_back
from djservice.fit.optimisers import adam, learning_rate
from djservice.fit.training import HELD_BACK
from djservice.radius_models.base import Bounded, RadiusModel
from djservice.radius_models.builtin import Linear, Network
from djservice.radius_models.features import Feature, features_of, named_features
from djservice.radius_models.prediction import Standardiser
from djservice.reports.html import report
from djservice.reports.summary import summary
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.written import WrittenGroup

NAMES = (
    "leading_pt",
    "second_pt",
    "third_pt_share",
    "separation",
    "dijet_mass",
    "particles",
    "scalar_pt",
)


def small(features: int) -> Any:
    """A PyTorch module with two layers."""
    from torch import nn

    return nn.Sequential(nn.Linear(features, 3), nn.SiLU(), nn.Linear(3, 1))


class Quadratic(RadiusModel):
    """One of a user's own."""

    def names(self, features: Sequence[str]) -> tuple[str, ...]:
        return (*(f"{name}^2" for name in features), "bias")

    def start(self, features: int, seed: int) -> Any:
        return np.zeros(features + 1)

    def height(self, features: Any, theta: Any) -> tuple[Any, Any]:
        slope = np.concatenate([features**2, np.ones((len(features), 1))], axis=1)
        return slope @ theta, slope


#: A new model is tested by adding a row.
MODELS: list[RadiusModel] = [Linear(), Network(hidden=3), Quadratic(), dj.TorchModel(small)]


def needs(model: RadiusModel, requires: Callable[[str, object], None]) -> None:
    """PyTorch is gigabytes: it comes with the extra "torch" and not with "test"."""
    if isinstance(model, dj.TorchModel):
        requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


@pytest.fixture(params=MODELS, ids=lambda model: type(model).__name__)
def model(request: pytest.FixtureRequest, requires: Callable[[str, object], None]) -> Bounded:
    needs(request.param, requires)
    return Bounded(request.param, 0.2, 1.5)


def test_a_model_is_bounded_and_has_its_derivatives(model: Bounded) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 4))
    theta = rng.normal(size=len(model.model.names("abcd")))
    radius, slope = model.radius(features, theta)
    assert ((radius > model.minimum) & (radius < model.maximum)).all()
    step = 1e-6
    for i in range(len(theta)):
        shift = np.eye(len(theta))[i] * step
        difference = (
            model.radius(features, theta + shift)[0] - model.radius(features, theta - shift)[0]
        ) / (2 * step)
        assert slope[:, i] == pytest.approx(difference, rel=1e-6, abs=1e-9)
    far, _ = model.radius(1e6 * features, 1e6 * theta)
    assert ((far >= model.minimum) & (far <= model.maximum)).all()


def test_it_begins_at_one_radius_for_all(model: RadiusModel) -> None:
    features = np.random.default_rng(2).normal(size=(20, 4))
    for radius in (0.5, 0.9):
        theta = model.begin(4, radius, seed=3)
        assert len(theta) == len(model.model.names("abcd"))
        assert model.radius(features, theta)[0] == pytest.approx(np.full(20, radius), rel=1e-12)
    _, slope = model.radius(features, model.begin(4, model.maximum, seed=3))  # not stuck at a bound
    assert (slope[:, -1] > 0).all()


def test_features_are_standardised_over_what_is_known() -> None:
    features = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, np.nan], [5.0, 5.0, 4.0]])
    scale = Standardiser.of(features)
    assert scale.mean.tolist() == [3.0, 5.0, 3.0]
    found = scale(features)
    assert found[:, 0] == pytest.approx([-np.sqrt(1.5), 0.0, np.sqrt(1.5)])
    assert found[:, 1].tolist() == [0.0] * 3  # it does not vary
    assert found[:, 2].tolist() == [-1.0, 0.0, 1.0]


def test_features_by_hand() -> None:
    events = EventBatch.from_arrays(
        pt=[60.0, 40.0, 10.0, 7.0],
        rapidity=[0.0, 1.0, -2.0, 0.5],
        phi=[3.0, -3.0, 0.0, 0.0],
        mass=[0.0] * 4,
        offsets=[0, 3, 3, 4],
    )
    known = named_features()
    found = features_of(events, [known[name]() for name in NAMES], 0.4, -1.0)
    apart = np.hypot(1.0, 2 * np.pi - 6.0)
    mass = np.sqrt(2 * 60 * 40 * (np.cosh(1.0) - np.cos(6.0)))
    expected = [np.log(60), np.log(40), 0.1, apart, np.log(mass), np.log(3), np.log(110)]
    assert found[0] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[2][[1, 2, 3, 4]]).all()  # one massless jet
    assert found[2][[0, 5, 6]] == pytest.approx([np.log(7), 0.0, np.log(7)])


def test_a_feature_of_a_users_own() -> None:
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 5))

    @dj.feature
    def largest_mass(jets: Any, events: EventBatch) -> Any:
        return np.nanmax(jets.mass, axis=1)

    exact = dj.cluster(events, radius=0.4, rigidity=np.inf, jets=4).jets[:, 0]
    found = features_of(events, [largest_mass], 0.4, -1.0)
    assert found[:, 0] == pytest.approx(np.nanmax(exact.mass, axis=1))
    with pytest.raises(InputError, match=r"feature 'wrong' returned shape \(2,\), expected \(5,\)"):
        features_of(events, [Feature(lambda jets, events: [1.0, 2.0], "wrong")], 0.4, -1.0)


def test_the_share_held_back() -> None:
    keys = np.random.default_rng(3).integers(0, 2**63, 20_000).astype(np.uint64)
    back = held_back(keys, seed=1, share=0.3)
    assert abs(back.sum() - 6_000) < 4 * np.sqrt(20_000 * 0.3 * 0.7)
    assert not held_back(keys, seed=1, share=0.0).any()
    assert (held_back(keys, seed=2, share=0.3) != back).any()
    np.testing.assert_array_equal(HeldBack(1, 0.3).of(keys[::2]), back[::2])  # whatever the bundles


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str) -> dict[str, Any]:
    check = {
        "files": "example:ZHllbb_200",
        "pt_min": 2.0,
        "entries": [60, 90],
        "truth": "GenPart:higgs",
    }
    few = {
        "iterations": 6,
        "batch_events": 8,
        "trees": 4,
        "score_trees": 6,
        "checks": {"other": check},
    }
    given = tiny["input"] | {"truth": "GenPart:higgs"}
    return tiny | {
        "input": given,
        "task": "radius-model",
        "radius_model": few,
        "cluster": {"scheduler": scheduler},
    }


def test_a_run_with_a_radius_model(
    settings: dict[str, Any],
    stored: Callable[[Path], dict[str, bytes]],
    drawn: Callable[..., None],
) -> None:
    run = Run.from_dict(settings)
    store = dj.run(run).store
    opened = Store.read(store)
    schema = dj.schemas.nanoaod(pt_min=2.0, truth="GenPart:higgs")
    batch, other = (
        dj.read("example:ZHllbb_200", schema=schema, entries=e) for e in ((0, 40), (60, 90))
    )
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
    loss = loss.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))
    known = named_features()
    features, of_other = (
        features_of(each, [known[n]() for n in NAMES], 0.4, -1.0) for each in (batch, other)
    )
    back = held_back(batch.key, run.seed, 0.3)
    assert 0 < back.sum() < 40
    scale = Standardiser.of(features[~back])
    model, optimum = Bounded(Linear(), 0.1, 2.0), opened.root["radius_model"].attrs["global_radius"]

    # The training again, without minibatches or bundles: the events of each iteration are those that the ranks say.
    from djservice.fit.minibatches import MiniBatches

    minibatches = MiniBatches(batch.key[~back], run.seed, 8, 0.3)
    theta, path = model.begin(7, optimum, run.seed), []
    optimiser = adam()
    state = optimiser.init(theta)
    for iteration in range(6):
        path.append(theta)
        rows = np.flatnonzero(minibatches.minibatch(iteration).of(batch.key))
        assert len(rows) == 8 and not back[rows].any()
        radius, jacobian = model.radius(scale(features[rows]), theta)
        moments, _ = evaluate(
            batch.select(rows),
            loss,
            StateBaseline(),
            Sampling(seed=run.seed),
            radius=radius,
            jacobian=jacobian,
            trees=4,
            stream="model",
            iteration=iteration,
        )
        slope = np.array([g.value for g in moments.gradients()])
        assert opened.column("radius_model", "gradients")[iteration] == pytest.approx(
            slope, rel=1e-9
        )
        step, state = optimiser.update(slope, state, learning_rate(0.03, 100.0, iteration))
        theta = theta + step
    assert opened.column("radius_model", "parameters") == pytest.approx(np.array(path), rel=1e-9)
    average = np.mean(path[3:], axis=0)
    assert opened.root["radius_model"].attrs["theta"] == pytest.approx(average, rel=1e-9)

    # The scores, on the events that it did not see and on those of the other sample.
    for name, events, seen in (
        (HELD_BACK, batch.select(back), features[back]),
        ("other", other, of_other),
    ):
        for row, radius in enumerate((optimum, model.radius(scale(seen), average)[0])):
            moments, per_event = evaluate(
                events,
                loss,
                StateBaseline(),
                Sampling(seed=run.seed),
                radius=radius,
                trees=6,
                stream="score-model",
            )
            assert opened.column(f"radius_model/{name}", "mean")[row] == pytest.approx(
                moments.mean().value, rel=1e-9
            )
            np.testing.assert_allclose(
                opened.array(f"radius_model/{name}", "event_mean")[row], per_event.mean, rtol=1e-9
            )
            np.testing.assert_allclose(
                opened.array(f"radius_model/{name}", "radius")[row], radius, rtol=1e-9
            )
        np.testing.assert_array_equal(opened.array(f"radius_model/{name}", "key"), events.key)
        np.testing.assert_array_equal(opened.array(f"radius_model/{name}", "truth"), events.truth)

    facts = summary(store)["radius_model"]
    assert set(facts["samples"]) == {HELD_BACK, "other"}
    assert facts["theta"]["bias"] == pytest.approx(average[-1])
    shown = CliRunner().invoke(main, ["show", str(store)])
    assert "narrower by" in shown.output and "never the truth" in shown.output
    drawn("radius_model")
    page = report(store).read_text()
    assert "Radius model" in page and page.count("<figure>") == 5

    # Stopped while training or scoring, it goes on to the same bits.
    before = stored(store)
    where = LocalFolder(str(store))
    for name, rows in (("radius_model", 3), ("radius_model/other", 1)):
        WrittenGroup(where, where.group("r+"), name).rewind(rows)
    dj.run(run)
    assert stored(store) == before


@pytest.mark.parametrize(
    "own",
    [pytest.param(Quadratic(), marks=pytest.mark.long), dj.TorchModel(small)],
    ids=lambda model: type(model).__name__,
)
def test_a_run_with_a_model_of_a_users_own(
    settings: dict[str, Any],
    own: RadiusModel,
    stored: Callable[[Path], dict[str, bytes]],
    requires: Callable[[str, object], None],
    tmp_path: Path,
) -> None:
    needs(own, requires)
    given = settings | {"radius_model": settings["radius_model"] | {"model": own}}
    store = dj.run(Run.from_dict(given)).store
    again = given | {"output": {"store": str(tmp_path / "again.zarr")}}
    assert stored(dj.run(Run.from_dict(again)).store) == stored(store)
    opened = Store.read(store)
    assert (
        (np.diff(opened.column("radius_model", "parameters"), axis=0) != 0).all(axis=1).any()
    )  # all parameters move
    assert np.ptp(opened.array(f"radius_model/{HELD_BACK}", "radius")[1]) > 0
    other = given | {"radius_model": given["radius_model"] | {"model": Linear()}}
    with pytest.raises(StoreError, match=r"radius_model.model"):
        dj.run(Run.from_dict(other))


def test_more_training_equals_training_at_once(
    settings: dict[str, Any], stored: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    network = settings | {
        "radius_model": settings["radius_model"] | {"model": {"name": "network", "hidden": 2}}
    }
    at_once = dj.run(Run.from_dict(network)).store
    elsewhere = network | {"output": {"store": str(tmp_path / "two.zarr")}}
    less = elsewhere | {"radius_model": elsewhere["radius_model"] | {"iterations": 4}}
    dj.run(Run.from_dict(less | {"task": "global"}))
    dj.run(Run.from_dict(less))
    store = dj.run(Run.from_dict(elsewhere)).store
    assert stored(store) == stored(at_once)
    with pytest.raises(StoreError, match=r"holds 6 iterations and radius_model.iterations is 4"):
        dj.run(Run.from_dict(less))
    other = elsewhere | {
        "radius_model": elsewhere["radius_model"] | {"model": {"name": "network", "hidden": 3}}
    }
    with pytest.raises(StoreError, match=r"radius_model.model.hidden is 2 there and 3 now"):
        dj.run(Run.from_dict(other))
    with pytest.raises(StoreError, match=r"task is 'radius-model' there and 'per-event' now"):
        dj.run(
            Run.from_dict(
                elsewhere | {"task": "per-event", "per_event": {"accepted": 4, "choose_trees": 8}}
            )
        )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"features": ["leading_p"]},
            r"radius_model.features\[0\]: unknown name 'leading_p' \(did you mean 'leading_pt'",
        ),
        ({"features": ["leading_pt"] * 2}, r"radius_model.features: expected different features"),
        ({"model": "linaer"}, r"radius_model.model: unknown name 'linaer' \(did you mean 'linear'"),
        (
            {"model": {"name": "network", "hidden": 0}},
            r"radius_model.model: .*expected a positive whole number",
        ),
        ({"trees": 1}, r"radius_model.trees is 1, expected 2 or more"),
    ],
)
def test_settings_without_meaning(
    settings: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        dj.run(Run.from_dict(settings | {"radius_model": settings["radius_model"] | section}))


def test_a_check_that_cannot_be_read_is_found_before_the_cluster_starts(
    settings: dict[str, Any],
) -> None:
    missing = settings["radius_model"] | {"checks": {"other": {"files": "no_such.root"}}}
    with pytest.raises(FileNotFoundError, match=r"no_such.root"):
        dj.run(
            Run.from_dict(
                settings | {"radius_model": missing, "cluster": {"scheduler": "tcp://127.0.0.1:9"}}
            )
        )
    with pytest.raises(ConfigError, match="held_back"):
        Run.from_dict(settings | {"radius_model": {"checks": {"held_back": {"files": "a.root"}}}})


def test_so_few_events_that_none_are_left_to_train_on(settings: dict[str, Any]) -> None:
    few = settings | {
        "input": settings["input"] | {"entries": [0, 4]},
        "optimiser": {"iterations": 2, "trees": 4},
    }
    with pytest.raises(RunError, match=r"held_back"):
        dj.run(Run.from_dict(few | {"radius_model": {"held_back": 0.999, "trees": 4}}))
