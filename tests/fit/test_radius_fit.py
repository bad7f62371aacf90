"""A fit without a cluster: it is given "evaluate this", here a loss that is known."""

import asyncio
import io
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import RunError
from djservice.evaluation.moments import Quantity
from djservice.evaluation.reduce import PerEvent
from djservice.fit.descent import Descent, Parameter
from djservice.fit.iterations import Iterations
from djservice.fit.radius_fit import OPTIMISERS, RadiusFit, spectrum_radii
from djservice.fit.requests import Request
from djservice.fit.result import Result
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store

KEYS = np.arange(10, dtype=np.uint64) * 2**60
Gradient = Callable[[Request], float]


def answer(request: Request, gradient: float) -> Any:
    """Moments and results per event as the bundles would give them."""
    quantity = {
        name: lambda value=value: Quantity(value, 0.1, 0.1)
        for name, value in (("mean", 120.0), ("sd", 30.0))
    }
    loss = (request.radius - 0.7) ** 2
    moments = SimpleNamespace(
        loss=lambda: Quantity(loss, 0.01, 0.01),
        gradient=lambda: Quantity(gradient, 0.02, 0.01),
        gradients=lambda: [Quantity(gradient, 0.02, 0.01)],
        acceptance=0.9,
        trees=40,
        events=10,
        trees_accepted=40,
        state_share=6.0,
        **quantity,
    )
    return moments, PerEvent(
        *(np.ones(10) for _ in range(4)), np.ones((10, 1)), np.ones((10, 1)), np.ones(10)
    )


def fit(
    path: Path,
    gradient: Gradient,
    asked: list[Request] | None = None,
    changed: dict[str, Any] | None = None,
    **optimiser: Any,
) -> Result:
    settings = {
        "kind": "sgd",
        "learning_rate": 0.1,
        "decay_iterations": None,
        "batch_events": 4,
        **optimiser,
    }
    sections = {
        "input": {"files": "a"},
        "loss": {},
        "optimiser": settings,
        "output": {"store": str(path)},
    }
    run = Run.from_dict(sections | (changed or {}))

    async def evaluate(request: Request) -> Any:
        if asked is not None:
            asked.append(request)
        return answer(request, gradient(request))

    shape = StoreColumns(
        run.optimiser.iterations,
        run.scan.radii,
        len(spectrum_radii(run, np.nan)),
        KEYS,
        np.ones(len(KEYS)),
    )
    with Store.open(path, {"run": run.to_dict()}, run.numbers, shape) as store:
        return asyncio.run(
            RadiusFit(run, KEYS, evaluate, store, Lines(io.StringIO())).run_to_completion()
        )


def downhill(request: Request) -> float:
    return 2.0 * (request.radius - 0.7)


def test_it_finds_the_minimum_with_its_error(tmp_path: Path) -> None:
    result = fit(tmp_path / "a.zarr", downhill, iterations=200)
    assert result.radius == pytest.approx(0.7, abs=1e-6)
    assert result.curvature == pytest.approx(2.0, rel=1e-9)
    steps = result.newton_steps
    assert steps == 4  # until 0.01 / sqrt(steps) is a third of the events' part
    events, trees = math.sqrt(0.02**2 - 0.01**2) / 2.0, 0.01 / math.sqrt(steps) / 2.0
    assert result.radius_error_events == pytest.approx(events)
    assert result.radius_error_trees == pytest.approx(trees)
    assert result.radius_error_optimiser == pytest.approx(0.0, abs=1e-6)
    assert result.radius_error == pytest.approx(math.hypot(events, trees))
    assert (result.iterations, result.epoch_remainder, result.converged) == (200, 2, True)
    assert result.remarks == ()


def test_the_end_of_a_short_descent_is_left_for_the_root(tmp_path: Path) -> None:
    result = fit(tmp_path / "a.zarr", downhill, iterations=2)
    assert result.converged
    assert result.radius == pytest.approx(0.7, abs=1e-3)


def test_newton_steps_of_a_shorter_run_are_taken_again(tmp_path: Path) -> None:
    fit(tmp_path / "a.zarr", downhill, iterations=2)
    asked: list[Request] = []
    continued = fit(tmp_path / "a.zarr", downhill, asked, iterations=3)
    assert continued == fit(tmp_path / "b.zarr", downhill, iterations=3)
    assert [request.stream for request in asked].count("newton") == continued.newton_steps


LOW = {"radius": {"start": 0.5, "maximum": 0.6}}


@pytest.mark.parametrize(
    ("changed", "gradient", "objection"),
    [
        (LOW, downhill, "R is at a bound"),
        (LOW, downhill, "dL/dR leads beyond the bound R = 0.6"),
        ({}, lambda r: 2.0 * (r.radius - 0.9), "the loss is lower at R = 0.7: it is 0.0000"),
        ({"scan": {"radii": [0.8, 0.9, 1.0, 1.1]}}, lambda r: 2.0 * (r.radius - 1.0), "still falls towards R = 0.8"),
        ({}, lambda r: downhill(r) + 0.2 * (r.stream == "spectrum"), "on fresh trees, more than three times"),
    ],
)  # fmt: skip
def test_what_is_no_optimum_is_not_called_one(
    changed: dict[str, Any], gradient: Gradient, objection: str, tmp_path: Path
) -> None:
    result = fit(tmp_path / "a.zarr", gradient, changed=changed, iterations=20)
    assert not result.converged
    assert any(objection in remark for remark in result.remarks), result.remarks


