"""Every estimator against analytic and exact derivatives: unbiased, with an honest standard error."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brute_force import Setting, enumerate_trees, event_of, final_jets, shipped_events, to_batch

from djservice import SquaredError, cuts, observables
from djservice.clustering.cluster import cluster, replay
from djservice.clustering.radius import VariableR
from djservice.errors import InputError
from djservice.estimators.alternative_path import AlternativePath
from djservice.estimators.base import Estimator, TreeValues
from djservice.estimators.finite_difference import FiniteDifference
from djservice.estimators.gumbel_softmax import GumbelSoftmax
from djservice.estimators.registry import ESTIMATORS
from djservice.estimators.score_function import (
    LeaveOneOut,
    MeanBaseline,
    OptimalBaseline,
    Score,
    ScoreEstimator,
)
from djservice.estimators.sigmoid_relaxation import SigmoidRelaxation, relaxed_jets
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.gradient import gradient
from djservice.events.batch import EventBatch

TABLES = Path(__file__).parents[1] / "clustering" / "data"

#: A new estimator is tested by adding a row.
SCORE_TYPE: list[ScoreEstimator] = [
    Score(),
    LeaveOneOut(),
    StateBaseline(),
    MeanBaseline(),
    OptimalBaseline(),
]
UNBIASED: list[Estimator] = [*SCORE_TYPE, AlternativePath(), AlternativePath(all_steps=True)]
FINITE = [FiniteDifference(), FiniteDifference(common=False)]
BIASED: list[Estimator] = [*FINITE, SigmoidRelaxation(), GumbelSoftmax()]


def test_every_estimator_has_its_row() -> None:
    assert {type(estimator) for estimator in [*UNBIASED, *BIASED]} == set(ESTIMATORS)


def one_decision(
    t: float, events: int, trees: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f = sin t with probability sigmoid(t), else cos t: values, scores and the pathwise df/dt of each sample."""
    p = 1.0 / (1.0 + np.exp(-t))
    taken = np.random.default_rng(seed).random((events, trees)) < p
    value, slope = np.where(taken, np.sin(t), np.cos(t)), np.where(taken, np.cos(t), -np.sin(t))
    return value, np.where(taken, 1.0 - p, -p), slope


@pytest.mark.parametrize("estimator", SCORE_TYPE, ids=lambda e: e.name)
@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
@pytest.mark.parametrize("trees", [2, 3, 50])
def test_unbiased_on_one_decision(estimator: ScoreEstimator, t: float, trees: int) -> None:
    value, score, slope = one_decision(t, 20_000, trees, seed=int(100 * (t + 5)) + trees)
    estimates = (estimator.contributions(value, score) + slope).mean(axis=1)
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    z = (estimates.mean() - exact) / (estimates.std(ddof=1) / np.sqrt(len(estimates)))
    assert abs(z) < 4


@pytest.mark.parametrize("rare", [0.02, 0.1])
def test_the_error_of_a_fitted_baseline_holds_where_rare_trees_rule(rare: float) -> None:
    """Two rare kinds of trees have nearly all of S^2; few draws of the rarest skew the error of leave-one-out, too."""
    probability = np.array([1.0 - 1.2 * rare, rare, 0.2 * rare])
    value, score = np.array([10.0, 40.0, 70.0]), np.array([0.0, 1.0, 3.0])
    score -= probability @ score
    kind = np.random.default_rng(7).choice(3, size=(400, 1000), p=probability)

    def mean_square_of_z(estimator: ScoreEstimator) -> float:
        found = estimator.contributions(value[kind], score[kind])
        error = found.std(axis=1, ddof=1) / np.sqrt(kind.shape[1])
        return float(np.mean(((found.mean(axis=1) - (probability * value) @ score) / error) ** 2))

    # The baseline that is optimal for the drawn trees has 5,000 times the one of leave-one-out.
    assert mean_square_of_z(OptimalBaseline()) < 1.5 * mean_square_of_z(LeaveOneOut())


