"""What all objectives of histograms have: derivatives, exact gradients, sums with losses, merging, errors."""

from __future__ import annotations

import functools
import json
import operator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import to_batch
from every_tree import enumerate_trees

import djservice as dj
from djservice.clustering.cluster import cluster, replay
from djservice.clustering.trees import TreeSample
from djservice.core.typing import Floats
from djservice.errors import InputError, NothingAcceptedError
from djservice.evaluation.reduce import reduce_events
from djservice.evaluation.tree_columns import Grown
from djservice.events.batch import EventBatch
from djservice.objectives.asimov import NegativeSignificance
from djservice.objectives.binned_statistics import BinnedStatistic, NegativeInformation
from djservice.objectives.losses import Term

MASS = dj.observables.dijet_mass
TINY = Path(__file__).parents[1] / "clustering" / "data" / "exact_trees_n4.json"
SETTING: dict[str, Any] = {"rigidity": 1.0, "jets": 2}
STATISTICS: dict[str, BinnedStatistic] = {
    "information": NegativeInformation(6, 4),
    "significance": NegativeSignificance(6, 4, signals=2, luminosity=3.0),
    "with uncertainty": NegativeSignificance(6, 4, signals=1, uncertainty=0.2),
    "merged bins": NegativeSignificance(6, 4, uncertainty=0.1, groups=(0, 0, 1, 2, 2, 2)),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_derivatives_are_those_of_the_value(name: str) -> None:
    rng, step = np.random.default_rng(1), 1e-5
    statistic = STATISTICS[name]
    sums, slopes = rng.uniform(0.5, 3.0, (4, 7)), rng.normal(size=(4, 7))
    sums[1, 2] = slopes[1, 2] = 0.0
    ends = [sums + sign * step * slopes for sign in (1.0, -1.0)]
    value = [float(statistic.value(end)) for end in ends]
    first = [statistic.gradient(end) for end in ends]
    assert (statistic.gradient(sums) * slopes).sum() == pytest.approx(
        (value[0] - value[1]) / (2 * step), rel=1e-7
    )
    np.testing.assert_allclose(
        statistic.curvature_along(sums, slopes), (first[0] - first[1]) / (2 * step), atol=1e-8
    )
    blocks = statistic.blocks(sums)
    for category in range(4):
        alone = np.where(np.arange(4)[:, np.newaxis] == category, slopes, 0.0)
        np.testing.assert_allclose(
            blocks[category] @ slopes[category],
            statistic.curvature_along(sums, alone)[category],
            atol=1e-12,
        )
    outer, cross = rng.normal(size=(2, 4, 7, 7))
    outer[1, 2] = outer[1, :, 2] = cross[1, 2] = cross[1, :, 2] = 0.0
    of_bias = [
        statistic.bias(sums + t * slopes, outer + t * (cross + cross.swapaxes(1, 2)))
        for t in (step, -step)
    ]
    assert statistic.bias_along(sums, slopes, outer, cross) == pytest.approx(
        (of_bias[0] - of_bias[1]) / (2 * step), rel=1e-7
    )


@dataclass(frozen=True)
class Case:
    """An objective, and events of four particles in which it has a meaning."""

    batches: list[EventBatch]
    loss: Any

    def value(self, samples: list[TreeSample], weights: list[Floats]) -> float:
        """-I or -Z less its bias, by the definition, from trees with weights, shape (event, tree)."""
        statistic = self.loss.statistic
        outer = np.zeros((statistic.categories, statistic.sums, statistic.sums))
        sums = outer[:, 0].copy()
        for batch, sample, weight in zip(self.batches, samples, weights, strict=True):
            _, quantities, accepted = self.loss.evaluate(sample.jets, batch.truth)
            z = np.stack([(weight * q).sum(axis=1) for q in [*quantities, accepted]], axis=1)
            for row, category in zip(
                z * batch.weight[:, np.newaxis],
                self.loss.categories(batch.truth, batch.dataset),
                strict=True,
            ):
                sums[category] += row
                outer[category] += np.outer(row, row)
        usable = statistic.usable(sums, outer)
        return float(usable.value(sums) - 0.5 * (usable.blocks(sums) * outer).sum())

    def exact(self, radius: float) -> float:
        """From all merge sequences, with the probability of each."""
        histories = np.array(list(enumerate_trees(np.ones((4, 4)))), dtype=np.int32)
        samples = [
            replay(batch, np.stack([histories] * len(batch)), radius=radius, **SETTING)
            for batch in self.batches
        ]
        return self.value(samples, [np.exp(sample.log_prob) for sample in samples])


@pytest.fixture(scope="module", params=["information", "significance"])
def case(request: pytest.FixtureRequest) -> Case:
    events = [entry["particles_pt_y_phi_m"] for entry in json.loads(TINY.read_text())][:6]
    tiny = to_batch(
        events, truth=np.linspace(60.0, 120.0, len(events)), weight=np.linspace(0.5, 1.5, 6)
    )
    masses = MASS(cluster(tiny, radius=0.7, trees=200, **SETTING).jets)
    edges = np.quantile(masses, [0.05, 0.5, 0.8, 0.95]).tolist()
    if request.param == "information":
        limits = {"range": (0.0, edges[-1]), "truth_range": (50.0, 130.0)}
        return Case([tiny], dj.MutualInformation(MASS, bins=(5, 4), **limits))
    loss = dj.Significance(
        MASS,
        signal=("s",),
        background=("b",),
        luminosity=20.0,
        bins=tuple(edges),
        background_uncertainty=0.1,
        minimum_entries=0.1,
    )
    parts = [tiny.select([0, 2]), tiny.select([1, 3, 4, 5])]
    return Case([replace(p, dataset=name) for p, name in zip(parts, "sb", strict=True)], loss)


def test_gradient_of_enumerated_events(case: Case) -> None:
    """Of the value less its bias, from all trees and from sampled ones."""
    value, high, low = (case.exact(radius) for radius in (0.7, 0.7 + 1e-5, 0.7 - 1e-5))
    slope = (high - low) / 2e-5
    for seed, estimator in enumerate((dj.Score(), dj.LeaveOneOut(), dj.StateBaseline())):
        found = dj.gradient(
            case.batches, case.loss, radius=0.7, trees=8_000, estimator=estimator, seed=seed
        )
        assert abs(found.value - slope) < 4 * found.tree_error < 0.2 * abs(slope) + 0.3
        assert abs(found.loss.value - value) < 4 * found.loss.tree_error


@pytest.mark.parametrize("trees", [3, 50])
def test_estimate_is_the_slope_of_the_same_estimate(case: Case, trees: int) -> None:
    """Without statistics: the same trees weighted by P(R + h)/P(R), the bias that is subtracted included."""
    samples = [
        cluster(batch, radius=0.7, trees=trees, seed=6, history=True, **SETTING)
        for batch in case.batches
    ]

    def value(radius: float) -> float:
        there = [
            replay(batch, sample.history, radius=radius, **SETTING)
            for batch, sample in zip(case.batches, samples, strict=True)
        ]
        ratios = [
            np.exp(a.log_prob - b.log_prob) / trees for a, b in zip(there, samples, strict=True)
        ]
        return case.value(samples, ratios)

    parts = [
        reduce_events([Grown(batch, sample, ())], case.loss, dj.Score(), None, [len(batch)])[0][0]
        for batch, sample in zip(case.batches, samples, strict=True)
    ]
    found = functools.reduce(operator.add, parts)
    assert found.loss().value == pytest.approx(value(0.7), rel=1e-12)
    slope = (value(0.7 + 1e-5) - value(0.7 - 1e-5)) / 2e-5
    assert found.gradient().value == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_a_sum_with_a_loss_has_the_sum_of_the_gradients(case: Case) -> None:
    parts = (case.loss, dj.SquaredError(MASS, target=80.0, scale=80.0))
    both = dj.gradient(case.batches, parts[0] + 0.5 * parts[1], radius=0.7, trees=8, seed=1)
    alone = [dj.gradient(case.batches, part, radius=0.7, trees=8, seed=1) for part in parts]
    assert both.value == pytest.approx(alone[0].value + 0.5 * alone[1].value, rel=1e-12)
    loss = [part.loss.value for part in alone]
    assert both.loss.value == pytest.approx(loss[0] + 0.5 * loss[1], rel=1e-12)
    assert np.isnan(both.per_event.loss).all()  # a single event has no such objective
    with pytest.raises(InputError, match="expected at most one of these in a sum"):
        case.loss + case.loss


def test_sums_merge_and_do_not_depend_on_the_parts(case: Case) -> None:
    whole = dj.gradient(case.batches, case.loss, radius=0.7, trees=8, seed=1)
    single = [batch.select([i]) for batch in case.batches for i in range(len(batch))]
    parts = dj.gradient(single, case.loss, radius=0.7, trees=8, seed=1)
    assert parts.loss.value == pytest.approx(whole.loss.value, rel=1e-12)
    assert parts.error == pytest.approx(whole.error, rel=1e-10)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_without_meaning(case: Case, weight: float) -> None:
    batches = [replace(batch, weight=np.full(len(batch), weight)) for batch in case.batches]
    with pytest.raises(NothingAcceptedError, match=r"the accepted weight sums to -?\d"):
        dj.gradient(batches, case.loss, radius=0.7, trees=4)


def test_a_sample_of_one_kind(case: Case) -> None:
    loss: Term = case.loss
    few = case.batches[0].select([0])
    with pytest.raises(NothingAcceptedError, match=r"1 of the 4 bins|background has 0 effective"):
        dj.gradient(few, loss, radius=0.7, trees=4)
