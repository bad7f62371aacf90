"""Losses, selections and their sums: values and gradients against formulas, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from table_of_losses import LOSSES, MASS, SELECTED, SQUARED, forty_events

from djservice import (
    LeaveOneOut,
    Score,
    SquaredError,
    cuts,
)
from djservice.clustering.cluster import cluster
from djservice.clustering.sampling import Sampling
from djservice.errors import InputError, RunError
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.gradient import gradient
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss
from djservice.objectives.pooled_statistics import (
    QUANTILES,
)
from djservice.objectives.widths import RobustWidth, Width


@pytest.fixture(scope="module")
def events() -> EventBatch:
    return forty_events()


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


@pytest.mark.parametrize("name", LOSSES)
def test_sums_equal_the_formulas_written_out(name: str, events: EventBatch) -> None:
    found = gradient(events, LOSSES[name], radius=0.7, trees=6, seed=2, estimator=LeaveOneOut())
    loss, slope = by_hand(LOSSES[name], events, 0.7, 6, 2)
    assert found.loss.value == pytest.approx(loss, rel=1e-12)
    assert found.value == pytest.approx(slope, rel=1e-10)


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