@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
def test_alternative_path_on_one_decision(t: float) -> None:
    """cos t loses probability to sin t at the rate p; what is sin t already stays."""
    value, score, slope = one_decision(t, 20_000, 3, seed=int(100 * (t + 5)))
    alternative = np.where(score < 0, np.sin(t), value)
    rate = np.maximum(-score, 0.0)
    values = TreeValues(
        value, np.ones_like(value), score, extra=((alternative, np.ones_like(value), rate),)
    )
    estimates = (AlternativePath().slopes(values).quantity + slope).mean(axis=1)
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    assert abs(estimates.mean() - exact) < 4 * estimates.std(ddof=1) / np.sqrt(len(estimates))


@pytest.mark.parametrize("estimator", FINITE, ids=["common", "independent"])
@pytest.mark.parametrize("step", [0.05, 0.2])
def test_finite_difference_on_one_decision(estimator: FiniteDifference, step: float) -> None:
    """Its estimand is the central difference, which differs from the derivative by step^2 / 6 of the third."""
    t, trees = -1.0, 400_000

    def expectation(t: float) -> float:
        p = 1.0 / (1.0 + np.exp(-t))
        return p * np.sin(t) + (1 - p) * np.cos(t)

    seeds = (1, 1) if estimator.common else (1, 2)
    ends = [
        one_decision(t + s, 1, trees, seed)[0] for s, seed in zip((step, -step), seeds, strict=True)
    ]
    one = np.ones_like(ends[0])
    weight = np.array(0.5 / step)
    values = TreeValues(one, one, one, extra=((ends[0], one, weight), (ends[1], one, -weight)))
    found = FiniteDifference(step, estimator.common).slopes(values).quantity
    central = (expectation(t + step) - expectation(t - step)) / (2 * step)
    error = found.std() / np.sqrt(trees)
    assert abs(found.mean() - central) < 4 * error
    h = 1e-3
    slope = (expectation(t + h) - expectation(t - h)) / (2 * h)
    third = (
        expectation(t + 2 * h * 10)
        - 2 * expectation(t + h * 10)
        + 2 * expectation(t - h * 10)
        - expectation(t - 2 * h * 10)
    ) / (2 * (h * 10) ** 3)
    assert central - slope == pytest.approx(step**2 / 6 * third, rel=0.1)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.5, -0.0515), (0.1, 0.3362)])
def test_sigmoid_relaxation_on_one_decision(temperature: float, bias: float) -> None:
    """sigmoid(t/T) sin t + (1 - sigmoid(t/T)) cos t instead of the expectation: the same at T = 1 alone; the bias as it is."""
    t, one = 0.3, np.ones((1, 1))

    def relaxed(t: float) -> np.ndarray:
        p = 1.0 / (1.0 + np.exp(-t / temperature))
        return np.full((1, 1), p * np.sin(t) + (1 - p) * np.cos(t))

    step = 1e-4  # the estimator's own
    values = TreeValues(
        one,
        one,
        one,
        extra=(
            (relaxed(t + step), one, 0.5 * one / step),
            (relaxed(t - step), one, -0.5 * one / step),
        ),
    )
    found = SigmoidRelaxation(temperature).slopes(values).quantity[0, 0]
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    q = 1.0 / (1.0 + np.exp(-t / temperature))
    of_relaxed = (
        q * (1 - q) / temperature * (np.sin(t) - np.cos(t)) + q * np.cos(t) - (1 - q) * np.sin(t)
    )
    assert found == pytest.approx(of_relaxed, rel=1e-6)
    assert found - exact == pytest.approx(bias, abs=1e-4)


def tables(name: str) -> list[tuple[list, dict]]:
    events = json.loads((TABLES / f"exact_trees_{name}.json").read_text())
    # alpha = 5 rests on trees too rare to sample: enumerated in the kernel's tests.
    return [
        (e["particles_pt_y_phi_m"], row)
        for e in events
        for row in e["expect"]
        if row["rigidity"] <= 1
    ]


