"""Trees by the spread of an event: the numbers, the sums that they give, and that these stay right."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import djservice as dj
import djservice.evaluation.evaluate as evaluation
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.evaluation.allocation import allotted, pooled, tree_costs
from djservice.evaluation.evaluate import EvaluationPart, evaluate_each
from djservice.evaluation.per_event import PerEvent
from tests.evaluation.test_evaluate import LOSSES, SELECTED, same

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=3.0, truth="GenPart:higgs")
    batch = dj.read("example:ZHllbb_200", schema=schema, entries=(0, 30))
    return replace(batch, weight=np.random.default_rng(2).uniform(-0.2, 2.0, len(batch)))


@pytest.mark.parametrize("trees", [4, 10, 20, 100, 1000])
@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize(
    "spread", [RNG.exponential(size=500), RNG.pareto(0.7, 500), np.arange(3.0)]
)
def test_numbers_follow_the_spread(spread: NDArray[np.float64], factor: float, trees: int) -> None:
    numbers = allotted(spread * factor, np.full(len(spread), 100), trees, 4)
    assert numbers.min() >= 4
    assert 0.8 * trees <= numbers.mean() <= trees
    assert len(np.unique(numbers)) <= 8
    order = np.argsort(spread)
    assert (np.diff(numbers[order]) >= 0).all()
    wanted = np.sqrt(spread**2 / np.mean(spread**2) + 0.15)
    inside = (numbers > 4) & (numbers < numbers.max()) & (numbers > numbers.min())
    ratio = (numbers / wanted)[inside]
    if len(ratio):
        assert ratio.max() / ratio.min() <= 2.0 * (1.0 + 2.0 / numbers[inside].min())


def test_expensive_events_have_fewer_trees_and_all_take_the_time_that_was_given() -> None:
    counts = np.random.default_rng(3).integers(5, 2000, 1000)
    for trees in (20, 77):
        numbers = allotted(np.ones(1000), counts, trees, 4)
        assert (np.diff(numbers[np.argsort(counts)]) <= 0).all()
        time = (numbers * tree_costs(counts)).sum() / tree_costs(counts).sum()
        assert 0.95 * trees <= time <= trees
        wanted = counts**-0.75
        within = (numbers > numbers.min()) & (numbers < numbers.max())
        assert (numbers / wanted)[within].max() / (numbers / wanted)[within].min() < 2.1


def test_numbers_without_spread_are_equal() -> None:
    for spread in (np.zeros(5), np.full(5, math.nan), np.array([math.nan, 0.0])):
        assert allotted(spread, np.arange(len(spread)), 20, 4).tolist() == [20] * len(spread)
    assert len(allotted(np.empty(0), np.arange(0), 20, 4)) == 0


def test_a_spread_is_believed_less_at_high_rigidity() -> None:
    """Of two spreads, 3 and 1, the mean variance is 5: shares by 9 / 5 and 1 / 5 and what is added."""
    spread, counts = np.resize([3.0, 1.0], 1000), np.full(1000, 70)
    for rigidity, ratio in ((1.0, 2), (300.0, 1)):
        numbers = allotted(spread, counts, 100, 4, rigidity)
        assert round(numbers[0] / numbers[1]) == ratio
        each = allotted(spread, counts, 100, 4, np.full(1000, rigidity))
        np.testing.assert_array_equal(each, numbers)


def test_an_event_of_unknown_spread_counts_as_the_mean() -> None:
    spread = np.array([3.0, math.nan, 4.0, 5.0, math.sqrt((9 + 16 + 25) / 3)])
    numbers = allotted(spread, np.full(5, 70), 100, 4)
    assert numbers[1] == numbers[4]
    assert pooled([spread, np.full(5, math.nan)])[1] == pytest.approx(1.0)
    assert np.isnan(pooled([np.full(5, math.nan)])).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_spread_makes_up_the_error_from_the_trees(
    events: dj.EventBatch, loss: dj.SquaredError
) -> None:
    """The squares of the spreads, each over the trees of its event, are the square of that error."""
    estimator = dj.LeaveOneOut()
    gradient = dj.gradient(events, loss, radius=0.7, trees=8, estimator=estimator)
    variance = np.sum(gradient.per_event.spread**2 / 8)
    error = math.sqrt(variance) / abs(gradient.moments.weight)
    assert error == pytest.approx(gradient.tree_error, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_bundles_of_few_events_have_a_spread_or_none(
    events: dj.EventBatch, loss: dj.SquaredError
) -> None:
    sizes = np.split(np.arange(len(events)), [0, 1, 2, 4, 12])
    parts = [EvaluationPart(events.select(rows), 0.7) for rows in sizes]
    how = {"trees": 4, "spread": True}
    results = evaluate_each(parts, loss, dj.LeaveOneOut(), Sampling(), **how)
    for rows, (_, per_event) in zip(sizes, results, strict=True):
        assert per_event.spread.shape == (len(rows),)
        assert not (per_event.spread < 0.0).any()
    spread = np.concatenate([per_event.spread for _, per_event in results])
    assert allotted(spread, events.counts, 20, 4).min() >= 4


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("estimator", [dj.StateBaseline(), dj.FiniteDifference(step=0.1)])
def test_events_of_different_numbers_have_the_sums_of_each_number(
    events: dj.EventBatch, loss: dj.SquaredError, estimator: dj.StateBaseline
) -> None:
    numbers = np.random.default_rng(4).choice([4, 9, 20], len(events))
    numbers[:4] = 20
    radius = np.random.default_rng(5).uniform(0.4, 1.0, len(events))
    rows = [np.arange(4), np.arange(4, 4), np.arange(4, len(events))]
    parts = [EvaluationPart(events.select(r), radius[r], trees=numbers[r]) for r in rows]
    together = evaluate_each(parts, loss, estimator, Sampling(seed=3), trees=1, threads=1)
    for r, (moments, per_event) in zip(rows, together, strict=True):
        alone: list[tuple[dj.evaluation.moments.Moments, PerEvent]] = []
        for number in np.unique(numbers[r]):
            chosen = r[numbers[r] == number]
            part = EvaluationPart(events.select(chosen), radius[chosen])
            ((sums, of_events),) = evaluate_each(
                [part], loss, estimator, Sampling(seed=3), trees=int(number), threads=1
            )
            alone.append((sums, of_events))
            same(per_event.take(np.flatnonzero(numbers[r] == number)), of_events)
        assert moments.events == len(r)
        if alone:
            total = alone[0][0]
            for sums, _ in alone[1:]:
                total = total + sums
            same(moments, total)
            assert moments.trees == numbers[r].sum() * moments.layout.versions


def test_the_pilot_has_trees_of_its_own(
    events: dj.EventBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own trees an event would have a say in how many more it gets, and be biased."""
    grown: list[tuple[str, int, int]] = []

    def noted(
        batch: dj.EventBatch, radius: object, sampling: Sampling, request: TreeRequest
    ) -> TreeSample:
        grown.append((request.stream, request.trees, len(batch)))
        return sample_trees(batch, radius, sampling, request)

    sample_trees = evaluation.sample_trees
    monkeypatch.setattr(evaluation, "sample_trees", noted)
    loss = LOSSES["squared error"]
    result = dj.gradient(events, loss, radius=0.7, trees=40, pilot=10)
    of_pilot = [(trees, number) for stream, trees, number in grown if stream == "pilot"]
    others = [(trees, number) for stream, trees, number in grown if stream == "sample"]
    assert of_pilot == [(10, len(events))]
    assert len(others) > 1
    assert sum(number for _, number in others) == len(events)
    assert len(grown) == 1 + len(others)
    assert result.moments.trees == sum(trees * number for trees, number in others)


