"""Losses, selections and their sums: values, gradients and standard errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from djservice import (
    LeaveOneOut,
    Score,
    SquaredError,
    SquaredErrorOfMean,
    StateBaseline,
    cuts,
    observables,
)
from djservice.clustering.cluster import cluster, replay
from djservice.clustering.sampling import Sampling
from djservice.errors import InputError, RunError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.gradient import gradient
from djservice.evaluation.reduce import reduce_events
from djservice.evaluation.tree_columns import Grown
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss
from djservice.objectives.pooled_statistics import (
    QUANTILES,
    PooledMean,
    QuantileWidth,
    RelativeVariance,
    UnbinnedStatistic,
)
from djservice.objectives.widths import RobustWidth, Width

MASS = observables.dijet_mass
SELECTED = cuts.two_jets(pt_min=15.0) & cuts.mass_below(120.0)
SQUARED = SquaredError(MASS, target=80.0, scale=80.0)
OF_MEAN = SquaredErrorOfMean(MASS, target=80.0, scale=80.0)


@pytest.fixture(scope="module")
def events() -> EventBatch:
    """Forty small events with weights."""
    rng = np.random.default_rng(5)
    counts = rng.integers(3, 9, 40)
    n = counts.sum()
    return EventBatch.from_arrays(
        pt=rng.exponential(30.0, n) + 2.0,
        rapidity=rng.uniform(-2, 2, n),
        phi=rng.uniform(-np.pi, np.pi, n),
        mass=np.zeros(n),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        weight=rng.uniform(0.2, 2.0, 40),
        truth=rng.uniform(60, 100, 40),
    )


def by_hand(
    loss: Loss, events: EventBatch, radius: float, trees: int, seed: int
) -> tuple[float, float]:
    """Pooled loss and leave-one-out gradient, tree by tree in plain loops, from the formulas of the documentation."""
    total_loss = total_slope = 0.0
    sample = cluster(
        events,
        radius=radius,
        rigidity=1.0,
        trees=trees,
        jets=loss.jets,
        seed=seed,
        settled_pt=loss.settled_pt,
    )
    for term in loss.terms:
        _, (quantity,), accepted = term.evaluate(sample.jets, events.truth)
        a = b = ga = gb = 0.0
        for e in range(len(events)):
            h, i, s = quantity[e], accepted[e].astype(float), sample.score[e]

            def loo(x: np.ndarray, s: np.ndarray = s) -> list[float]:
                return [(x[n] - np.delete(x, n).mean()) * s[n] for n in range(trees)]

            w = events.weight[e]
            if term.squares_expectation:
                pairs = [(n, m) for n in range(trees) for m in range(trees) if n != m]
                a += w * np.mean([h[n] * h[m] for n, m in pairs])
                b += w * np.mean([i[n] * i[m] for n, m in pairs])
                ga += w * np.mean([2 * h[n] * loo(h)[m] for n, m in pairs])
                gb += w * np.mean([2 * i[n] * loo(i)[m] for n, m in pairs])
            else:
                a, b = a + w * h.mean(), b + w * i.mean()
                ga, gb = ga + w * np.mean(loo(h)), gb + w * np.mean(loo(i))
        total_loss += term.coefficient * a / b
        total_slope += term.coefficient * (ga - a / b * gb) / b
    return total_loss, total_slope


#: A new loss is tested by adding a row.
LOSSES = {
    "squared error": SQUARED,
    "squared error, selected": SQUARED.where(SELECTED),
    "squared error to the truth": SquaredError(MASS, scale=80.0).where(SELECTED),
    "of mean": OF_MEAN,
    "of mean, selected": OF_MEAN.where(SELECTED),
    "sum": SQUARED.where(SELECTED)
    + 0.5 * OF_MEAN
    + SquaredError(observables.leading_jet_mass, target=10.0) * 1e-3,
}


#: Those whose value is no mean of single terms; narrow bins, for the histogram is differentiated as it is.
WIDTHS = {
    "width": Width(MASS),
    "width, selected": Width(MASS).where(SELECTED),
    "robust width": RobustWidth(MASS, high=300.0, bins=20),
    "robust width, selected": RobustWidth(MASS, high=120.0, bins=12).where(SELECTED),
    "width of the response": Width(MASS, scale=None),
    "robust width of the response": RobustWidth(MASS, scale=None, high=3.0, bins=20),
    "width and error": 0.3 * Width(MASS).where(SELECTED) + SQUARED,
}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_equal_the_formulas_written_out(name: str, events: EventBatch) -> None:
    found = gradient(events, LOSSES[name], radius=0.7, trees=6, seed=2, estimator=LeaveOneOut())
    loss, slope = by_hand(LOSSES[name], events, 0.7, 6, 2)
    assert found.loss.value == pytest.approx(loss, rel=1e-12)
    assert found.value == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize(
    "estimator", [Score(), LeaveOneOut(), StateBaseline()], ids=lambda e: e.name
)
@pytest.mark.parametrize(
    "name", [*LOSSES, "width", "width, selected", "width and error"]
)  # quantiles have kinks
def test_gradient_is_the_slope_of_the_loss(
    name: str, estimator: Estimator, events: EventBatch
) -> None:
    """Against finite differences of the loss with independent trees; both errors are over trees, the events given."""
    step, trees = 0.1, 4_000
    few = events.select(range(8))
    loss = {**LOSSES, **WIDTHS}[name]
    found = gradient(few, loss, radius=0.7, trees=trees, estimator=estimator, seed=11)
    high, low = (
        gradient(few, loss, radius=0.7 + s, trees=trees, seed=40 + i)
        for i, s in enumerate((step, -step))
    )
    # Richardson extrapolation removes the error of order step^2.
    far_high, far_low = (
        gradient(few, loss, radius=0.7 + s, trees=trees, seed=50 + i)
        for i, s in enumerate((2 * step, -2 * step))
    )
    near = (high.loss.value - low.loss.value) / (2 * step)
    far = (far_high.loss.value - far_low.loss.value) / (4 * step)
    near_error = np.hypot(high.loss.tree_error, low.loss.tree_error) / (2 * step)
    far_error = np.hypot(far_high.loss.tree_error, far_low.loss.tree_error) / (4 * step)
    error = np.sqrt(found.tree_error**2 + (4 / 3 * near_error) ** 2 + (far_error / 3) ** 2)
    assert abs(found.value - (4 * near - far) / 3) / error < 4


@pytest.mark.parametrize("target", [80.0, 20.0])
def test_standard_errors_of_a_squared_mean_are_those_of_repetitions(
    target: float, events: EventBatch
) -> None:
    """A tree is in the pairs of all others too."""
    loss = SquaredErrorOfMean(MASS, target=target, scale=80.0)
    few = events.select(range(10))
    repeated = [gradient(few, loss, radius=0.7, trees=200, seed=100 + k) for k in range(100)]
    for values, stated in (
        ([r.value for r in repeated], [r.tree_error for r in repeated]),
        ([r.loss.value for r in repeated], [r.loss.tree_error for r in repeated]),
    ):
        assert abs(np.std(values, ddof=1) / np.mean(stated) - 1) < 4 / np.sqrt(2 * 99)


@pytest.mark.parametrize(
    "loss", [SQUARED.where(SELECTED), WIDTHS["width"]], ids=["squared error", "width"]
)
def test_standard_errors_are_those_of_repetitions(loss: Loss, events: EventBatch) -> None:
    """tree_error against the spread over seeds; the error over events against that over bootstrapped samples."""
    repeated = [
        gradient(events, loss, radius=0.7, trees=40, seed=100 + k, threads=1) for k in range(60)
    ]
    for values, stated in (
        ([r.value for r in repeated], [r.tree_error for r in repeated]),
        ([r.loss.value for r in repeated], [r.loss.tree_error for r in repeated]),
    ):
        # The relative error of a standard deviation from k repetitions is 1/sqrt(2 (k - 1)).
        assert abs(np.std(values, ddof=1) / np.mean(stated) - 1) < 4 / np.sqrt(2 * 59)
    found = repeated[0]
    rng = np.random.default_rng(1)
    copies = []
    for _ in range(200):
        rows = rng.integers(0, len(events), len(events))
        moments, _ = evaluate(
            events.select(rows), loss, LeaveOneOut(), Sampling(seed=100), radius=0.7, trees=40
        )
        copies.append(
            (
                moments.gradient().value,
                moments.loss().value,
                moments.mean().value,
                moments.sd().value,
            )
        )
    spread = np.std(copies, axis=0, ddof=1)
    stated = [found.error, found.loss.error, found.moments.mean().error, found.moments.sd().error]
    # First order in 1/events on both sides: 40 events leave a bias of some 1/(2 * 40) beside the noise of 200 copies.
    assert np.abs(spread / stated - 1).max() < 4 * np.hypot(1 / np.sqrt(2 * 199), 1 / 40)


def test_moments_merge(events: EventBatch) -> None:
    parts = [
        evaluate(
            events.select(rows), LOSSES["sum"], LeaveOneOut(), Sampling(seed=2), radius=0.7, trees=6
        )[0]
        for rows in (range(13), range(13, 13), range(13, 40))
    ]
    merged = parts[0] + parts[1] + parts[2]
    whole, _ = evaluate(events, LOSSES["sum"], LeaveOneOut(), Sampling(seed=2), radius=0.7, trees=6)
    assert merged.loss().value == pytest.approx(whole.loss().value, rel=1e-13)
    assert merged.gradient().error == pytest.approx(whole.gradient().error, rel=1e-9)
    assert (merged.events, merged.trees, merged.trees_accepted) == (
        whole.events,
        whole.trees,
        whole.trees_accepted,
    )


def test_an_event_without_accepted_trees_is_counted(events: EventBatch) -> None:
    loss = SQUARED.where(cuts.two_jets(pt_min=40.0) & cuts.mass_below(100.0))
    found = gradient(events, loss, radius=0.7, trees=4, seed=1)
    without = found.per_event.accepted == 0
    assert 0 < without.sum() < len(events)
    assert found.moments.events_without == without.sum()
    assert np.isnan(found.per_event.mean[without]).all()
    assert np.isfinite([found.value, found.error, found.loss.value, found.loss.error]).all()


def test_full_acceptance_adds_no_noise_to_the_plain_score(events: EventBatch) -> None:
    """Without a rejected tree dE[I]/dR is 0 exactly, so the gradient is the mean of l S and nothing else."""
    sample = cluster(events, radius=0.7, rigidity=1.0, trees=8, seed=3, settled_pt=0.0)
    loss = np.square((MASS(sample.jets) - 80.0) / 80.0)
    expected = (events.weight @ (loss * sample.score).mean(axis=1)) / events.weight.sum()
    found = gradient(events, SQUARED, radius=0.7, trees=8, seed=3, estimator=Score())
    assert found.moments.trees_accepted == found.moments.trees
    assert found.value == pytest.approx(expected, rel=1e-12)


def test_nothing_passes(events: EventBatch) -> None:
    with pytest.raises(
        RunError, match=r"no tree passed the selection in 40 events with 160 trees.*Loosen the cuts"
    ):
        gradient(events, SQUARED.where(cuts.mass_below(0.0)), radius=0.7, trees=4)


def test_negative_weights_are_said_to_be(events: EventBatch) -> None:
    import dataclasses

    negative = dataclasses.replace(events, weight=-events.weight)
    with pytest.raises(RunError, match=r"accepted weight sums to -.*check the event weights"):
        gradient(negative, SQUARED, radius=0.7, trees=4)


def test_results_print_in_one_line_and_not_their_arrays(events: EventBatch) -> None:
    found = gradient(events, SQUARED, radius=0.7, trees=4)
    assert (
        repr(found).startswith(f"Gradient(value={found.value!r}, error=") and len(repr(found)) < 400
    )
    trees = cluster(events, radius=0.7, rigidity=1.0, trees=4)
    assert repr(trees) == "TreeSample(40 events, 4 trees of each, 2 leading jets)"


def test_arguments_without_meaning(events: EventBatch) -> None:
    with pytest.raises(InputError, match="trees is 1, expected 2 or more with the state_baseline"):
        gradient(events, SQUARED, radius=0.7, trees=1)
    with pytest.raises(InputError, match=r"radius is -1.0 \(event 0\), expected a positive"):
        gradient(events, SQUARED, radius=-1.0)
    with pytest.raises(InputError, match=r"radius is nan \(event 3\)"):
        gradient(events, SQUARED, radius=np.where(np.arange(40) == 3, np.nan, 0.5))
    with pytest.raises(
        InputError, match=r"radius has shape \(2,\), expected one number or one per event \(40,\)"
    ):
        gradient(events, SQUARED, radius=[0.5, 0.6])
    with pytest.raises(InputError, match="rigidity is 0, expected a positive number"):
        gradient(events, SQUARED, radius=0.7, rigidity=0)
    with pytest.raises(
        InputError,
        match=r"estimator is 'score', expected an object such as djservice.LeaveOneOut\(\)",
    ):
        gradient(events, SQUARED, radius=0.7, estimator="score")  # type: ignore[arg-type]
    with pytest.raises(
        InputError,
        match=r"expected a loss or an observable, found <function .*@djservice.observable",
    ):
        gradient(events, lambda jets: jets.pt[..., 0], radius=0.7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"scale is 0.0, expected a positive"):
        SquaredError(MASS, target=1.0, scale=0.0)
    without_truth = EventBatch.from_arrays(
        pt=[1.0], rapidity=[0], phi=[0], mass=[0], offsets=[0, 1]
    )
    with pytest.raises(InputError, match="has no target, and event 0 has no truth"):
        gradient(without_truth, SquaredError(MASS), radius=0.7)


@pytest.mark.parametrize(
    "name", [*(name for name in LOSSES if "mean" not in name and name != "sum"), *WIDTHS]
)
def test_score_estimate_is_the_slope_of_the_same_estimate(name: str, events: EventBatch) -> None:
    """Without statistics: the same trees weighted by P(R + h)/P(R), whose derivative at h = 0 the score estimator is."""
    loss = {**LOSSES, **WIDTHS}[name]
    settings: dict[str, Any] = {"rigidity": 1.0, "jets": loss.jets}
    sample = cluster(events, radius=0.7, trees=50, seed=6, history=True, **settings)
    step = 1e-5

    def value(radius: float) -> float:
        ratio = np.exp(
            replay(events, sample.history, radius=radius, **settings).log_prob - sample.log_prob
        )
        total = 0.0
        for term in loss.terms:
            _, quantities, accepted = term.evaluate(sample.jets, events.truth)
            means = [(quantity * ratio).mean(axis=1) for quantity in quantities]
            means.append(1.0 - (~accepted * ratio).mean(axis=1))
            total += term.coefficient * float(
                term.statistic.value(np.array([events.weight @ mean for mean in means]))
            )
        return total

    ((found, _),) = reduce_events([Grown(events, sample, ())], loss, Score(), None, [len(events)])
    assert found.gradient().value == pytest.approx(
        (value(0.7 + step) - value(0.7 - step)) / (2 * step), rel=1e-6
    )


@pytest.mark.parametrize(
    "statistic",
    [PooledMean(), RelativeVariance(), QuantileWidth(0.0, 10.0, 8)],
    ids=lambda f: type(f).__name__,
)
def test_derivatives_of_statistics(statistic: UnbinnedStatistic) -> None:
    """Against central differences, of a sample and of several events at once."""
    sums = np.random.default_rng(3).uniform(1.0, 2.0, (5, statistic.sums))
    step = 1e-6
    gradient_there, hessian = np.empty_like(sums), np.empty((5, statistic.sums, statistic.sums))
    for i in range(statistic.sums):
        shift = np.zeros(statistic.sums)
        shift[i] = step
        gradient_there[:, i] = (statistic.value(sums + shift) - statistic.value(sums - shift)) / (
            2 * step
        )
        hessian[:, i] = (statistic.gradient(sums + shift) - statistic.gradient(sums - shift)) / (
            2 * step
        )
    assert statistic.gradient(sums) == pytest.approx(gradient_there, rel=1e-7, abs=1e-8)
    assert statistic.hessian(sums) == pytest.approx(hessian, rel=1e-6, abs=1e-7)
    assert statistic.value(sums[2]) == pytest.approx(statistic.value(sums)[2], rel=1e-15)
    assert statistic.gradient(sums[2]) == pytest.approx(statistic.gradient(sums)[2], rel=1e-15)


def test_widths_are_those_of_the_pooled_trees(events: EventBatch) -> None:
    even = events.select(np.flatnonzero(events.weight > 0))
    even = replace(even, weight=np.ones(len(even)))
    sample = cluster(even, radius=0.7, rigidity=1.0, trees=30, jets=2, seed=4)
    mass = MASS(sample.jets)
    accepted = SELECTED(sample.jets)
    found = gradient(even, Width(MASS).where(SELECTED), radius=0.7, trees=30, seed=4)
    assert found.loss.value == pytest.approx(
        mass[accepted].var() / mass[accepted].mean() ** 2, rel=1e-10
    )
    # Quantiles within a bin: those of the trees themselves to a bin.
    robust = gradient(even, RobustWidth(MASS, high=400.0, bins=400), radius=0.7, trees=30, seed=4)
    low, middle, high = np.quantile(mass, QUANTILES)
    assert robust.loss.value == pytest.approx((high - low) / (2 * middle), abs=2.0 / middle)


def test_the_scale_may_be_the_target(events: EventBatch) -> None:
    relative, absolute = (SquaredError(MASS, target=80.0, scale=scale) for scale in (None, 80.0))
    a, b = (gradient(events, loss, radius=0.7, trees=6, seed=2) for loss in (relative, absolute))
    assert a.loss == b.loss
    truth = gradient(
        events, SquaredError(MASS, scale=None), radius=0.7, trees=6, seed=2, estimator=LeaveOneOut()
    )
    sample = cluster(events, radius=0.7, rigidity=1.0, trees=6, jets=2, seed=2, settled_pt=0.0)
    by_event = ((MASS(sample.jets) / events.truth[:, np.newaxis] - 1) ** 2).mean(axis=1)
    assert truth.loss.value == pytest.approx(np.average(by_event, weights=events.weight), rel=1e-12)


def test_derivatives_in_several_parameters_are_those_one_by_one(events: EventBatch) -> None:
    names = ("radius", "rigidity")
    asked: dict[str, Any] = {"radius": 0.7, "trees": 6, "seed": 2, "estimator": LeaveOneOut()}
    both = gradient(events, SQUARED, parameters=names, **asked)
    assert both.parameters == names
    for number, name in enumerate(names):
        one = gradient(events, SQUARED, parameters=name, **asked)
        assert one.parameters == (name,)
        for kind in ("value", "error", "tree_error"):
            assert getattr(both, kind)[number] == pytest.approx(getattr(one, kind), rel=1e-9)
        for kind in ("gradients", "gradient_errors"):
            of_events = getattr(both.per_event, kind)[:, number], getattr(one.per_event, kind)[:, 0]
            np.testing.assert_allclose(*of_events, rtol=1e-9)
    alone = gradient(events, SQUARED, parameters=["radius"], **asked)
    assert alone.value.shape == (1,)


def test_derivatives_through_radii_of_events(events: EventBatch) -> None:
    """dL/dtheta with dR/dtheta given: values and errors from the results in R, event by event."""
    rng = np.random.default_rng(8)
    jacobian, radius = rng.normal(size=(len(events), 3)), rng.uniform(0.4, 1.0, len(events))
    loss = SQUARED.where(SELECTED)
    asked = {"radius": radius, "trees": 12}
    through, _ = evaluate(events, loss, LeaveOneOut(), Sampling(seed=5), jacobian=jacobian, **asked)
    singles = [
        evaluate(
            events.select([e]), loss, LeaveOneOut(), Sampling(seed=5), radius=radius[e], trees=12
        )[0]
        for e in range(40)
    ]
    a, b, ga, gb = np.array([single.total[:4] for single in singles]).T
    total = a.sum() / b.sum()
    by_event = (ga - total * gb) / b.sum()
    for j in range(3):
        found = through.gradient(j)
        value = (by_event * jacobian[:, j]).sum()
        assert found.value == pytest.approx(value, rel=1e-10)
        norm = (gb * jacobian[:, j]).sum() / b.sum()
        u = by_event * jacobian[:, j] - (norm * (a - total * b) + value * b) / b.sum()
        assert found.error == pytest.approx(np.sqrt(40 / 39 * (u**2).sum()), rel=1e-9)
        slope = (
            np.array([-norm, norm * total - value, jacobian[0, j], -total * jacobian[0, j]])
            / b.sum()
        )
        trees = 0.0
        for e, single in enumerate(singles):
            slope[2:] = np.array([1.0, -total]) * jacobian[e, j] / b.sum()
            trees += slope @ single.tree_covariance[:4, :4] @ slope
        assert found.tree_error == pytest.approx(np.sqrt(trees), rel=1e-9)


def test_a_robust_width_with_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="4 bins or more, found 0"):
        RobustWidth(MASS, bins=2)
