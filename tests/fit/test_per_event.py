"""One radius per event: found by each event for itself, scored on fresh trees, and kept bundle by bundle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError, StoreError
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.fit.per_event import CHOOSE, SCORE, PerEventSettings, fit_per_event
from djservice.reports.html import report
from djservice.reports.summary import summary
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.written import WrittenGroup

LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
LOSS = LOSS.where(dj.cuts.two_jets(pt_min=20) & dj.cuts.mass_below(250))
SHORT = PerEventSettings(iterations=12, trees=8, choose_trees=40, accepted=8)
SAMPLING = Sampling(seed=3)


@pytest.fixture(scope="module")
def events() -> EventBatch:
    found: EventBatch = dj.read(
        "example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 60)
    )
    return found


def test_it_sharpens_the_spectrum_on_fresh_trees(events: EventBatch) -> None:
    found = fit_per_event(events, LOSS, StateBaseline(), SAMPLING, SHORT, global_radius=0.7)
    assert ((found.radius >= SHORT.minimum) & (found.radius <= SHORT.maximum)).all()
    assert (found.radius[found.left] == 0.7).all()
    assert found.ends.shape == (60, 3)
    agree = found.ends.max(axis=1) <= SHORT.agree * found.ends.min(axis=1)
    np.testing.assert_array_equal(found.agree, agree)

    def loss(radius: Any, stream: str) -> Any:
        moments, _ = evaluate(
            events, LOSS, StateBaseline(), SAMPLING, radius=radius, trees=40, stream=stream
        )
        return moments.loss()

    together, fresh, same = loss(0.7, SCORE), loss(found.radius, SCORE), loss(found.radius, CHOOSE)
    assert fresh.value < together.value - 4 * np.hypot(fresh.tree_error, together.tree_error)
    # Chosen and scored on the same trees it is no worse than any candidate, event by event.
    _, chosen = evaluate(
        events, LOSS, StateBaseline(), SAMPLING, radius=found.radius, trees=40, stream=CHOOSE
    )
    for radius in [*found.ends.T, np.full(60, 0.7)]:
        _, other = evaluate(
            events, LOSS, StateBaseline(), SAMPLING, radius=radius, trees=40, stream=CHOOSE
        )
        usable = ~found.left & (other.accepted >= SHORT.accepted)
        assert (chosen.loss[usable] <= other.loss[usable]).all()
    assert same.value < together.value


def test_an_event_does_not_know_its_batch(events: EventBatch) -> None:
    whole = fit_per_event(events, LOSS, StateBaseline(), SAMPLING, SHORT, global_radius=0.7)
    some = np.array([5, 40, 17])
    part = fit_per_event(
        events.select(some),
        LOSS,
        StateBaseline(),
        replace(SAMPLING, threads=2),
        SHORT,
        global_radius=0.7,
    )
    np.testing.assert_array_equal(part.radius, whole.radius[some])
    np.testing.assert_array_equal(part.ends, whole.ends[some])


def test_an_event_without_accepted_trees_stays_at_the_global_radius() -> None:
    soft = EventBatch.from_arrays(
        pt=[5.0, 4.0, 60.0, 60.0],
        rapidity=[0, 1, 0, 1],
        phi=[0, 3, 0, 3],
        mass=[0.0] * 4,
        offsets=[0, 2, 4],
    )
    found = fit_per_event(soft, LOSS, StateBaseline(), SAMPLING, SHORT, global_radius=0.65)
    assert found.left.tolist() == [True, False]
    assert found.radius[0] == 0.65


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str) -> dict[str, Any]:
    few = {"iterations": 5, "trees": 4, "choose_trees": 12, "accepted": 4, "score_trees": 16}
    return tiny | {"task": "per-event", "per_event": few, "cluster": {"scheduler": scheduler}}


def test_a_run_with_one_radius_per_event(
    settings: dict[str, Any],
    stored: Callable[[Path], dict[str, bytes]],
    drawn: Callable[..., None],
    tmp_path: Path,
) -> None:
    store = dj.run(Run.from_dict(settings)).store
    opened = Store.read(store)
    run = Run.from_dict(settings)
    batch = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    sampling = Sampling(seed=run.seed)
    descents = PerEventSettings(iterations=5, trees=4, choose_trees=12, accepted=4)
    optimum = opened.root["per_event"].attrs["global_radius"]
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
    loss = loss.where(dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0))
    expected = fit_per_event(
        batch, loss, StateBaseline(), sampling, descents, global_radius=optimum
    )
    np.testing.assert_array_equal(opened.array("per_event", "key"), batch.key)
    np.testing.assert_array_equal(opened.column("per_event", "radius"), expected.radius)
    np.testing.assert_array_equal(opened.column("per_event", "ends"), expected.ends)
    for row, (stream, trees) in enumerate(((SCORE, 16), (CHOOSE, 12))):
        moments, per_event = evaluate(
            batch,
            loss,
            StateBaseline(),
            sampling,
            radius=expected.radius,
            trees=trees,
            stream=stream,
        )
        assert opened.scores("mean")[row] == pytest.approx(moments.mean().value, rel=1e-12)
        assert opened.scores("sd")[row] == pytest.approx(moments.sd().value, rel=1e-12)
        np.testing.assert_array_equal(opened.scores("event_mean")[row], per_event.mean)
    facts = summary(store)
    assert facts["per_event"]["left"] == np.flatnonzero(expected.left).tolist()
    shown = CliRunner().invoke(main, ["show", str(store)])
    assert "one per event" in shown.output and "is an oracle" in shown.output
    drawn("radii_per_event")
    page = report(store).read_text()
    assert "one per event" in page and page.count("<figure>") == 5

    # Interrupted in the middle of the phase, it goes on with the bundles that are missing, to the same bits.
    before = stored(store)
    where = LocalFolder(str(store))
    group = WrittenGroup(where, where.group("r+"), "per_event")
    group.rewind(20)
    group.update(n_scored=0)
    dj.run(run)
    assert stored(store) == before


def test_a_global_run_has_no_such_group(tiny: dict[str, Any], scheduler: str) -> None:
    store = dj.run(Run.from_dict(tiny | {"cluster": {"scheduler": scheduler}})).store
    assert "per_event" not in Store.read(store).root
    assert summary(store)["per_event"] is None


def test_a_global_run_goes_on_to_one_radius_per_event(
    settings: dict[str, Any], stored: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    at_once = dj.run(Run.from_dict(settings)).store
    elsewhere = settings | {"output": {"store": str(tmp_path / "two.zarr")}}
    store = dj.run(Run.from_dict(elsewhere | {"task": "global"})).store
    dj.run(Run.from_dict(elsewhere))
    assert stored(store) == stored(at_once)
    dj.run(Run.from_dict(elsewhere | {"task": "global"}))  # need not be asked for again
    assert summary(store)["per_event"] is not None
    other = elsewhere | {"per_event": elsewhere["per_event"] | {"iterations": 6}}
    with pytest.raises(StoreError, match=r"per_event.iterations is 5 there and 6 now"):
        dj.run(Run.from_dict(other))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"starts": [0.01]},
            r"per_event: starts are \(0.01,\), expected radii between the bounds 0.1 and 2.0",
        ),
        ({"trees": 1}, r"per_event.trees is 1, expected 2 or more with the state_baseline"),
        (
            {"accepted": 500},
            r"per_event.accepted is 500, expected at most per_event.choose_trees, 12",
        ),
    ],
)
def test_settings_without_meaning(
    settings: dict[str, Any], section: dict[str, Any], message: str
) -> None:
    wrong = settings | {"per_event": settings["per_event"] | section}
    with pytest.raises(ConfigError, match=message):
        dj.run(Run.from_dict(wrong))


def test_starts_beyond_the_bounds() -> None:
    with pytest.raises(InputError, match="expected radii between the bounds"):
        PerEventSettings(starts=(3.0,))