def on_tables(estimators: list[Any], names: list[str]) -> list[Any]:
    """Every estimator on the first of these, the usual ones on all; in the long form every one on all, and on each row."""
    usual = (LeaveOneOut, StateBaseline, AlternativePath)
    return [
        pytest.param(
            estimator,
            name,
            every,
            marks=[]
            if every == 3 and (name == names[0] or isinstance(estimator, usual))
            else pytest.mark.long,
            id=f"{estimator.name}-{name}-{rows}",
        )
        for estimator in estimators
        for name in names
        for rows, every in (("some rows", 3), ("all rows", 1))
    ]


@pytest.mark.parametrize(
    ("estimator", "name", "every"), on_tables(UNBIASED, ["n4", "n5", "n4_safe"])
)
def test_gradient_of_the_exact_tables(estimator: Estimator, name: str, every: int) -> None:
    z_mean, z_slope = [], []
    for number, (particles, row) in list(enumerate(tables(name)))[::every]:
        pt, y, phi, mass = np.array(particles).T
        event = EventBatch.from_arrays(pt=pt, rapidity=y, phi=phi, mass=mass, offsets=[0, len(pt)])
        found = gradient(
            event,
            observables.dijet_mass,
            radius=row["radius"],
            rigidity=row["rigidity"],
            power=row["exponent"],
            scale="safe" if row["asymmetry"] else "minimum",
            asymmetry=row["asymmetry"] or 1.0,
            estimator=estimator,
            trees=20_000,
            seed=1000 + number,
        )
        z_mean.append((found.per_event.mean[0] - row["mean"]) / found.per_event.mean_error[0])
        z_slope.append((found.value - row["d_radius"]) / found.tree_error)
        assert found.per_event.gradient[0] == pytest.approx(found.value, rel=1e-12)
        assert found.per_event.gradient_error[0] == pytest.approx(found.tree_error, rel=1e-12)
    for z in (np.array(z_mean), np.array(z_slope)):
        assert np.abs(z).max() < 4
        # Mean and variance of z over the rows, against those of a standard normal.
        assert abs(z.mean()) * np.sqrt(len(z)) < 4
        assert abs(z.var() - 1.0) / np.sqrt(2.0 / len(z)) < 4


@pytest.mark.parametrize(
    ("estimator", "parameter", "every"), on_tables(SCORE_TYPE, ["rigidity", "power"])
)
def test_other_parameters_of_the_exact_tables(
    estimator: ScoreEstimator, parameter: str, every: int
) -> None:
    column = {"rigidity": "d_rigidity", "power": "d_exponent"}[parameter]
    z = []
    rows = list(enumerate(tables("n4") + tables("n4_safe")))
    for number, (particles, row) in rows[::every]:
        if row[column] is None or row["exponent"] == 0:
            continue
        found = gradient(
            to_batch([particles]),
            observables.dijet_mass,
            radius=row["radius"],
            rigidity=row["rigidity"],
            power=row["exponent"],
            scale="safe" if row["asymmetry"] else "minimum",
            asymmetry=row["asymmetry"] or 1.0,
            parameter=parameter,
            estimator=estimator,
            trees=20_000,
            seed=3000 + number,
        )
        z.append((found.value - row[column]) / found.tree_error)
    assert len(z) > 20 // every
    assert np.abs(z).max() < 4
    assert abs(np.mean(z)) * np.sqrt(len(z)) < 4


