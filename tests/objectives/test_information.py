"""The mutual information of an observable and the truth: its value, bias, error and gradient."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import enumerate_trees, to_batch

import djservice as dj
from djservice.clustering.cluster import cluster, replay
from djservice.core.typing import Floats
from djservice.errors import InputError, NothingAcceptedError
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.reduce import reduce_events
from djservice.events.batch import EventBatch
from djservice.objectives.binned_statistics import NegativeInformation
from djservice.objectives.information import bin_numbers

MASS = dj.observables.dijet_mass
TINY = Path(__file__).parents[1] / "clustering" / "data" / "exact_trees_n4.json"
SETTING: dict[str, Any] = {"rigidity": 1.0, "jets": 2}


def moments_of(x: Floats, z: Floats, bins: tuple[int, int]) -> Moments:
    """The sums of events with one tree, whose observable and truth are given."""
    layout = MomentLayout((NegativeInformation(*bins),), (1.0,), 0)
    cells = [
        bin_numbers(values, (-5.0, 5.0), n).astype(int)
        for values, n in zip((x, z), bins, strict=True)
    ]
    total = np.zeros((bins[1], layout.length))
    np.add.at(total, (cells[1], cells[0]), 1.0)
    total[:, bins[0]] = total[:, -3] = total.sum(axis=1)
    outer = np.zeros((bins[1], layout.length, layout.length))
    outer[:, np.arange(bins[0]), np.arange(bins[0])] = total[:, : bins[0]]
    n = len(x)
    return Moments(layout, total, outer, outer * 0.0, float(n), n, 0, n, n, math.nan)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("events", "bins"), [(2_000, (20, 20)), (100_000, (60, 60))])
def test_gaussian_channel(noise: float, events: int, bins: tuple[int, int]) -> None:
    """1/2 log(1 + var z / var noise), within the errors and what 10 sigma / bins lose."""
    rng = np.random.default_rng(int(10 * noise))
    z = rng.normal(size=events)
    x = (z + noise * rng.normal(size=events)) / math.hypot(1.0, noise)
    found = moments_of(x, z, bins).loss()
    exact = 0.5 * math.log(1.0 + noise**-2)
    lost = (0.25 if noise < 0.5 else 0.06) * (20 / bins[0]) ** 2 + 0.01
    assert -found.value - exact < 4 * found.error
    assert exact + found.value < 4 * found.error + lost


def test_bias_and_error_are_those_of_repetitions() -> None:
    """Channels of 1,000 events: the correction is Miller and Madow's, the error the bootstrap's."""
    rng = np.random.default_rng(3)
    samples = []
    for _ in range(100):
        z = rng.normal(size=1_000)
        samples.append((z + rng.normal(size=1_000), z))
    found = [moments_of(*sample, (12, 8)) for sample in samples]
    large = np.concatenate(samples, axis=1)
    truth = moments_of(*large, (12, 8)).loss()
    values = np.array([-moments.loss().value for moments in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() + truth.value) < 4 * math.hypot(spread / 10.0, truth.error)
    plain = [-float(NegativeInformation(12, 8).value(m.total[:, :13])) for m in found]
    assert np.mean(plain) + truth.value > 8 * spread / 10.0  # without the correction it shows
    assert spread == pytest.approx(np.mean([m.loss().error for m in found]), rel=4 / math.sqrt(198))
    rows = rng.integers(0, 1_000, (200, 1_000))
    bootstrap = [
        moments_of(*(values[row] for values in samples[0]), (12, 8)).loss().value for row in rows
    ]
    assert np.std(bootstrap) == pytest.approx(found[0].loss().error, rel=4 / math.sqrt(398))


def test_derivatives_are_those_of_the_value() -> None:
    rng, step = np.random.default_rng(1), 1e-5
    statistic = NegativeInformation(6, 4)
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


@pytest.fixture(scope="module")
def tiny() -> EventBatch:
    """Events of four particles, whose true masses fill three bins."""
    events = [entry["particles_pt_y_phi_m"] for entry in json.loads(TINY.read_text())][:6]
    return to_batch(events, truth=np.linspace(60.0, 120.0, len(events)))


def objective(tiny: EventBatch) -> dj.MutualInformation:
    masses = MASS(cluster(tiny, radius=0.7, trees=200, **SETTING).jets)
    high = float(np.quantile(masses, 0.9))
    return dj.MutualInformation(MASS, bins=(5, 4), range=(0.0, high), truth_range=(50.0, 130.0))


def exact_information(
    tiny: EventBatch, loss: dj.MutualInformation, radius: float
) -> tuple[float, float]:
    """-I and its derivative from all merge sequences, with the probability of each."""
    histories = np.array(list(enumerate_trees(np.ones((4, 4)))), dtype=np.int32)
    sample = replay(tiny, np.stack([histories] * len(tiny)), radius=radius, **SETTING)
    _, quantities, accepted = loss.evaluate(sample.jets, tiny.truth)
    probability = np.exp(sample.log_prob)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-12)
    categories = loss.categories(tiny.truth, "")
    sums, slopes = np.zeros((4, 6)), np.zeros((4, 6))
    for i, quantity in enumerate([*quantities, accepted]):
        np.add.at(sums[:, i], categories, (probability * quantity).sum(axis=1))
        np.add.at(slopes[:, i], categories, (probability * sample.score * quantity).sum(axis=1))
    statistic = loss.statistic
    return float(statistic.value(sums)), float((statistic.gradient(sums) * slopes).sum())


def test_gradient_of_enumerated_events(tiny: EventBatch) -> None:
    """dI/dR = E[T S] is the slope of I, and what sampled trees estimate, all without a limit of many events."""
    loss, step = objective(tiny), 1e-5
    value, slope = exact_information(tiny, loss, 0.7)
    (high, _), (low, _) = (exact_information(tiny, loss, 0.7 + s) for s in (step, -step))
    assert slope == pytest.approx((high - low) / (2 * step), rel=1e-6)
    for seed, estimator in enumerate((dj.Score(), dj.LeaveOneOut(), dj.StateBaseline())):
        found = dj.gradient(
            tiny,
            loss,
            radius=0.7,
            trees=8_000,
            estimator=estimator,
            seed=seed,
            rigidity=1.0,
        )
        assert abs(found.value - slope) < 4 * found.tree_error < 0.1 * abs(slope) + 0.2
        plain = float(loss.statistic.value(found.moments.total[:, :6]))
        assert abs(plain - value) < 4 * found.loss.tree_error


def test_estimate_is_the_slope_of_the_same_estimate(tiny: EventBatch) -> None:
    """Without statistics: the same trees weighted by P(R + h)/P(R)."""
    loss, step = objective(tiny), 1e-5
    sample = cluster(tiny, radius=0.7, trees=50, seed=6, history=True, **SETTING)
    _, quantities, accepted = loss.evaluate(sample.jets, tiny.truth)
    categories = loss.categories(tiny.truth, "")

    def value(radius: float) -> float:
        there = replay(tiny, sample.history, radius=radius, **SETTING).log_prob
        ratio, sums = np.exp(there - sample.log_prob), np.zeros((4, 6))
        for i, quantity in enumerate([*quantities, accepted]):
            np.add.at(sums[:, i], categories, (quantity * ratio).mean(axis=1))
        return float(loss.statistic.value(sums))

    ((moments, _),) = reduce_events(tiny, sample, (), loss, dj.Score(), None, [len(tiny)])
    assert moments.gradient().value == pytest.approx(
        (value(0.7 + step) - value(0.7 - step)) / (2 * step), rel=1e-5
    )


def test_a_monotonic_function_of_the_observable_has_the_same_information(tiny: EventBatch) -> None:
    loss = objective(tiny)
    twice = dj.observable(units="GeV", jets=2)(lambda jets: 2.0 * MASS(jets))
    scaled = dj.MutualInformation(
        twice, bins=loss.bins, range=(0.0, 2.0 * loss.range[1]), truth_range=loss.truth_range
    )
    one, other = (dj.gradient(tiny, each, radius=0.7, trees=50, seed=2) for each in (loss, scaled))
    assert one.loss.value == pytest.approx(other.loss.value, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": (40,)}, r"bins are \[40\], expected two numbers"),
        ({"bins": (3, 20)}, "each a whole number from 4"),
        ({"bins": (4.5, 20)}, "expected two numbers"),
        ({"range": (1.0, 1.0)}, r"range is \[1.0, 1.0\], expected \[lowest, highest\]"),
        ({"truth_range": (0.0, math.nan)}, "truth_range is"),
    ],
)
def test_arguments_without_meaning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.MutualInformation(MASS, **arguments)


def test_one_true_mass_tells_nothing(tiny: EventBatch) -> None:
    loss = dj.MutualInformation(MASS, truth_range=(0.0, 10_000.0))
    with pytest.raises(
        NothingAcceptedError, match=r"1 of the 20 bins of the true mass.*many true masses"
    ):
        dj.gradient(tiny, loss, radius=0.7, trees=4)


def test_two_objectives_have_no_sum(tiny: EventBatch) -> None:
    with pytest.raises(
        InputError, match="MutualInformation and MutualInformation: expected at most one"
    ):
        objective(tiny) + objective(tiny)


def test_a_sum_with_a_loss_has_the_sum_of_the_gradients(tiny: EventBatch) -> None:
    parts = (objective(tiny), dj.SquaredError(MASS, target=80.0, scale=80.0))
    both = dj.gradient(tiny, parts[0] + 0.5 * parts[1], radius=0.7, trees=8, seed=1)
    alone = [dj.gradient(tiny, part, radius=0.7, trees=8, seed=1) for part in parts]
    assert both.value == pytest.approx(alone[0].value + 0.5 * alone[1].value, rel=1e-12)
    assert both.loss.value == pytest.approx(
        alone[0].loss.value + 0.5 * alone[1].loss.value, rel=1e-12
    )
