"""Gradients of losses against their slopes, and standard errors against repetitions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from table_of_losses import LOSSES, MASS, SELECTED, SQUARED, WIDTHS, forty_events

from djservice import LeaveOneOut, Score, SquaredErrorOfMean, StateBaseline
from djservice.clustering.cluster import cluster, replay
from djservice.clustering.sampling import Sampling
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.gradient import gradient
from djservice.evaluation.reduce import reduce_events
from djservice.evaluation.tree_columns import Grown
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss


@pytest.fixture(scope="module")
def events() -> EventBatch:
    return forty_events()


TREES = 4_000


@cache
def slope_of(name: str) -> tuple[float, float]:
    """dL/dR of the first events with its error over trees, from finite differences: the same for every estimator."""
    step, few, loss = 0.1, forty_events().select(range(8)), {**LOSSES, **WIDTHS}[name]
    high, low = (
        gradient(few, loss, radius=0.7 + s, trees=TREES, seed=40 + i)
        for i, s in enumerate((step, -step))
    )
    # Richardson extrapolation removes the error of order step^2.
    far_high, far_low = (
        gradient(few, loss, radius=0.7 + s, trees=TREES, seed=50 + i)
        for i, s in enumerate((2 * step, -2 * step))
    )
    near = (high.loss.value - low.loss.value) / (2 * step)
    far = (far_high.loss.value - far_low.loss.value) / (4 * step)
    near_error = np.hypot(high.loss.tree_error, low.loss.tree_error) / (2 * step)
    far_error = np.hypot(far_high.loss.tree_error, far_low.loss.tree_error) / (4 * step)
    return (4 * near - far) / 3, np.hypot(4 / 3 * near_error, far_error / 3)


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
    few, loss = events.select(range(8)), {**LOSSES, **WIDTHS}[name]
    found = gradient(few, loss, radius=0.7, trees=TREES, estimator=estimator, seed=11)
    slope, error = slope_of(name)
    assert abs(found.value - slope) / np.hypot(found.tree_error, error) < 4


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