def test_variable_r_has_a_gradient() -> None:
    """d E[m] / d rho against the difference of independent trees at rho + h and rho - h."""
    events, step = shipped_events().select(range(4)), 6.0
    found = gradient(
        events, observables.dijet_mass, radius=VariableR(30.0, 0.2, 1.2), trees=600, seed=1
    )
    high, low = (
        gradient(
            events,
            observables.dijet_mass,
            radius=VariableR(30.0 + s, 0.2, 1.2),
            trees=600,
            seed=2 + (s > 0),
        )
        for s in (step, -step)
    )
    slope = (high.loss.value - low.loss.value) / (2 * step)
    error = np.hypot(
        found.tree_error, np.hypot(high.loss.tree_error, low.loss.tree_error) / (2 * step)
    )
    assert abs(found.value - slope) < 4 * error
    assert abs(slope) > 4 * error


@pytest.mark.parametrize(
    "estimator", [AlternativePath(), AlternativePath(all_steps=True), *BIASED], ids=lambda e: e.name
)
def test_estimators_of_the_radius_alone(estimator: Estimator) -> None:
    event = shipped_events().select([0])
    for arguments in ({"radius": 0.7, "parameter": "rigidity"}, {"radius": VariableR(30.0)}):
        with pytest.raises(InputError, match="gives only d/dR, with one R or one per event"):
            gradient(event, observables.dijet_mass, trees=4, estimator=estimator, **arguments)


def exact_mean(particles: list, row: dict, radius: float) -> float:
    """E[dijet mass] of a tiny event at another R, every merge sequence weighed by the kernel."""
    histories = list(enumerate_trees(np.array(particles)))
    masses = [
        objects.leading_mass(jets)
        for objects, jets in (final_jets(particles, each) for each in histories)
    ]
    setting = Setting(radius, row["rigidity"], row["exponent"], row["asymmetry"] or None)
    return float(
        np.exp(replay(to_batch([particles]), np.array(histories), **setting.arguments).log_prob[0])
        @ masses
    )


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("step", [0.02, 0.2])
def test_finite_difference_of_the_exact_tables(common: bool, step: float) -> None:
    """Unbiased for the central difference; its bias for the derivative is that of the step, recorded here."""
    z, biases = [], []
    for number, (particles, row) in list(enumerate(tables("n4")[::2]))[::3]:
        pt, y, phi, mass = np.array(particles).T
        event = EventBatch.from_arrays(pt=pt, rapidity=y, phi=phi, mass=mass, offsets=[0, len(pt)])
        found = gradient(
            event,
            observables.dijet_mass,
            radius=row["radius"],
            rigidity=row["rigidity"],
            power=row["exponent"],
            estimator=FiniteDifference(step, common),
            trees=20_000,
            seed=2000 + number,
        )
        ends = [exact_mean(particles, row, row["radius"] + s) for s in (step, -step)]
        central = (ends[0] - ends[1]) / (2 * step)
        z.append((found.value - central) / found.tree_error)
        biases.append(abs(central - row["d_radius"]) / max(abs(row["d_radius"]), 1.0))
    assert np.abs(z).max() < 4
    assert abs(np.mean(z)) * np.sqrt(len(z)) < 4
    # The relative bias of the step itself falls like its square.
    assert np.median(biases) < (1e-3 if step == 0.02 else 0.1)


def test_relaxed_jets_become_cones() -> None:
    """T -> 0: a jet is what lies within R of its axis; at any T momentum is at most what there is."""
    events = shipped_events().select(range(12))
    exact = cluster(events, radius=0.6, rigidity=np.inf, jets=8)
    sharp = relaxed_jets(events, np.full(12, 0.6), exact.jets, 1e-9, 2)
    assert sharp.shape == (12, 1, 2)
    for event in range(12):
        own = event_of(events, event)
        cones = []
        for y, phi in zip(exact.jets.rapidity[event, 0], exact.jets.phi[event, 0], strict=True):
            dphi = np.abs(own[:, 2] - phi)
            inside = np.hypot(own[:, 1] - y, np.minimum(dphi, 2 * np.pi - dphi)) < 0.6
            px, py = (own[inside, 0] * f(own[inside, 2]) for f in (np.cos, np.sin))
            cones.append(np.hypot(px.sum(), py.sum()))
        apart = exact.jets.deltaR(exact.jets[:, :, :1])[event, 0, 1:] > 1.2
        if apart.all():  # no particle lies in two cones
            assert sharp.pt[event, 0, 0] == pytest.approx(max(cones), rel=1e-9)
    soft = relaxed_jets(events, np.full(12, 0.6), exact.jets, 1.0, 8)
    energy = np.array(
        [
            (np.hypot(e[:, 0], e[:, 3]) * np.cosh(e[:, 1])).sum()
            for e in map(partial(event_of, events), range(12))
        ]
    )
    assert (np.nansum(soft.E, axis=(1, 2)) <= energy * (1 + 1e-12)).all()


