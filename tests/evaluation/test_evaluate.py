"""Parts of a sample evaluated together have the bits that they have alone: what is shared is the cost of a call."""

from dataclasses import astuple, fields, replace

import numpy as np
import pytest

import djservice as dj
import djservice.evaluation.evaluate as evaluation
from djservice.clustering.radius import VariableR
from djservice.clustering.sampling import Sampling
from djservice.estimators.base import Estimator
from djservice.estimators.registry import ESTIMATORS
from djservice.evaluation.evaluate import EvaluationPart, evaluate, evaluate_each
from djservice.evaluation.moments import Moments
from djservice.evaluation.reduce import PerEvent, layout_of

SELECTED = dj.cuts.two_jets(pt_min=10.0)
LOSSES = {
    "squared error": dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0).where(
        SELECTED
    ),
    "of the mean": dj.SquaredErrorOfMean(dj.observables.scalar_ht(10.0), target=100.0, scale=100.0),
    "robust width": dj.RobustWidth(
        dj.observables.dijet_mass, scale=None, low=0.0, high=2.5, bins=4
    ).where(SELECTED)
    + dj.Width(dj.observables.leading_jet_mass).where(SELECTED),
}
LOSSES["mutual information"] = dj.MutualInformation(
    dj.observables.dijet_mass, bins=(4, 4), range=(0.0, 200.0), truth_range=(124.9, 125.1)
).where(SELECTED)
LOSSES["versions of the events"] = dj.Robust(
    LOSSES["squared error"], [dj.augment.Smear(0.5), dj.augment.Drop(0.2)], weight=0.7
)
#: Events of each part: none, one, few, and more than the four that are evaluated at once, whose rest is with another part.
SIZES, AT_ONCE = [0, 1, 3, 0, 7, 1, 2], 4


def same(a: Moments | PerEvent, b: Moments | PerEvent) -> None:
    for field in fields(a):
        if field.name != "layout":
            assert (
                np.asarray(getattr(a, field.name)).tobytes()
                == np.asarray(getattr(b, field.name)).tobytes()
            ), field.name


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    schema = dj.schemas.nanoaod(pt_min=3.0, truth="GenPart:higgs")
    return dj.read("example:ZHllbb_200", schema=schema, entries=(0, 30))


@pytest.mark.parametrize(
    ("name", "trees"), [*((name, 11) for name in LOSSES), ("squared error", 4)]
)  # numpy adds eight numbers or more in another order
@pytest.mark.parametrize(
    "estimator", [make() for make in ESTIMATORS], ids=lambda estimator: estimator.name
)
def test_the_same_bits_as_alone(
    events: dj.EventBatch,
    estimator: Estimator,
    name: str,
    trees: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loss = LOSSES[name]
    at_once = AT_ONCE * trees * estimator.memory_factor * layout_of(loss, 0).versions
    monkeypatch.setattr(evaluation, "TREES_AT_ONCE", at_once)
    rng = np.random.default_rng(5)
    events = events.select(range(sum(SIZES)))
    split = np.split(np.arange(len(events)), np.cumsum(SIZES)[:-1])
    own_radius, through = rng.uniform(0.4, 1.0, len(events)), rng.normal(size=(len(events), 3))
    cases = [[EvaluationPart(events.select(rows), 0.7) for rows in split]]
    cases += [
        [EvaluationPart(events.select(rows), own_radius[rows], through[rows]) for rows in split]
    ]
    if estimator.in_any_parameter:
        cases += [
            [EvaluationPart(events.select(rows), VariableR(30.0, 0.1, 1.5)) for rows in split]
        ]
    for parts in cases:
        together = evaluate_each(parts, loss, estimator, Sampling(seed=3), trees=trees, threads=1)
        for part, (moments, per_event) in zip(parts, together, strict=True):
            alone = evaluate(
                part.events,
                loss,
                estimator,
                Sampling(seed=3),
                radius=part.radius,
                jacobian=part.jacobian,
                trees=trees,
                threads=1,
            )
            same(moments, alone[0])
            same(per_event, alone[1])
            assert moments.events == len(part.events)


def test_parts_of_two_datasets_are_not_mixed(events: dj.EventBatch) -> None:
    from dataclasses import replace

    parts = [EvaluationPart(events.select([i]), 0.7) for i in range(3)]
    parts[1] = EvaluationPart(replace(parts[1].events, dataset="other"), 0.7)
    loss = LOSSES["squared error"]
    together = evaluate_each(parts, loss, dj.LeaveOneOut(), Sampling(), trees=4)
    for part, (moments, _) in zip(parts, together, strict=True):
        same(
            moments,
            evaluate(part.events, loss, dj.LeaveOneOut(), Sampling(), radius=0.7, trees=4)[0],
        )


@pytest.mark.parametrize("factor", [1e-150, 1e-100, 2.0**-300, 1e50, 1e120])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_results_do_not_depend_on_a_factor_of_all_weights(
    events: dj.EventBatch, loss: dj.SquaredError, factor: float
) -> None:
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(events))
    one, other = (
        evaluate(
            replace(events, weight=scale * weight),
            loss,
            dj.LeaveOneOut(),
            Sampling(1.0, seed=1),
            radius=0.7,
            trees=4,
        )[0]
        for scale in (1.0, factor)
    )
    for name in ("loss", "gradient", "mean", "sd"):
        for a, b in zip(
            astuple(getattr(one, name)()), astuple(getattr(other, name)()), strict=True
        ):
            assert b == pytest.approx(a, rel=1e-6)
            assert factor != 2.0**-300 or a == b
