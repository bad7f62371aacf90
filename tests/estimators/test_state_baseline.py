"""States of growing trees against a plain loop over their histories, and the baseline that is made of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import Objects, event_of, shipped_events, to_batch

from djservice import SquaredError, cuts, observables
from djservice.clustering.cluster import cluster
from djservice.clustering.sampling import Sampling
from djservice.clustering.trees import TreeSample
from djservice.estimators.base import Contributions, StateValues, TreeValues
from djservice.estimators.score_function import LeaveOneOut, Score
from djservice.estimators.state_baseline import StateBaseline, _share, usual_share
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.gradient import gradient
from djservice.events.batch import EventBatch

LOSS = SquaredError(observables.dijet_mass, target=125.0, scale=125.0).where(
    cuts.two_jets(pt_min=20.0) & cuts.mass_below(250.0)
)


def leading_before(
    batch: EventBatch, history: np.ndarray, jets: int, threshold: float
) -> list[Any]:
    """Before each step the four-momenta of the hardest objects, or None where there is no final jet above the threshold."""
    objects, n = Objects(event_of(batch, 0)), int(batch.counts[0])
    there, final, found = set(range(n)), [], []
    for step, (a, b) in enumerate(history.tolist()):
        begun = any(objects["pt"][jet] > threshold for jet in final)
        hardest = sorted([*there, *final], key=lambda k: -objects["pt"][k])[:jets]
        found.append(objects.four_momenta(hardest) if begun else None)
        there.remove(a)
        if b < 0:
            final.append(a)
        else:
            there.remove(b)
            objects.merge(a, b, n + step)
            there.add(n + step)
    return found


@pytest.mark.parametrize("jets", [1, 2, 3])
@pytest.mark.parametrize("threshold", [None, 0.0, 15.0])
@pytest.mark.parametrize("rigidity", [0.5, 10.0])
def test_states_are_those_of_a_loop_over_the_history(
    rigidity: float, threshold: float | None, jets: int
) -> None:
    events = shipped_events()
    settings: dict[str, Any] = {
        "radius": 0.6,
        "rigidity": rigidity,
        "trees": 4,
        "seed": 8,
        "jets": jets,
    }
    several = 0
    hardness = np.add.reduceat(events.pt, events.offsets[:-1]) * (events.counts < 160)
    for event in np.argsort(hardness)[-3:].tolist():
        batch = events.select([event])
        whole = cluster(batch, **settings, history=True, trace=True)
        found = cluster(batch, **settings, settled_pt=threshold, states=True)
        states = found.states
        assert states is not None
        for tree in range(4):
            steps = int(found.steps[0, tree])
            score = whole.trace_of(0, tree)["score"][:steps]
            leading = leading_before(batch, whole.history_of(0, tree), jets, threshold or 0.0)[
                :steps
            ]
            own = states.tree == tree
            assert own.sum() == found.numbers[0, tree, 3]
            several += int(own.sum() > 1)
            # Any function of the leading jets will do: here each of their components.
            for jet in range(jets):
                for c in range(4):
                    expected = sum(
                        p[jet, c] * s
                        for p, s in zip(leading, score, strict=True)
                        if p is not None and len(p) > jet
                    )
                    value = np.nan_to_num(states.momenta[own, jet, c])
                    got = (value * states.scores[own, 0]).sum()
                    size = np.abs(score).sum() * max(
                        (np.abs(p).max() for p in leading if p is not None), default=0.0
                    )
                    assert abs(got - expected) <= 1e-9 * size + 1e-12
            covered = sum(s for p, s in zip(leading, score, strict=True) if p is not None)
            assert states.scores[own, 0].sum() == pytest.approx(
                covered, rel=1e-9, abs=1e-12 * np.abs(score).sum()
            )
    assert jets == 1 or several > 6  # of twelve trees; a single leading jet seldom changes any more


def test_states_do_not_change_the_trees() -> None:
    events = shipped_events().select(range(40))
    settings: dict[str, Any] = {
        "radius": 0.6,
        "rigidity": 1.0,
        "trees": 6,
        "seed": 6,
        "settled_pt": 20.0,
    }
    plain, followed = cluster(events, **settings), cluster(events, **settings, states=True)
    np.testing.assert_array_equal(plain.momenta, followed.momenta)
    np.testing.assert_array_equal(plain.scores, followed.scores)
    wide = cluster(events, **settings, states=True, parameters=("rigidity", "radius"))
    assert wide.states is not None and followed.states is not None
    covered = [
        np.bincount(s.tree, s.scores[:, column], minlength=240)
        for s, column in ((wide.states, 1), (followed.states, 0))
    ]
    np.testing.assert_allclose(*covered, rtol=1e-9, atol=1e-9)


def test_states_outgrow_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    events = shipped_events().select(range(10))
    settings: dict[str, Any] = {
        "radius": 0.4,
        "rigidity": 0.3,
        "trees": 30,
        "states": True,
        "threads": 1,
    }
    roomy = cluster(events, **settings)
    monkeypatch.setattr(sys.modules["djservice.clustering.on_cpu"], "INITIAL_STATES", 0)
    tight = cluster(events, **settings)
    assert roomy.states is not None and tight.states is not None
    np.testing.assert_array_equal(roomy.states.momenta, tight.states.momenta)
    np.testing.assert_array_equal(roomy.states.scores, tight.states.scores)
    np.testing.assert_array_equal(roomy.states.tree, tight.states.tree)


def values_of(sample: TreeSample, events: EventBatch) -> TreeValues:
    """What an estimator sees of the loss."""
    trees, states = sample.score.shape[1], sample.states
    assert states is not None
    _, (quantity,), accepted = LOSS.evaluate(sample.jets, events.truth)
    _, (of_state,), in_state = LOSS.evaluate(
        states.jets[:, np.newaxis], events.truth[states.tree // trees]
    )
    follow = StateValues(
        of_state[:, 0], in_state[:, 0].astype(float), states.scores[:, 0], states.tree
    )
    return TreeValues(quantity, accepted.astype(float), sample.score, follow)


@pytest.mark.parametrize("rigidity", [1.0, 10.0])
def test_unbiased_and_quieter_on_the_same_trees(rigidity: float) -> None:
    """Paired: the difference to leave-one-out has mean 0 in every event."""
    events = shipped_events().select(range(40))
    sample = cluster(
        events, radius=0.6, rigidity=rigidity, trees=600, seed=5, settled_pt=20.0, states=True
    )
    values = values_of(sample, events)
    plain, state = (estimator.slopes(values) for estimator in (LeaveOneOut(), StateBaseline()))
    for name in ("quantity", "accepted"):
        difference = getattr(state, name) - getattr(plain, name)
        error = difference.std(axis=1, ddof=1) / np.sqrt(difference.shape[1])
        assert abs(difference.mean(axis=1).sum()) < 4 * np.sqrt((error**2).sum())
    assert state.quantity.var(axis=1).sum() < 0.9 * plain.quantity.var(axis=1).sum()
    assert plain.quantity.var(axis=1).sum() < Score().slopes(values).quantity.var(axis=1).sum()


def test_a_share_does_not_know_its_own_half() -> None:
    events = shipped_events().select(range(10))
    sample = cluster(
        events, radius=0.6, rigidity=1.0, trees=20, seed=5, settled_pt=20.0, states=True
    )
    values = values_of(sample, events)
    before = StateBaseline().slopes(values).share
    assert before is not None
    assert ((before >= 0) & (before <= 1)).all() and before.std() > 0.1
    assert (before == before[:, np.arange(20) % 2]).all()
    quantity, score = values.quantity.copy(), values.score.copy()
    quantity[:, 0] += 5.0
    score[:, 0] *= 3.0
    for changed in (replace(values, quantity=quantity), replace(values, score=score)):
        after = StateBaseline().slopes(changed).share
        assert after is not None
        np.testing.assert_array_equal(after[:, 0], before[:, 0])
        assert (after[:, 1] != before[:, 1]).any()


@pytest.mark.parametrize("trees", [2, 3, 4, 8])
@pytest.mark.parametrize(("radius", "rigidity"), [(0.7, 0.1), (1.0, 0.1), (0.7, 1.0)])
def test_unbiased_with_few_trees(radius: float, rigidity: float, trees: int) -> None:
    """Many estimates of few trees each, paired with leave-one-out: a share that knew its own trees would show."""
    path = Path(__file__).parents[1] / "clustering" / "data" / "exact_trees_n4.json"
    loss = SquaredError(observables.dijet_mass, target=0.0)
    for number, event in enumerate(json.loads(path.read_text())[:3]):
        batch, many = to_batch([event["particles_pt_y_phi_m"]]), 60_000
        sample = cluster(
            batch,
            radius=radius,
            rigidity=rigidity,
            trees=many,
            seed=number,
            settled_pt=0.0,
            states=True,
        )
        states = sample.states
        assert states is not None
        _, (quantity,), accepted = loss.evaluate(sample.jets, batch.truth)
        _, (of_state,), in_state = loss.evaluate(
            states.jets[:, np.newaxis], batch.truth[states.tree // many]
        )
        follow = StateValues(
            of_state[:, 0], in_state[:, 0].astype(float), states.scores[:, 0], states.tree
        )
        groups = (x.reshape(-1, trees) for x in (quantity, accepted.astype(float), sample.score))
        values = TreeValues(*groups, follow)
        difference = (
            StateBaseline().slopes(values).quantity - LeaveOneOut().slopes(values).quantity
        ).mean(axis=1)
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


HARD = [
    [60.0, 0.0, 0.0, 0.0],
    [50.0, 0.3, 2.0, 0.0],
    [45.0, 0.2, -1.2, 0.0],
    [20.0, -0.4, 1.0, 0.0],
]
SOFT = [[3.0, 2.0, 0.0, 0.0], [2.0, -2.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("particles", "settings", "threshold"),
    [
        (HARD, {"radius": 2.0, "rigidity": 0.02}, None),  # leading objects cancel when they merge
        (
            HARD + SOFT,
            {"radius": 0.6, "rigidity": 0.5, "power": 1.0},
            15.0,
        ),  # the first jets are below the threshold
    ],
    ids=["cancelling", "soft jets first"],
)
def test_states_of_unusual_events(
    particles: list[Any], settings: dict[str, Any], threshold: float | None
) -> None:
    batch, trees = to_batch([particles]), 200
    whole = cluster(batch, **settings, trees=trees, seed=8, history=True, trace=True)
    found = cluster(batch, **settings, trees=trees, seed=8, states=True, settled_pt=threshold)
    states = found.states
    assert states is not None
    for tree in range(trees):
        steps = int(found.steps[0, tree])
        score = whole.trace_of(0, tree)["score"][:steps]
        leading = leading_before(batch, whole.history_of(0, tree), 2, threshold or 0.0)[:steps]
        own = states.tree == tree
        expected = sum(
            (
                np.resize(p, (2, 4)) * [[s], [s * (len(p) > 1)]]
                for p, s in zip(leading, score, strict=True)
                if p is not None
            ),
            np.zeros((2, 4)),
        )
        got = (np.nan_to_num(states.momenta[own]) * states.scores[own, :, np.newaxis]).sum(axis=0)
        np.testing.assert_allclose(got, expected, atol=1e-7 * (1 + np.abs(score).sum()))


def test_full_acceptance_adds_no_noise() -> None:
    events = shipped_events().select(range(10))
    moments, _ = evaluate(
        events,
        SquaredError(observables.dijet_mass, target=125.0),
        StateBaseline(),
        Sampling(seed=1),
        radius=0.7,
        trees=8,
    )
    assert moments.total[3] == 0.0  # dE[I]
    assert 0.0 < moments.state_share < 10.0


def test_the_default_is_the_state_baseline_with_any_number_of_trees() -> None:
    events = shipped_events().select(range(10))
    for trees in (2, 3, 8):
        one = gradient(events, LOSS, radius=0.7, trees=trees, seed=1)
        same = gradient(events, LOSS, radius=0.7, trees=trees, seed=1, estimator=StateBaseline())
        assert one.value == same.value


def test_few_trees_of_many_jets_have_leave_one_out() -> None:
    """A state guesses HT so badly that a share of 0.8 made the variance 40 times as large."""
    events = shipped_events().select(range(10))
    for observable in (observables.scalar_ht(20.0), observables.jet_pt(2)):
        one, same = (
            gradient(events, observable, radius=0.7, trees=3, seed=1, estimator=estimator)
            for estimator in (StateBaseline(), LeaveOneOut())
        )
        assert one.value == same.value and one.tree_error == same.tree_error


def test_the_share_does_not_follow_rounding() -> None:
    """What the state baseline adds is of the size of rounding where it changes nothing: its sign must not decide."""
    rng = np.random.default_rng(4)
    score, quantity, one = rng.normal(size=(1, 8)), rng.uniform(0.5, 1.0, (1, 8)), np.ones((1, 8))
    values = TreeValues(quantity, one, score)
    plain = LeaveOneOut().slopes(values)

    def share(size: float) -> float:
        more = Contributions(size * plain.quantity, size * plain.accepted)
        return float(_share(values, plain, more, np.s_[:])[0, 0])

    assert share(-1e-16) == share(1e-16) == usual_share(values)
    assert 0.0 < share(1.0) < usual_share(values) < share(-1.0) < 1.0


@pytest.mark.parametrize("size", [1.0, 1e-120, 1e120])
@pytest.mark.parametrize(
    ("rigidity", "jets", "usual"), [(0.0, 2, 0.8), (30.0, 1, 0.4), (np.inf, 2, 0.0), (1.0, 3, 0.0)]
)
@pytest.mark.parametrize(("trees", "weight"), [(4, 4 / 12), (1000, 1000 / 1008)])
def test_the_share_follows_as_many_trees_as_there_are(
    trees: int, weight: float, rigidity: float, jets: int, usual: float, size: float
) -> None:
    """Corrections of equal size, alternating in sign: as many effective trees as trees."""
    sign, one = np.resize([1.0, -1.0], (1, trees)), np.ones((1, trees))
    values = TreeValues(size * one, one, sign, rigidity=rigidity, jets=jets)
    plain, more = Contributions(-0.3 * size * sign, 0 * sign), Contributions(size * sign, 0 * sign)
    found = _share(values, plain, more, np.s_[:])
    np.testing.assert_allclose(found, [[usual + weight * (0.3 - usual)]])