def test_sigmoid_relaxation_is_the_slope_of_the_relaxed_mass_and_its_bias_is_what_it_is() -> None:
    events = shipped_events().select(range(12))
    found = gradient(
        events, observables.dijet_mass, radius=0.6, trees=2, estimator=SigmoidRelaxation(0.2)
    )
    exact = cluster(events, radius=0.6, rigidity=np.inf, jets=16)
    ends = [
        observables.dijet_mass(relaxed_jets(events, np.full(12, r), exact.jets, 0.2, 2))
        for r in (0.6002, 0.5998)
    ]
    np.testing.assert_allclose(
        found.per_event.gradient, ((ends[0] - ends[1]) / 0.0004)[:, 0], rtol=1e-4, atol=1e-3
    )
    assert found.tree_error == 0.0
    errors = []
    for particles, row in tables("n4"):
        if row["exponent"] == -1:
            batch, point = (
                to_batch([particles]),
                {"radius": row["radius"], "rigidity": row["rigidity"]},
            )
            one = gradient(
                batch, observables.dijet_mass, **point, trees=2, estimator=SigmoidRelaxation()
            )
            errors.append(abs(one.value - row["d_radius"]) / abs(row["d_radius"]))
    assert 0.9 < np.median(errors) < 1.1  # recorded in its docstring: as large as the derivative


def test_estimators_without_enough_trees_or_radius() -> None:
    event = shipped_events().select([0])
    with pytest.raises(
        InputError, match=r"trees is 1, expected 2 or more with the optimal_baseline"
    ):
        gradient(event, observables.dijet_mass, radius=0.7, trees=1, estimator=OptimalBaseline())
    with pytest.raises(
        InputError, match=r"the step 0.8 of the finite difference reaches below R = 0 from R = 0.7"
    ):
        gradient(
            event, observables.dijet_mass, radius=0.7, trees=2, estimator=FiniteDifference(0.8)
        )
    with pytest.raises(InputError, match=r"step is -1, expected a positive number"):
        FiniteDifference(-1)


def test_estimators_agree_on_real_events() -> None:
    """dL/dR of a loss with a selection, pairwise, in units of the errors over trees."""
    events = shipped_events().select(range(8))
    loss = SquaredError(observables.dijet_mass, target=80.0, scale=80.0)
    loss = loss.where(cuts.two_jets(pt_min=15.0) & cuts.mass_below(150.0))
    found = [
        gradient(events, loss, radius=0.7, trees=100, estimator=e, seed=3 + i)
        for i, e in enumerate(UNBIASED)
    ]
    values, errors = (
        np.array([getattr(g, name) for g in found]) for name in ("value", "tree_error")
    )
    best = np.average(values, weights=1 / errors**2)
    assert (np.abs(values - best) < 4 * errors).all()


def test_flipping_all_steps_is_the_mean_over_the_step_that_is_flipped() -> None:
    """The same trees: equal in expectation to one flip of each, pairwise, with less variance."""
    events = shipped_events().select(range(6))
    loss = SquaredError(observables.dijet_mass, target=80.0, scale=80.0)
    loss = loss.where(cuts.two_jets(pt_min=15.0) & cuts.mass_below(150.0))
    one, every = (
        gradient(events, loss, radius=0.7, trees=200, estimator=AlternativePath(all_steps), seed=8)
        for all_steps in (False, True)
    )
    # Var(one) = Var(every) + E[Var(one | tree)], so the variance of the difference of the two is the difference.
    apart = np.sqrt(one.tree_error**2 - every.tree_error**2)
    assert abs(one.value - every.value) < 4 * apart
    assert every.tree_error < 0.7 * one.tree_error


