"""Every step of sampled trees against brute force: what mean values and the deterministic limit do not see."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import scipy
from brute_force import (
    BEAM,
    Floats,
    Objects,
    Setting,
    event_of,
    options,
    walk,
)
from steps import (
    ASYMMETRIES,
    OTHERS,
    POWERS,
    RADII,
    RIGIDITIES,
    SIZES,
    TWIN,
    assert_step,
    assert_sums,
    event_near,
    spread_steps,
)

from djservice.clustering.cluster import cluster
from djservice.events.batch import EventBatch


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("rigidity", RIGIDITIES)
def test_every_step_is_what_brute_force_finds(
    rigidity: float, power: float, asymmetry: float | None
) -> None:
    checked = exact_counts = 0
    norms: list[float] = []
    for (size, (count, wanted)), radius in itertools.product(SIZES.items(), RADII):
        batch = event_near(size)
        setting = Setting(radius, rigidity, power, asymmetry)
        trees = cluster(
            batch, **setting.arguments, trees=count, seed=size, history=True, trace=True
        )
        event, n = event_of(batch, 0), int(batch.counts[0])
        for tree in range(count):
            trace, history = trees.trace_of(0, tree), trees.history_of(0, tree)
            assert history.shape == (n, 2)
            assert trees.n_jets[0, tree] == (history[:, 1] == BEAM).sum()
            assert_sums(trees, tree)
            for t, step, drawn in walk(event, history, setting, spread_steps(n, wanted, seed=tree)):
                assert_step(trace[t], step, drawn, f"n = {n}, {setting}, tree {tree}, step {t}")
                checked += 1
                exact_counts += int(trace["options"][t] == step.kept.sum())
                norms.append(abs(trace["norm"][t] / step.norm - 1))
    # the tolerances above follow the conditioning; these say that it is good nearly everywhere
    assert exact_counts >= 0.998 * checked
    assert np.median(norms) <= 1e-14 * max(10.0, rigidity)


UNUSUAL = (
    Setting(0.05, 1.0, -2.0),
    Setting(3.0, 1.0, 2.0),
    Setting(0.7, 0.001, -1.0),
    Setting(0.7, 0.001, 0.3, 1.0),
    Setting(0.7, 3.0, -1.0, 0.5),
    Setting(0.7, 3.0, -1.0, 2.0),
    Setting(0.7, 1e9, -1.0),
)


@pytest.mark.parametrize("setting", UNUSUAL, ids=str)
def test_every_step_at_unusual_settings(setting: Setting) -> None:
    for size, (_, wanted) in SIZES.items():
        batch = event_near(size)
        trees = cluster(batch, **setting.arguments, trees=1, seed=size, history=True, trace=True)
        event, n = event_of(batch, 0), int(batch.counts[0])
        assert_sums(trees, 0)
        for t, step, drawn in walk(
            event, trees.history_of(0, 0), setting, spread_steps(n, wanted, seed=1)
        ):
            assert_step(trees.trace_of(0, 0)[t], step, drawn, f"n = {n}, {setting}, step {t}")


def ranks(
    batch: EventBatch, setting: Setting, trees: int, wanted: int, seed: int
) -> Iterator[float]:
    """For each draw a uniform number, if and only if the draws follow brute force's probabilities.

    Options are ordered by q: a preference for small or large distances would show as a slope.
    """
    random = np.random.default_rng(seed)
    sample = cluster(batch, **setting.arguments, trees=trees, seed=seed, history=True)
    event, n = event_of(batch, 0), int(batch.counts[0])
    for tree in range(trees):
        for _, step, drawn in walk(
            event, sample.history_of(0, tree), setting, spread_steps(n, wanted, seed=tree)
        ):
            probability = step.probability
            if probability.max() < 0.99:
                below = probability[step.q < step.q[drawn]].sum()
                yield below + random.random() * probability[step.q == step.q[drawn]].sum()


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
@pytest.mark.parametrize("rigidity", (0.1, 1.0, 10.0, 100.0))
def test_draws_follow_the_probabilities(rigidity: float, asymmetry: float | None) -> None:
    setting = Setting(0.7, rigidity, -1.0, asymmetry)
    small = ranks(event_near(30), setting, trees=30, wanted=30, seed=1)
    large = ranks(event_near(140), setting, trees=12, wanted=20, seed=2)
    values = [*small, *large]
    assert len(values) > 40
    assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3


# brute force itself


def test_brute_force_on_a_step_done_by_hand() -> None:
    event = [[10.0, 0.0, 3.1, 0.0], [5.0, 0.6, -3.1, 0.0]]
    step = options(Objects(event), [0, 1], Setting(0.5, 2.0, -1.0))
    distance = 0.6**2 + (2 * math.pi - 6.2) ** 2
    q = np.array([0.25 / 100, 0.25 / 25, distance / 100])
    weights = np.exp(-2.0 * (q / q[0] - 1))
    np.testing.assert_allclose(step.q, q, rtol=1e-12)
    np.testing.assert_allclose(step.probability, weights / weights.sum(), rtol=1e-12)
    assert step.minimum == pytest.approx(0.0025)
    # the minimum is a beam: only the pair's x moves, by -2/R
    slope = -2 / 0.5 * q[2] / q[0]
    expected = -2.0 * (np.array([0, 0, slope]) - step.probability[2] * slope)
    np.testing.assert_allclose(step.score_radius, expected, rtol=1e-11)


@pytest.mark.parametrize("asymmetry", ASYMMETRIES, ids=("minimum", "safe"))
def test_brute_force_scores_are_derivatives(asymmetry: float | None) -> None:
    event = [*OTHERS, TWIN, [12.0, 0.5, -0.7, 0.2]]
    active, h = range(len(event)), 1e-6

    def log_probability(radius: float, rigidity: float, power: float) -> Floats:
        return np.log(
            options(Objects(event), active, Setting(radius, rigidity, power, asymmetry)).probability
        )

    def slope(which: int) -> Floats:
        high, low = ([0.7, 0.3, -0.8] for _ in range(2))
        high[which] += h
        low[which] -= h
        return (log_probability(*high) - log_probability(*low)) / (2 * h)

    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = [slope(which) for which in range(3)]
    step = options(Objects(event), active, Setting(0.7, 0.3, -0.8, asymmetry))
    for numerical, analytic in zip(
        slopes, (step.score_radius, step.score_rigidity, step.score_power), strict=True
    ):
        np.testing.assert_allclose(analytic[step.kept], numerical[step.kept], rtol=1e-6, atol=1e-7)
