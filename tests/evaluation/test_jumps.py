"""Objectives that jump: the warning of them, and what the mean of the derivatives of events lacks."""

from __future__ import annotations

import math
import runpy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import shipped_events

import djservice as dj
from djservice import cuts, observables
from djservice.errors import JumpWarning
from djservice.evaluation.jumps import _warn_once, warn_of_jumps
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable

MASS, SOFT = observables.dijet_mass, observables.soft_dijet_mass

#: The measurement that the documents quote, with more trees.
BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "jumps.py"))
squared_error, neutral_particles, moved = (
    BENCHMARK[name] for name in ("squared_error", "neutral_particles", "moved")
)

JUMPING: dict[str, Loss | Observable] = {
    "two jets": MASS,
    "loss": dj.SquaredError(MASS, target=125.0),
    "one jet": observables.leading_jet_mass,
    "three jets": observables.n_jet_mass(3),
    "count": observables.jet_multiplicity(),
    "sum over a threshold": observables.scalar_ht(pt_min=30.0),
    "own": squared_error,
    "own selection": Observable(lambda jets: np.where(jets[..., 1].pt > 20, 1.0, np.nan), "own"),
    "a soft threshold of a hard choice": MASS * observables.soft_two_jets(),
    "selection": dj.SquaredError(SOFT(), target=125.0).where(cuts.two_jets(pt_min=20.0)),
    "second term": dj.SquaredError(SOFT(), target=125.0) + dj.SquaredError(MASS, target=125.0),
}
SMOOTH: dict[str, Loss | Observable] = {
    "leading pT": Observable(lambda jets: jets[..., 0].pt, "pT", "GeV", 1),
    "sum of pT": Observable(lambda jets: jets[..., :2].pt.sum(axis=-1), "pT", "GeV"),
    "soft": SOFT(),
    "kappa 4": SOFT(4.0, 6),
    "sharp": SOFT(30.0, 8),
    "one jet": observables.soft_choice(observables.leading_jet_mass),
    "three jets": observables.soft_choice(observables.n_jet_mass(3), ordered=False),
    "loss": dj.SquaredError(SOFT(), target=125.0),
    "threshold": SOFT() * observables.soft_two_jets() * observables.soft_below(SOFT(), 250.0, 20.0),
    "narrow": observables.soft_two_jets(20.0, 0.05),
}


def derivatives(events: dj.EventBatch, objective: Any, **changes: Any) -> dj.InputGradient:
    setting = {"radius": 0.6, "trees": 2, "device": "cpu", "threads": 1, **changes}
    return dj.input_gradient(events, objective, coordinates="pt_y_phi_m", **setting)


@pytest.fixture(autouse=True)
def none_shown_before() -> None:
    _warn_once.cache_clear()


@pytest.mark.parametrize("name", JUMPING)
def test_an_objective_that_jumps_is_warned_of(name: str) -> None:
    with pytest.warns(JumpWarning, match=r"the objective has .* jumps (where|at).*soft_"):
        warn_of_jumps(as_loss(JUMPING[name]))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_objective_is_not(name: str) -> None:
    warn_of_jumps(as_loss(SMOOTH[name]))  # warnings are errors here


def test_the_warning_is_shown_once_and_at_the_call() -> None:
    events = shipped_events().select([0])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            dj.input_gradient(events, MASS, radius=0.6, trees=2, device="cpu")  # the first says it
    assert [each.filename for each in shown] == [__file__]


class Unhashable:
    """A function that compares by value, and so has no hash."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, jets: Any) -> Any:
        self.calls += 1
        return jets[..., 0].pt

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)


class Hashable(Unhashable):
    """One that does not."""

    __eq__, __hash__ = object.__eq__, object.__hash__


@pytest.mark.parametrize("kind", [Observable, dj.SquaredError, dj.BoundedError])
def test_the_same_objective_is_tried_once(kind: Any) -> None:
    def objective(function: Any) -> Any:
        one = Observable(function, "pT", "GeV", 1)
        return one if kind is Observable else kind(one, target=50.0)

    def calls(function: Any, made: Any) -> int:
        before = function.calls
        warn_of_jumps(as_loss(made))
        return int(function.calls - before)

    function, other, unhashable = Hashable(), Hashable(), Unhashable()
    made = objective(function)
    assert [calls(function, made) > 0 for _ in range(3)] == [True, False, False]
    assert calls(other, objective(other)) > 0
    of_value = objective(unhashable)
    assert all(calls(unhashable, of_value) > 0 for _ in range(2))


def jets_as_particles() -> dj.EventBatch:
    """Events whose particles are jets of shipped ones, so far apart that they stay what they are."""
    events, _ = neutral_particles()
    jets = dj.cluster(events, radius=0.6, rigidity=math.inf, trees=1, jets=6, settled_pt=0.0).jets
    jets = jets[:, 0]
    there = (np.nan_to_num(jets.pt) > 0.0) & (np.abs(np.nan_to_num(jets.rapidity)) < 8.0)
    return dj.EventBatch.from_arrays(
        pt=jets.pt[there], rapidity=jets.rapidity[there], phi=jets.phi[there],
        mass=np.maximum(jets.mass[there], 0.0),
        offsets=np.concatenate([[0], np.cumsum(there.sum(axis=1))]),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize("objective", [MASS, squared_error], ids=lambda one: one.name)
def test_without_jumps_the_mean_of_derivatives_is_that_of_the_mean(objective: Observable) -> None:
    """Jets are scaled, the more the wider they are. Nothing is random, and a few of 300 events jump."""
    events, step = jets_as_particles(), 0.03
    rates, setting = events.mass / events.pt, {"radius": 0.1, "rigidity": math.inf}
    missing = []
    for one in (objective, observables.soft_choice(objective, 8.0, 5, ordered=False)):
        found = derivatives(events, one, **setting).value
        along = (found[:, 0] * events.pt + found[:, 3] * events.mass) * rates
        up, down = (
            derivatives(moved(events, rates, t), one, **setting).expectation for t in (step, -step)
        )
        slope = (up - down).mean() / (2.0 * step)
        missing.append(1.0 - along.sum() / len(events) / slope)
    assert missing[0] > 0.1
    assert abs(missing[1]) < 0.001


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize("objective", [MASS, squared_error], ids=lambda one: one.name)
def test_a_soft_choice_agrees_with_finite_steps_and_the_hard_one_lacks_the_jumps(
    objective: Observable,
) -> None:
    """Neutral particles of 300 events are scaled; errors are those of the trees, from batches of them."""
    events, neutral = neutral_particles()
    setting: dict[str, Any] = {"radius": 0.6, "rigidity": 5.0, "scale": "safe", "threads": 1}
    soft = observables.soft_choice(objective, 8.0, 5, ordered=False)
    missing = []
    for seed in range(10):
        means = []
        for t in (0.05, -0.05):
            trees = dj.cluster(
                moved(events, neutral, t), trees=400, seed=1000 + seed, jets=5,
                settled_pt=0.0, **setting,
            )  # fmt: skip
            means.append([one(trees.jets[..., : one.jets]).mean() for one in (objective, soft)])
        row = (np.array(means[0]) - means[1]) / 0.1
        for k, one in enumerate((objective, soft)):
            found = derivatives(events, one, seed=seed, **(setting | {"trees": 100})).value
            along = found[:, 0] * events.pt + found[:, 3] * events.mass
            row[k] -= along[neutral].sum() / len(events)
        missing.append(row)
    hard, of_soft = np.mean(missing, axis=0) / (np.std(missing, axis=0, ddof=1) / math.sqrt(10))
    assert abs(of_soft) < 3.0
    assert hard > 3.0