def test_all_flips_and_the_one_that_is_kept() -> None:
    """W is the sum of the rates of all steps; the flip that is kept is among them, as often as its rate says."""
    event, trees = shipped_events().select([3]), 2000
    one, every = (
        cluster(event, radius=0.7, rigidity=1.0, trees=trees, seed=2, flips=f)
        for f in (True, "all")
    )
    np.testing.assert_array_equal(one.momenta, every.momenta)
    assert one.flips.shape == (1, trees, 1, 4)
    kept, flips = one.flips[0, :, 0], every.flips[0]
    np.testing.assert_allclose(kept[:, 0], flips[..., 0].sum(axis=1), rtol=1e-12)
    same = (flips[..., 1] == kept[:, np.newaxis, 1]) & (flips[..., 0] > 0)
    assert (same.sum(axis=1) == (kept[:, 0] > 0)).all()
    np.testing.assert_array_equal(
        flips[same], np.column_stack([flips[same][:, 0], kept[kept[:, 0] > 0, 1:]])
    )
    there = flips[..., 1] >= 0
    assert (np.diff(there.astype(int), axis=1) <= 0).all() and (flips[~there][:, 0] == 0).all()
    share = np.divide(
        flips[..., 0], kept[:, :1], out=np.zeros_like(flips[..., 0]), where=kept[:, :1] > 0
    )
    for flip in range(5):  # the first, second ... of a tree
        expected, variance = share[:, flip].sum(), (share[:, flip] * (1 - share[:, flip])).sum()
        assert abs(same[:, flip].sum() - expected) < 4 * np.sqrt(variance)


def test_flips_of_other_trees_and_of_none() -> None:
    event = shipped_events().select([0])
    with pytest.raises(InputError, match="flips are those of 3 trees, expected one for each of 2"):
        cluster(event, radius=0.7, rigidity=1.0, trees=2, flips=np.zeros((1, 3, 4)))
    alone = to_batch([[[50.0, 0.0, 0.0, 5.0]], []])  # nothing else could happen to it
    for all_steps in (False, True):
        found = gradient(
            alone, observables.dijet_mass, radius=0.7, trees=2, estimator=AlternativePath(all_steps)
        )
        assert found.value == 0.0


@pytest.mark.parametrize("all_steps", [False, True])
def test_a_flip_by_rounding_leads_nowhere(all_steps: bool) -> None:
    """Three soft particles at the same distance from a hard one, beams beyond the cut: the mean of equal numbers is off by an ulp."""
    for pt in np.linspace(50.0, 120.0, 20):
        event = to_batch(
            [
                [
                    [pt, 1.0, 0.5, 0.0],
                    [1.0, 0.0, 0.5, 0.0],
                    [1.0, 2.0, 0.5, 0.0],
                    [1.0, 1.0, 1.5, 0.0],
                ]
            ]
        )
        point = {"radius": 5.0, "rigidity": 100.0, "scale": "safe", "trees": 20}
        found = gradient(
            event, observables.dijet_mass, **point, estimator=AlternativePath(all_steps)
        )
        assert abs(found.value) < 1e-9


def test_leave_one_out_is_blind_to_an_offset_and_quieter() -> None:
    value, score, _ = one_decision(0.3, 2_000, 20, seed=3)
    plain, moved = (
        LeaveOneOut().contributions(v, score).mean(axis=1) for v in (value, value + 100.0)
    )
    np.testing.assert_allclose(plain, moved, atol=1e-11)
    assert plain.var() < Score().contributions(value + 100.0, score).mean(axis=1).var() / 1e3