def test_an_epoch_takes_every_event_at_most_once_and_another_order_next(tmp_path: Path) -> None:
    from djservice.fit.minibatches import ranks

    asked: list[Request] = []
    fit(tmp_path / "a.zarr", downhill, asked, iterations=6)
    batches = []
    for request in asked[:6]:
        minibatch = request.subset
        assert minibatch is not None
        rank = ranks(KEYS, minibatch.seed, minibatch.epoch)
        batches.append(
            frozenset(
                np.flatnonzero(
                    (rank >= np.uint64(minibatch.low)) & (rank <= np.uint64(minibatch.high))
                )
            )
        )
    assert [len(batch) for batch in batches] == [4] * 6
    assert all(
        not batches[k] & batches[k + 1] for k in (0, 2, 4)
    )  # two batches of four in an epoch of ten
    assert len(set(batches)) > 2
    assert all(request.subset is None for request in asked[6:])  # scan and spectrum take all events
    assert len({(request.stream, request.iteration) for request in asked}) == len(
        asked
    )  # and their own trees


def test_it_is_replayed_without_asking_again(tmp_path: Path) -> None:
    first = fit(tmp_path / "a.zarr", downhill, iterations=20, kind="adam")
    asked: list[Request] = []
    assert fit(tmp_path / "a.zarr", downhill, asked, iterations=20, kind="adam") == first
    assert asked == []


def test_more_iterations_of_a_run_that_stands_still_sooner(tmp_path: Path) -> None:
    """With more iterations the average starts later, here behind the last move, and stands still within the old ones."""

    def moves(request: Request) -> float:
        return 0.5 if request.stream == "train" and request.iteration < 58 else 0.0

    still = {"tolerance": 1e-3}
    shorter = fit(tmp_path / "a.zarr", moves, iterations=110, **still)
    assert shorter.iterations == 110
    assert "did not stand still" in " ".join(shorter.remarks)
    continued = fit(tmp_path / "a.zarr", moves, iterations=120, **still)
    whole = fit(tmp_path / "b.zarr", moves, iterations=120, **still)
    assert whole.iterations == 101
    assert "did not stand still" not in " ".join(whole.remarks)
    assert repr(continued) == repr(whole)  # NaN differs from itself
    a, b = (Store.read(tmp_path / name) for name in ("a.zarr", "b.zarr"))
    for name in ("radius", "radius_average", "gradient"):
        assert np.array_equal(a.column("history", name), b.column("history", name))


def test_a_gradient_that_is_not_a_number_stops_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"iteration 3 at R = 0\.\d{4}: dL/dR is nan"):
        fit(
            tmp_path / "a.zarr",
            lambda request: np.nan if request.iteration == 3 else 0.5,
            iterations=9,
        )
    store = Store.read(tmp_path / "a.zarr")
    assert store.n_complete("history") == 3
    assert store.attributes["status"] == "failed"
    fit(tmp_path / "a.zarr", lambda request: 0.5, iterations=9)
    fit(tmp_path / "b.zarr", lambda request: 0.5, iterations=9)
    whole = Store.read(tmp_path / "b.zarr")
    assert np.array_equal(store.array("history", "radius")[:9], whole.column("history", "radius"))


@pytest.mark.parametrize(
    ("changed", "remark"),
    [
        (
            {"scan": {"radii": [0.3, 0.301, 0.302, 0.303, 0.304]}},
            "does not determine the curvature",
        ),
        ({"loss": {"kind": "robust_width"}}, "too small with 10 events, fewer than 200"),
    ],
)
def test_a_result_whose_error_is_in_doubt_says_so(
    changed: dict[str, Any], remark: str, tmp_path: Path
) -> None:
    result = fit(tmp_path / "a.zarr", downhill, changed=changed, iterations=3)
    assert any(remark in text for text in result.remarks)
    assert np.isnan(result.radius_error) == ("scan" in changed)


def test_a_parameter_that_leaves_the_numbers_ends_the_run(tmp_path: Path) -> None:
    """NaN differs from itself, so the store of such a run would be refused by its own run."""
    none = np.empty((0, 1))
    store = SimpleNamespace(
        path="a", column=lambda *_: none, array=lambda *_: none, n_complete=lambda _: 0,
        write_rows=print,
    )  # fmt: skip
    free = Descent((Parameter("w", 0.0),), OPTIMISERS["sgd"](), 1e10, None, 0)

    async def evaluate(iteration: int, values: list[float]) -> Any:
        return answer(Request(0.7, 4, "train"), 1e300)[0]

    iterations = Iterations(store, "radius_model", Lines(io.StringIO()), "train", free, 3, evaluate)  # type: ignore[arg-type]
    with pytest.raises(
        RunError, match=r"iteration 0 at w = 0.0000: the next step leads to w = -inf"
    ):
        asyncio.run(iterations.run_to_completion())
