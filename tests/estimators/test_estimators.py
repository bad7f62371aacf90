"""Every estimator against analytic and exact derivatives: unbiased, with an honest standard error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from djservice import observables
from djservice.batch import EventBatch
from djservice.estimators import ESTIMATORS, Estimator, LeaveOneOut, Score, StateBaseline
from djservice.evaluate import gradient

TABLES = Path(__file__).parents[1] / "kernels" / "data"

#: A new unbiased estimator is tested by adding a row.
UNBIASED = [Score(), LeaveOneOut(), StateBaseline()]


def test_every_estimator_has_its_row() -> None:
    assert {type(estimator) for estimator in UNBIASED} == set(ESTIMATORS)


def one_decision(t: float, events: int, trees: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f = sin t with probability sigmoid(t), else cos t: values, scores and the pathwise df/dt of each sample."""
    p = 1.0 / (1.0 + np.exp(-t))
    taken = np.random.default_rng(seed).random((events, trees)) < p
    value, slope = np.where(taken, np.sin(t), np.cos(t)), np.where(taken, np.cos(t), -np.sin(t))
    return value, np.where(taken, 1.0 - p, -p), slope


@pytest.mark.parametrize("estimator", UNBIASED, ids=lambda e: e.name)
@pytest.mark.parametrize("t", [-1.0, 0.3, 2.0])
@pytest.mark.parametrize("trees", [2, 3, 50])
def test_unbiased_on_one_decision(estimator: Estimator, t: float, trees: int) -> None:
    value, score, slope = one_decision(t, 20_000, trees, seed=int(100 * (t + 5)) + trees)
    estimates = (estimator.contributions(value, score) + slope).mean(axis=1)
    p = 1.0 / (1.0 + np.exp(-t))
    exact = p * (1 - p) * (np.sin(t) - np.cos(t)) + p * np.cos(t) - (1 - p) * np.sin(t)
    z = (estimates.mean() - exact) / (estimates.std(ddof=1) / np.sqrt(len(estimates)))
    assert abs(z) < 4


def tables(name: str) -> list[tuple[list, dict]]:
    events = json.loads((TABLES / f"exact_trees_{name}.json").read_text())
    # alpha = 5 rests on trees too rare to sample: enumerated in the kernel's tests.
    return [(e["particles_pt_y_phi_m"], row) for e in events for row in e["expect"] if row["rigidity"] <= 1]


@pytest.mark.parametrize("estimator", UNBIASED, ids=lambda e: e.name)
@pytest.mark.parametrize("name", ["n4", "n5", "n4_safe"])
def test_gradient_of_the_exact_tables(estimator: Estimator, name: str) -> None:
    z_mean, z_slope = [], []
    for number, (particles, row) in enumerate(tables(name)):
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


def test_leave_one_out_is_blind_to_an_offset_and_quieter() -> None:
    value, score, _ = one_decision(0.3, 2_000, 20, seed=3)
    plain, moved = (LeaveOneOut().contributions(v, score).mean(axis=1) for v in (value, value + 100.0))
    np.testing.assert_allclose(plain, moved, atol=1e-11)
    assert plain.var() < Score().contributions(value + 100.0, score).mean(axis=1).var() / 1e3
