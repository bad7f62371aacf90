"""A loss over versions of the events: its value, gradient and errors against the same by other means."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.clustering.cluster import cluster, replay
from djservice.clustering.sampling import Sampling
from djservice.errors import InputError
from djservice.estimators.score_function import LeaveOneOut, Score
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.reduce import reduce_events
from djservice.evaluation.spread import combined, second_along
from djservice.evaluation.tree_columns import Grown
from djservice.events.augment import Collinear, Drop, Rotate, Scale, Smear, augmented
from djservice.objectives.losses import Mean

SELECTED = dj.cuts.two_jets(pt_min=10.0)
MASS = dj.observables.dijet_mass
SQUARED = dj.SquaredError(MASS, target=110.0, scale=110.0).where(SELECTED)
LOSSES = {
    "squared error": SQUARED,
    "widths": dj.RobustWidth(MASS, bins=8).where(SELECTED) + 0.5 * dj.Width(MASS).where(SELECTED),
}
CHANGES = [Smear(0.5), Drop(0.2), Scale(1.05)]


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=3.0)
    return dj.read("example:ZHllbb_200", schema=schema, entries=(0, 40))


@pytest.mark.parametrize("spread", [0.0, 0.7, 3.0])
def test_derivatives_of_mean_and_spread(spread: float) -> None:
    rng = np.random.default_rng(1)
    losses, slopes, step = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), 1e-6
    value, first = combined(losses, spread)
    np.testing.assert_allclose(value, losses.mean(axis=1) + spread * losses.std(axis=1))
    above, below = (combined(losses + h * slopes, spread) for h in (step, -step))
    np.testing.assert_allclose(
        (first * slopes).sum(axis=1), (above[0] - below[0]) / (2 * step), rtol=1e-8
    )
    np.testing.assert_allclose(
        second_along(losses, slopes, spread), (above[1] - below[1]) / (2 * step), atol=1e-8
    )


def test_equal_losses_have_no_spread() -> None:
    losses = 0.1 + np.array([[0.0, 1e-17, -1e-17]])
    value, first = combined(losses, 2.0)
    assert value[0] == pytest.approx(0.1) and first == pytest.approx(1.0 / 3.0)
    assert np.all(second_along(losses, np.ones((1, 3)), 2.0) == 0.0)


@pytest.mark.parametrize("weight", [0.0, 1.5])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_the_slope_of_the_same_estimate(
    name: str, weight: float, events: dj.EventBatch
) -> None:
    """Without statistics: the same trees of each version weighted by P(R + h) / P(R)."""
    loss, settings = LOSSES[name], {"rigidity": 1.0, "jets": 2}
    robust = dj.Robust(loss, CHANGES, weight)
    made = robust.made(events, seed=4)
    grown = [cluster(each, radius=0.7, trees=30, history=True, **settings) for each in made]

    def value(radius: float) -> float:
        losses = []
        for each, sample in zip(made, grown, strict=True):
            again = replay(each, sample.history, radius=radius, **settings)
            ratio, total = np.exp(again.log_prob - sample.log_prob), 0.0
            for term in loss.terms:
                _, quantities, accepted = term.evaluate(sample.jets, each.truth)
                means = [(quantity * ratio).mean(axis=1) for quantity in quantities]
                means.append(1.0 - (~accepted * ratio).mean(axis=1))
                sums = np.array([mean.sum() for mean in means])
                total += term.coefficient * float(term.statistic.value(sums))
            losses.append(total)
        return float(np.mean(losses) + weight * np.std(losses))

    parts = [Grown(each, sample, ()) for each, sample in zip(made, grown, strict=True)]
    ((found, _),) = reduce_events(parts, robust, Score(), None, [len(events)])
    assert found.loss().value == pytest.approx(value(0.7), rel=1e-12)
    slope = (value(0.7 + 1e-5) - value(0.7 - 1e-5)) / 2e-5
    assert found.gradient().value == pytest.approx(slope, rel=1e-6)


def test_each_event_alone_is_a_sample_of_one(events: dj.EventBatch) -> None:
    loss = dj.SquaredError(MASS, target=110.0, scale=110.0)
    robust, settings = dj.Robust(loss, CHANGES, 0.8), {"radius": 0.7, "trees": 12}
    together = dj.gradient(events.select(range(6)), robust, **settings).per_event
    for i in range(6):
        alone = dj.gradient(events.select([i]), robust, **settings)
        assert together.loss[i] == pytest.approx(alone.loss.value, rel=1e-12)
        assert together.gradient[i] == pytest.approx(alone.value, rel=1e-10)
        assert together.gradient_error[i] == pytest.approx(alone.tree_error, rel=1e-6)


def test_errors_are_those_of_leaving_out_one_event(events: dj.EventBatch) -> None:
    """The versions are of the same events, and their errors add up like those of one."""
    robust = dj.Robust(SQUARED, CHANGES, 1.0)
    all_events = range(len(events))
    parts = [
        evaluate(events.select([i]), robust, LeaveOneOut(), Sampling(), radius=0.7, trees=40)[0]
        for i in all_events
    ]
    total = sum(parts[1:], parts[0])
    without = [sum((p for p in parts[1:] if p is not part), parts[0]) for part in parts[1:]]
    for name in ("loss", "gradient"):
        values = [getattr(each, name)().value for each in without]
        jackknife = np.sqrt((len(values) - 1) * np.var(values))
        assert getattr(total, name)().error == pytest.approx(jackknife, rel=0.15)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_versions_that_are_the_same_change_nothing(weight: float, events: dj.EventBatch) -> None:
    settings: dict[str, Any] = {"radius": 0.7, "trees": 10, "seed": 2}
    plain = dj.gradient(events, SQUARED, **settings)
    robust = dj.gradient(events, dj.Robust(SQUARED, [Scale(1.0), Drop(0.0)], weight), **settings)
    assert robust.loss.value == pytest.approx(plain.loss.value, rel=1e-12)
    assert robust.loss.error == pytest.approx(plain.loss.error, rel=1e-9)
    assert robust.value == pytest.approx(plain.value, rel=1e-12)
    assert robust.error == pytest.approx(plain.error, rel=1e-9)
    rotated = dj.gradient(events, dj.Robust(SQUARED, [Rotate()], weight), **settings)
    assert rotated.loss.value == pytest.approx(plain.loss.value, rel=1e-9)


def test_each_version_is_the_loss_of_the_augmented_events(events: dj.EventBatch) -> None:
    """With the draws of an augmentation at the end of the chain of the input."""
    first = augmented(events, [Drop(0.1)], seed=3)
    robust = dj.Robust(SQUARED, [Smear(0.5), Collinear(0.3)], before=1)
    settings: dict[str, Any] = {"radius": 0.7, "trees": 10, "seed": 3}
    together = dj.gradient(first, robust, **settings).moments
    for version, change in enumerate((None, *robust.augmentations)):
        chain = [Drop(0.1)] if change is None else [Drop(0.1), change]
        alone = dj.gradient(augmented(events, chain, seed=3), SQUARED, **settings)
        one = np.eye(3)[version]
        assert together.loss_along(one) == alone.loss
        assert together.gradient_along(one).value == alone.value
        assert dj.gradient(first, robust.alone(version), **settings).value == alone.value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dj.Robust(SQUARED, []), "augmentations is [], expected augmentations"),
        (lambda: dj.Robust(SQUARED, ["smear"]), "augmentations is ['smear'], expected"),  # type: ignore[list-item]
        (
            lambda: dj.Robust(SQUARED, [Rotate(), Smear(), Smear(0.1)]),
            "augmentations[2] is Smear(scale=0.1, pt_min=0.1) again, expected different",
        ),
        (lambda: dj.Robust(SQUARED, [Smear()], -1.0), "weight is -1, expected 0 or more"),
        (lambda: dj.Robust(MASS, [Smear()]), "expected a loss such as"),  # type: ignore[arg-type]
        (
            lambda: dj.Robust(dj.MutualInformation(MASS, bins=(4, 4)), [Smear()]),
            "Robust is for a loss, and this is an objective that is maximised",
        ),
        (
            lambda: dj.RadiusProcessor(dj.Robust(Mean(MASS), [Smear()]), radius=0.7),
            "expected a loss or an observable, found Robust",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((InputError, TypeError), match=re.escape(message)):
        make()
