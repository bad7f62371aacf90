"""R of each version of the events: Newton steps of each, a table of shifts, and what is done again."""

import asyncio
import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.evaluation.moments import Quantity
from djservice.evaluation.reduce import PerEvent
from djservice.fit.curvature import curvature_at
from djservice.fit.radius_fit import RadiusFit, spectrum_radii
from djservice.fit.requests import Request
from djservice.fit.versions_fit import version_curvature, version_scan
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store

KEYS = np.arange(10, dtype=np.uint64) * 2**60
#: R of the least loss of each version: the events as they are, and two augmentations.
ROOTS = np.array([0.7, 0.72, 0.65])


def answer(request: Request) -> Any:
    """Moments of losses (R - root)^2 with a constant part of the errors."""
    roots = ROOTS if request.version is None else ROOTS[[request.version]]
    losses, slopes = (request.radius - roots) ** 2, 2.0 * (request.radius - roots)

    def along(values: Any, factors: Any) -> Quantity:
        size = float(np.abs(factors).sum())
        return Quantity(float(factors @ values), 0.02 * size, 0.01 * size)

    equal = np.full(len(roots), 1.0 / len(roots))
    moments = SimpleNamespace(
        loss=lambda: along(losses, equal),
        gradient=lambda: along(slopes, equal),
        gradients=lambda: [along(slopes, equal)],
        loss_along=lambda factors: along(losses, factors),
        gradient_along=lambda factors: along(slopes, factors),
        mean=lambda: Quantity(120.0 + (request.version or 0), 0.1, 0.1),
        sd=lambda: Quantity(30.0, 0.1, 0.1),
        layout=SimpleNamespace(versions=len(roots)),
        acceptance=0.9,
        trees=40,
        events=10,
        trees_accepted=40,
        state_share=6.0,
    )
    return moments, PerEvent(*(np.ones(10) for _ in range(7)))


def fit(path: Path, iterations: int, asked: list[Request] | None = None) -> Store:
    optimiser = {"kind": "sgd", "learning_rate": 0.1, "decay_iterations": None, "batch_events": 4}
    run = Run.from_dict(
        {
            "input": {"files": "a"},
            "loss": {},
            "robust": {"augmentations": ["smear", {"name": "drop", "probability": 0.1}]},
            "optimiser": optimiser | {"iterations": iterations},
            "scan": {"radii": [0.5, 0.65, 0.8, 1.0]},
            "output": {"store": str(path)},
        }
    )

    async def evaluate(request: Request) -> Any:
        if asked is not None:
            asked.append(request)
        return answer(request)

    shape = StoreColumns(
        iterations,
        run.scan.radii,
        len(spectrum_radii(run, np.nan)),
        KEYS,
        np.ones(len(KEYS)),
        versions=3,
    )
    with Store.open(path, {"run": run.to_dict()}, run.numbers, shape) as store:
        asyncio.run(RadiusFit(run, KEYS, evaluate, store, Lines(io.StringIO())).run_to_completion())
    return Store.read(path)


def test_each_version_has_its_own_radius_and_shift(tmp_path: Path) -> None:
    store = fit(tmp_path / "a.zarr", 30)
    assert store.attributes["result"]["radius"] == pytest.approx(ROOTS.mean(), abs=1e-6)
    table = store.attribute("robust", "table")
    assert [row["name"] for row in table] == ["none", "smear", "drop (probability 0.1)"]
    assert [row["radius"] for row in table] == pytest.approx(ROOTS, abs=1e-6)
    assert table[0]["shift"] is None and table[0]["shift_error"] is None
    shifts = [row["shift"] for row in table[1:]]
    assert shifts == pytest.approx(ROOTS[1:] - ROOTS[0], abs=1e-6)
    # Over events 2 sqrt(0.02^2 - 0.01^2) / 2; and over the trees of both fits, which settle alike.
    steps = int((store.column("robust", "version") == 1).sum())
    expected = math.hypot(math.sqrt(0.02**2 - 0.01**2), math.sqrt(2.0 / steps) * 0.01 / 2.0)
    assert table[1]["shift_error"] == pytest.approx(expected, rel=0.05)
    assert [row["mean"] for row in table] == [120.0, 121.0, 122.0]


def scans(curvatures: list[float], error: float) -> Any:
    """A store with the scans of parabolas of these curvatures around 0.7, whose slopes are noisy."""
    radii = np.linspace(0.4, 1.0, 7)
    noise = np.random.default_rng(2).normal(0.0, error, (7, len(curvatures)))
    c = np.array(curvatures)
    columns = {
        "radius": radii,
        "version_loss": c * (radii[:, np.newaxis] - 0.7) ** 2 / 2.0,
        "version_gradient": c * (radii[:, np.newaxis] - 0.7) + noise,
        "version_loss_tree_error": np.full((7, len(c)), 0.3 * error),
        "version_gradient_tree_error": np.full((7, len(c)), error),
    }
    return SimpleNamespace(column=lambda _, name: columns[name])


def test_a_noisy_curvature_is_that_of_all_versions_and_a_clearly_different_one_its_own() -> None:
    noisy = scans([2.0, 2.0, 2.0, 2.0], 0.6)
    found = [version_curvature(noisy, version)(0.7) for version in range(4)]
    assert len(set(found)) == 1  # so shifts are made of slopes alone
    alone = [curvature_at(0.7, version_scan(noisy, version)) for version in range(4)]
    assert len(set(alone)) == 4
    mean, error = np.mean([c for c, _ in alone]), np.mean([e for _, e in alone])
    assert found[0] == pytest.approx((mean, error), rel=1e-9)  # no smaller, if trees are common
    other = scans([2.0, 2.0, 2.0, 9.0], 0.05)
    of_each = [version_curvature(other, version)(0.7)[0] for version in range(4)]
    assert of_each == pytest.approx([2.0, 2.0, 2.0, 9.0], rel=0.2)


def test_a_finished_run_asks_for_nothing_again(tmp_path: Path) -> None:
    first = fit(tmp_path / "a.zarr", 6).attribute("robust", "table")
    asked: list[Request] = []
    again = fit(tmp_path / "a.zarr", 6, asked)
    assert asked == [] and again.attribute("robust", "table") == first


def test_steps_from_another_radius_are_taken_again(tmp_path: Path) -> None:
    fit(tmp_path / "a.zarr", 2)
    asked: list[Request] = []
    continued = fit(tmp_path / "a.zarr", 6, asked)
    assert {request.version for request in asked if request.stream == "newton"} == {None, 0, 1, 2}
    whole = fit(tmp_path / "b.zarr", 6)
    assert continued.attribute("robust", "table") == whole.attribute("robust", "table")
    for name in ("radius", "gradient", "version"):
        np.testing.assert_array_equal(
            continued.column("robust", name), whole.column("robust", name)
        )
