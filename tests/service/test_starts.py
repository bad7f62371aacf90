"""A run that takes its scheduler down twice is set aside, and takes no other run with it."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Scheduler

from djservice.config.run import Run
from djservice.errors import ConfigError, ServiceError
from djservice.service.plugin import RunService
from djservice.service.records import Record
from djservice.service.submission import pack

Settings = dict[str, Any]


def leave(state: Path, settings: Settings, name: str, starts: int) -> None:
    """The record of a run during whose start a scheduler died so many times."""
    config = pack(Run.from_dict(settings | {"output": {"store": str(state.parent / name)}}))
    record = Record(name, "ann", config, starts=starts)
    record.move("queued", "submitted by ann")
    if starts:
        record.move("loading", "")
    state.mkdir(mode=0o700, exist_ok=True)
    (state / f"{name}.json").write_text(record.to_json())


@asynccontextmanager
async def serving(state: Path) -> AsyncIterator[RunService]:
    """A scheduler in this process, without workers: a run that starts waits for the first one."""
    preload = {"preload": ["djservice.preload"], "preload_argv": ["--state-directory", str(state)]}
    async with Scheduler(
        host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", **preload
    ) as scheduler:
        yield scheduler.plugins["djservice"]


async def states(service: RunService, loading: int) -> dict[str, str]:
    """The states of all runs, as soon as so many have begun; and a little later, for one more that must not."""

    async def now() -> dict[str, str]:
        return {run["id"]: run["state"] for run in await service.all_runs()}

    end = time.monotonic() + 300
    while list((await now()).values()).count("loading") < loading:
        assert time.monotonic() < end, await now()
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    return await now()


def starts(state: Path) -> dict[str, int]:
    return {path.stem: json.loads(path.read_text())["starts"] for path in state.glob("*.json")}


def test_the_run_at_fault_is_set_aside_and_the_others_go_on(tiny: Settings, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for name, count in (("bomb", 1), ("bystander", 1), ("other", 0)):
        leave(before, tiny, name, count)

    async def scenario() -> tuple[Any, ...]:
        async with serving(before) as service:
            first = await states(service, 2)
            written = starts(before)
            # As a kill leaves it, without what is being written.
            shutil.copytree(before, after, ignore=shutil.ignore_patterns(".*"))
        async with serving(after) as service:
            second = await states(service, 1)
            bomb = await service.status("bomb")
            resumed = await service.resume("bomb", "ann")
            await service.cancel("bystander", "ann")
            await service.cancel("other", "ann")
            third = await states(service, 1)
        return first, written, second, bomb, resumed["state"], third

    first, written, second, bomb, resumed, third = asyncio.run(scenario())
    # Of the two that were active, one is on trial; the count was written before it began.
    assert first == {"bomb": "loading", "bystander": "queued", "other": "loading"}
    assert written == {"bomb": 2, "bystander": 1, "other": 1}
    assert second["bomb"] == "set-aside"
    assert sorted([second["bystander"], second["other"]]) == ["loading", "queued"]
    assert "died 2 times" in bomb["reason"] and "resume" in bomb["reason"]
    assert resumed == "queued" and third["bomb"] == "loading"
    # What was stopped in order is not held to be the reason; what still waits for its trial is.
    assert starts(before) == {"bomb": 0, "bystander": 1, "other": 0}


def test_a_submission_that_is_too_large_is_answered_and_forgotten(
    tiny: Settings, tmp_path: Path
) -> None:
    """600 bytes that would have made gigabytes."""
    settings = tiny | {"optimiser": tiny["optimiser"] | {"iterations": 900_000}}
    nested: Any = []
    for _ in range(200):
        nested = [nested]

    async def scenario() -> list[Any]:
        async with serving(tmp_path / "state") as service:
            with pytest.raises(ConfigError, match=r"optimiser\.iterations: .*djservice\.limits"):
                await service.submit(pack(Run.from_dict(settings)), "ann")
            with pytest.raises(ConfigError, match="at most 30 deep"):
                await service.submit(pack(Run.from_dict(tiny)) | {"seed": nested}, "ann")
            return await service.all_runs()

    assert asyncio.run(scenario()) == []


def test_a_message_of_another_program_is_refused_without_a_traceback(tmp_path: Path) -> None:
    wrong: list[tuple[str, Settings]] = [
        ("status", {}),
        ("status", {"run_id": {"a": 1}}),
        ("status", {"run_id": "a", "more": 1}),
        ("follow", {"run_id": "a", "number": "b"}),
        ("cancel", {"run_id": "a"}),
        ("submit", {"config": None, "user": {"a": 1}}),
    ]

    async def scenario() -> list[Any]:
        async with serving(tmp_path / "state") as service:
            handlers = service.scheduler.handlers
            return [await handlers[f"djservice_{name}"](**given) for name, given in wrong]

    for answer in asyncio.run(scenario()):
        assert answer["error"] == "ServiceError" and "Use the same version" in answer["message"]


@pytest.mark.parametrize(
    "setting, value, match",
    [
        ("djservice.limits.trees", "many", r"djservice\.limits\.trees: expected a whole number"),
        ("djservice.input-roots", "/", r"djservice\.input-roots: '/' allows every path"),
        ("djservice.dashboard-hosts", 7, r"djservice\.dashboard-hosts: expected a host name"),
    ],
)
def test_a_wrong_setting_ends_the_start_in_one_line(
    tmp_path: Path, setting: str, value: Any, match: str
) -> None:
    async def start() -> None:
        service = RunService(tmp_path / "state")
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            try:
                await service.start(scheduler)
            finally:
                await service.before_close()  # Dask calls it also after a start that failed

    with dask.config.set({setting: value}), pytest.raises((ServiceError, ConfigError), match=match):
        asyncio.run(start())
