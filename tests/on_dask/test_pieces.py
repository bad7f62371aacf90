"""Long tasks look between their pieces whether they are still wanted, which changes no bit."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from distributed import Client

import djservice as dj
from djservice.config.run import Run
from djservice.events.batch import EventBatch
from djservice.fit.per_event import PerEventSettings
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request
from djservice.on_dask import gather
from djservice.on_dask.gather import wait_patiently
from djservice.on_dask.tasks import (
    Shares,
    evaluate_bundles,
    evaluate_timed,
    fit_bundle,
    in_threads,
)

#: Trees per event that take minutes for all events, and a second for one.
MANY = 100_000


@pytest.fixture(scope="module")
def events() -> EventBatch:
    batch = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0))
    return EventBatch.concatenate([batch] * 3)


@pytest.fixture
def setup(tiny: dict[str, Any]) -> bytes:
    return cloudpickle.dumps(RunPlan(Run.from_dict(tiny)).setup("cpu"))


@pytest.fixture
def client(scheduler: str) -> Iterator[Client]:
    with Client(scheduler, set_as_default=False) as client:
        yield client


def a_scan(trees: int) -> Callable[..., Any]:
    request = Request(0.7, trees, "scan", 0)
    return lambda events, setup: evaluate_bundles([events], setup, [request], [None])[0][0].total


def a_scan_in_threads(trees: int) -> Callable[..., Any]:
    request = Request(0.7, trees, "scan", 0)

    def total(events: EventBatch, setup: bytes) -> Any:
        halves = [events.select(np.arange(len(events)) % 2 == half) for half in (0, 1)]
        answers = in_threads(
            evaluate_bundles, Shares((1, 1), [request] * 2, "nobody"), setup, halves, None
        )
        return (answers[0][0] + answers[1][0]).total

    return total


def a_cell_of_a_grid(trees: int) -> Callable[..., Any]:
    request = Request(0.7, trees, "grid", 0)
    return lambda events, setup: evaluate_timed(events, setup, request)[0].total


def radii_of_events(trees: int) -> Callable[..., Any]:
    settings = PerEventSettings(iterations=max(2, trees // 100), trees=20, choose_trees=20)
    return lambda events, setup: fit_bundle(events, setup, settings, 0.7).radius


KINDS = [a_scan, a_scan_in_threads, a_cell_of_a_grid, radii_of_events]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_evaluation_makes_place_for_the_next(
    client: Client, events: EventBatch, setup: bytes, kind: Callable[[int], Callable[..., Any]]
) -> None:
    """The worker has one thread, which the evaluation would keep for minutes."""
    (bundle,) = client.scatter([events])
    long = client.submit(kind(MANY), bundle, setup, pure=False)
    while not any(client.processing().values()):
        time.sleep(0.02)
    time.sleep(0.3)
    long.cancel()
    assert client.submit(lambda: "next", pure=False).result(timeout=300) == "next"


@pytest.mark.parametrize("kind", KINDS)
def test_the_bits_are_those_of_an_evaluation_elsewhere(
    client: Client, events: EventBatch, setup: bytes, kind: Callable[[int], Callable[..., Any]]
) -> None:
    few = events.select(np.arange(len(events)) < 8)
    there = client.submit(kind(4), few, setup, pure=False).result(timeout=300)
    assert there.tobytes() == kind(4)(few, setup).tobytes()


def until_there(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("alone", "text"),
    [
        (True, "the files, or the machine, are slow"),
        (False, "they have 1 task of other runs, or the last pieces of a stopped one"),
    ],
)
def test_a_run_says_what_it_waits_for(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool, text: str
) -> None:
    """Until it has said so, the one thread of the worker is not free."""
    monkeypatch.setattr(gather, "ANNOUNCED_AFTER", 0.2)
    said: list[str] = []

    class Watching:
        def say(self, text: str) -> None:
            said.append(text)
            (tmp_path / "said").touch()

    async def ask() -> list[int]:
        options = {"asynchronous": True, "set_as_default": False}
        async with Client(scheduler, **options) as client, Client(scheduler, **options) as other:
            busy = client if alone else other
            slow = busy.submit(functools.partial(until_there, tmp_path / "said"), pure=False)
            while not any((await client.processing()).values()):
                await asyncio.sleep(0.01)
            after = gather.gather(client, [client.submit(int, 3, pure=False)])
            found: list[int] = await wait_patiently(client, after, Watching())  # type: ignore[arg-type]
            await slow
            return found

    assert asyncio.run(ask()) == [3]
    assert said == [f"waiting for the workers: {text}"]
