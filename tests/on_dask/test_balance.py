"""How bundles are shared among threads: all of them, evenly, and where they are if that costs nothing."""

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from thread_cluster import thread_cluster

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.fit.plan import RunPlan
from djservice.on_dask.balance import cost, groups, idle_text
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.load import default_bundle_events


def test_every_bundle_once_and_evenly() -> None:
    rng = np.random.default_rng(1)
    costs = rng.uniform(0.5, 2.0, 200).tolist()
    workers = groups(costs, [()] * 200, {"a": 2, "b": 1, "c": 4})
    assert {name: len(threads) for name, threads in workers.items()} == {"a": 2, "b": 1, "c": 4}
    found = [group for threads in workers.values() for group in threads]
    assert sorted(i for group in found for i in group) == list(range(200))
    assert all(group == sorted(group) for group in found)
    loads = [sum(costs[i] for i in group) for group in found]
    assert max(loads) - min(loads) <= max(costs)


def test_bundles_stay_where_they_are() -> None:
    holders = [("a",), ("b",), ("a",), ("b",)]
    expected = {"a": [[0, 2]], "b": [[1, 3]]}
    assert groups([1.0] * 4, holders, {"a": 1, "b": 1}) == expected
    # All on one worker: the other takes its share all the same.
    loads = [len(group) for (group,) in groups([1.0] * 8, [("a",)] * 8, {"a": 1, "b": 1}).values()]
    assert sorted(loads) == [4, 4]


def test_fewer_bundles_than_threads() -> None:
    assert groups([1.0, 1.0], [("gone",), ()], {"a": 64}) == {"a": [[0], [1]]}


def test_a_bundle_of_large_events_costs_more() -> None:
    assert cost(np.array([100] * 10)) == pytest.approx(10 * 1001.0)
    assert cost(np.array([400] * 10)) > 7.9 * cost(np.array([100] * 10))


@pytest.mark.parametrize(
    ("events", "bundles"),
    [(1, 1), (8, 8), (1_000, 8), (40_000, 8), (400_000, 80), (10_000_000, 128)],
)
def test_how_many_bundles(events: int, bundles: int) -> None:
    assert -(-events // default_bundle_events(events)) == bundles


def test_threads_without_a_bundle_are_named() -> None:
    said = idle_text("input", 128, 1_000, 1_000_000)
    assert said == (
        "872 of 1000 threads or GPUs have no work, as input has 128 bundles. For one each, set "
        "input.bundle_events to 1000 or less."
    )
    assert idle_text("input", 1, 4, 3).endswith(
        "has 1 bundle. For one each, set input.bundle_events to 1 or less."
    )
    assert not idle_text("input", 8, 8, 1_000)  # each has one
    assert not idle_text("input", 3, 8, 3)  # of one entry each


def test_the_start_of_a_run_names_them(tiny: dict[str, Any]) -> None:
    stream = io.StringIO()

    async def loaded() -> int:
        async with thread_cluster(1, threads=2) as (_, client):
            for size in (1, 10_000):
                section = {"input": {**tiny["input"], "bundle_events": size}}
                plan = RunPlan(Run.from_dict({**tiny, **section}))
                bundles = await Bundles.load(client, plan, Lines(stream))
                assert (len(bundles.bundles) == 1) == ("have no work" in stream.getvalue())
        return int(bundles.reading["entries"])

    entries = asyncio.run(asyncio.wait_for(loaded(), 300))
    assert idle_text("input", 1, 2, entries) in stream.getvalue().splitlines()
