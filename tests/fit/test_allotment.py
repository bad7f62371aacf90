"""Trees of each event in Newton's steps follow from earlier evaluations, after an interruption too."""

import asyncio
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.evaluation.allocation import allotted, pooled
from djservice.fit.allotment import Allotment
from djservice.fit.minibatches import HeldBack
from djservice.fit.radius_fit import RadiusFit, spectrum_radii
from djservice.fit.requests import Request
from djservice.fit.result import Result
from djservice.fit.scan import Scan
from djservice.on_dask.balance import cost, with_trees
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store
from tests.fit.test_radius_fit import KEYS, answer, downhill

COUNTS = np.arange(20, 20 + 7 * len(KEYS), 7)
RADII = [0.3, 0.5, 0.65, 0.7, 0.8, 0.9, 1.0]


def spread_at(radius: float) -> NDArray[np.float64]:
    spread = np.abs(np.sin(np.arange(1.0, 1 + len(KEYS)) * radius))
    spread[3] = math.nan
    return spread


def fit(path: Path, asked: list[Request], ends_after: int | None = None) -> Result:
    """A run that breaks off at the Newton step after so many."""
    run = Run.from_dict(
        {
            "input": {"files": "a"},
            "loss": {},
            "optimiser": {"iterations": 3, "batch_events": 4},
            "scan": {"radii": RADII, "trees": 10},
            "output": {"store": str(path)},
        }
    )

    async def evaluate(request: Request) -> Any:
        asked.append(request)
        if request.stream == "newton" and request.iteration == ends_after:
            raise KeyboardInterrupt
        moments, events = answer(request, downhill(request))
        if request.spread:
            events = replace(events, spread=spread_at(request.radius))
        return moments, events if request.spread or request.per_event else None

    def allot(spread: NDArray[np.float64]) -> NDArray[np.int64]:
        return allotted(spread, COUNTS, run.spectrum.trees, 4)

    shape = StoreColumns(
        run.optimiser.iterations, RADII, len(spectrum_radii(run, np.nan)), KEYS, np.ones(len(KEYS))
    )
    with Store.open(path, {"run": run.to_dict()}, run.numbers, shape) as store:
        watch = Lines(io.StringIO())
        return asyncio.run(
            RadiusFit(run, KEYS, evaluate, store, watch, allot=allot).run_to_completion()
        )


def test_newton_steps_have_trees_by_the_spread_in_earlier_evaluations(tmp_path: Path) -> None:
    """The first by that in the nearest rows of the scan, the others by its own spread too."""
    asked: list[Request] = []
    fit(tmp_path / "a.zarr", asked)
    scan = [request for request in asked if request.stream == "scan"]
    first, *others = [request for request in asked if request.stream == "newton"]
    near = sorted(sorted(RADII, key=lambda radius: abs(math.log(radius / first.radius)))[:5])
    assert [request.radius for request in scan if request.spread] == near
    of_rows = [spread_at(radius) for radius in near]
    expected = allotted(pooled(of_rows), COUNTS, 20, 4)
    assert len(set(expected.tolist())) > 2
    assert first.allotted is not None and first.allotted.tolist() == expected.tolist()
    assert first.spread
    later = allotted(pooled([*of_rows, spread_at(first.radius)], [1.0] * 5 + [4.0]), COUNTS, 20, 4)
    assert others and later.tolist() != expected.tolist()
    for request in others:
        assert request.allotted is not None and request.allotted.tolist() == later.tolist()
        assert not request.spread
    assert all(request.allotted is None for request in asked if request.stream != "newton")


def test_a_version_of_the_events_has_no_say_in_its_own_numbers(tmp_path: Path) -> None:
    """Its first step has the random numbers of the first step of all, so that one does not decide."""

    async def evaluate(request: Request) -> Any:
        moments, events = answer(request, downhill(request))
        return moments, replace(events, spread=spread_at(request.radius))

    run = Run.from_dict(
        {"input": {"files": "a"}, "loss": {}, "scan": {"radii": RADII}, "output": {"store": "a"}}
    )
    watch, first = Lines(io.StringIO()), Request(0.7, 20, "newton", 0)
    scan = Scan(run, evaluate, cast(Store, None), watch, 0.7, None, True)
    given: list[NDArray[np.float64]] = []

    def allot(spread: NDArray[np.float64]) -> NDArray[np.int64]:
        given.append(spread)
        return np.full(len(spread), 20)

    async def ask() -> list[Request]:
        allotment = Allotment(allot, scan, first, KEYS)
        steps = [replace(first, iteration=k, version=1) for k in (0, 1)]
        return [await allotment.of(step) for step in steps]

    of_first, of_second = asyncio.run(ask())
    of_rows = [spread_at(radius) for radius in [0.5, 0.65, 0.7, 0.8, 0.9]]
    alone, both = given
    np.testing.assert_array_equal(alone, pooled(of_rows))
    np.testing.assert_array_equal(both, pooled([*of_rows, spread_at(0.7)], [1.0] * 5 + [4.0]))
    assert not of_first.spread and not of_second.spread


def test_events_that_are_held_back_count_as_the_mean() -> None:
    subset = HeldBack(3, 0.5)
    allotment = Allotment(None, cast(Scan, None), Request(0.7, 20, "newton", 0, subset), KEYS)
    chosen = subset.of(KEYS)
    assert 0 < chosen.sum() < len(KEYS)
    _, events = answer(Request(0.7, 20, "newton"), 0.0)
    allotment.hear(replace(events, spread=np.arange(1.0, 1 + chosen.sum())))
    assert allotment._spread is not None
    np.testing.assert_array_equal(allotment._spread[chosen], np.arange(1.0, 1 + chosen.sum()))
    assert np.isnan(allotment._spread[~chosen]).all()


@pytest.mark.parametrize("ends_after", [0, 1, 2])
def test_an_interrupted_run_finds_the_same_numbers_again(tmp_path: Path, ends_after: int) -> None:
    whole: list[Request] = []
    result = fit(tmp_path / "a.zarr", whole)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "b.zarr", [], ends_after)
    asked: list[Request] = []
    assert fit(tmp_path / "b.zarr", asked) == result
    steps = [request for request in asked if request.stream == "newton"]
    if ends_after:  # the first step again, for its spread
        assert steps.pop(0).spread
    of_whole = [request for request in whole if request.stream == "newton"][ends_after:]
    for step, of_step in zip(steps, of_whole, strict=True):
        assert step.allotted is not None and of_step.allotted is not None
        assert step.allotted.tolist() == of_step.allotted.tolist()
    assert sum(request.stream == "scan" for request in asked) == 5


def test_a_bundle_whose_events_have_many_trees_is_expensive() -> None:
    counts = [np.array([10, 20]), np.array([30]), np.array([], np.int64)]
    costs = [cost(of_bundle) for of_bundle in counts]
    trees = [np.array([5, 15]), np.array([40]), np.array([], np.int64)]
    assert with_trees(costs, trees) == [costs[0] * 10.0, costs[1] * 40.0, 0.0]