def test_rigidities_and_batches_share_one_allotment(events: dj.EventBatch) -> None:
    """Numbers follow from all events, whatever groups they are evaluated in."""
    loss, how = LOSSES["squared error"], {"radius": 0.7, "trees": 20, "pilot": 8}
    whole = dj.gradient(events, loss, **how)
    alike = dj.gradient(events, loss, rigidity=np.ones(len(events)), **how)
    assert whole.per_event.loss.tobytes() == alike.per_event.loss.tobytes()
    assert whole.moments.trees == alike.moments.trees
    cut = [events.select(np.arange(7)), events.select(np.arange(7, len(events)))]
    parts = dj.gradient(cut, loss, **how)
    mixed = dj.gradient(
        events, loss, rigidity=np.where(np.arange(len(events)) < 9, 1.0, 5.0), **how
    )
    for result in (parts, mixed):
        assert 0.5 * 20 * len(events) < result.moments.trees < 1.5 * 20 * len(events)
    assert len(parts.per_event.loss) == len(events)


@pytest.mark.parametrize("pilot", [0, 1, 3, -2, 2.5, "10"])
def test_a_pilot_that_says_nothing_is_refused(events: dj.EventBatch, pilot: int) -> None:
    with pytest.raises(dj.errors.InputError, match="pilot is"):
        dj.gradient(
            events, LOSSES["squared error"], radius=0.7, trees=20, pilot=pilot,
            estimator=dj.StateBaseline(),
        )  # fmt: skip


def test_a_gradient_with_a_pilot_has_no_bias_and_the_right_error(events: dj.EventBatch) -> None:
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0).where(SELECTED)
    some = replace(events.select(np.arange(12)), weight=np.ones(12))
    how = {"radius": 0.7, "rigidity": 3.0, "estimator": dj.LeaveOneOut()}
    exact = dj.gradient(some, loss, trees=5_000, seed=99, **how)
    estimates = [
        dj.gradient(some, loss, trees=16, pilot=4, seed=seed, **how) for seed in range(100)
    ]
    values = np.array([e.value for e in estimates])
    error = math.hypot(values.std(ddof=1) / math.sqrt(len(values)), exact.tree_error)
    assert abs(values.mean() - exact.value) / error < 4.0
    stated = np.mean([e.tree_error**2 for e in estimates])
    spread = values.var(ddof=1)
    of_spread = math.sqrt(np.var((values - values.mean()) ** 2, ddof=1) / len(values))
    of_stated = np.std([e.tree_error**2 for e in estimates], ddof=1) / math.sqrt(len(values))
    assert abs(spread - stated) / math.hypot(of_spread, of_stated) < 4.0
