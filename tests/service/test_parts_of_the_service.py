"""The parts of the service by themselves: journal, records, submissions, jobs on loops of their own."""

import asyncio
import importlib
import logging
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from djservice.cli import main
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.event_loops import OwnLoop, Stopped, finish
from djservice.errors import ConfigError, ServiceError
from djservice.on_dask.plugins import QuietFailures, compile_kernels
from djservice.service.journal import EVENTS, Journal
from djservice.service.records import Record, StateDirectory
from djservice.service.submission import identity, pack, same_numbers, unpack

Settings = dict[str, Any]


def test_one_who_watches_hears_everything_once() -> None:
    begun: list[int] = []
    journal = Journal(lambda: begun.append(1))
    assert journal.since(None) == (0, [])
    assert journal.progress == {}
    journal.say("hello token=abc")
    journal.phase("optimise", 10, 2)
    journal.step({"radius": 1.0})
    number, events = journal.since(0)
    assert (number, [call for call, _ in events]) == (3, ["say", "phase", "step"])
    assert journal.since(number) == (3, [])
    journal.step({"radius": 0.9, "steps": 3})
    assert journal.since(number) == (4, [("step", [{"radius": 0.9, "steps": 3}])])
    totals = {"trees": 0, "iteration": 6, "radius": 0.9}
    now = {"phase": "optimise", "total": 10, "done": 6, "numbers": {"radius": 0.9, "steps": 3}}
    assert journal.progress == now | totals
    journal.phase("scan", 4, 0)
    journal.step({"radius": 0.4, "trees": 60})
    assert journal.progress["numbers"] == {"radius": 0.4, "trees": 60}
    assert {name: journal.progress[name] for name in totals} == totals | {"trees": 60}
    assert begun == [1]
    assert [line for _, line in journal.lines] == ["hello token=***"]


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 0), (2.3, 2)])
def test_kernels_that_take_long_are_said_to_be_compiled(seconds: float, lines: int) -> None:
    journal = Journal()

    async def register_plugin(plugin: Any) -> None:
        await asyncio.sleep(seconds)

    asyncio.run(compile_kernels(SimpleNamespace(register_plugin=register_plugin), journal))  # type: ignore[arg-type]
    said = [line for _, line in journal.lines]
    expected = ["compiling the kernels: a minute or two, once per installation", "kernels ready after 2.3 s"]
    assert said == expected[:lines]


@pytest.mark.parametrize("known", [None, 3, 10**6])
def test_one_who_missed_something_begins_with_the_phase_as_it_stands(known: int | None) -> None:
    journal = Journal()
    journal.phase("optimise", 10**6, 0)
    for _ in range(EVENTS + 10):
        journal.step({"radius": 1.0})
    assert journal.since(known) == (EVENTS + 11, [("phase", ["optimise", 10**6, EVENTS + 10])])


def record(name: str) -> Record:
    found = Record(name, "ann", {"output": {"store": "/tmp/x.zarr"}}, lines=[(1.0, "a line")])
    found.move("queued", "submitted by ann")
    return found


def test_a_state_directory_reads_what_it_wrote_and_leaves_out_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = StateDirectory(tmp_path / "state")
    first, second = record("first"), record("second")
    second.move("running", "")
    for written in (second, first):
        directory.write(written.id, written.to_json())
    (tmp_path / "state/damaged.json").write_text(first.to_json()[:-20])
    (tmp_path / "state/other.json").write_text('{"a": 1}')
    (tmp_path / "state/.third.writing").write_text("half")
    assert directory.read() == [first, second]
    assert "damaged.json: not the record of a run" in caplog.text
    assert "other.json: not the record of a run" in caplog.text
    with pytest.raises(ServiceError, match="another scheduler keeps its runs here"):
        StateDirectory(tmp_path / "state")
    directory.close()
    StateDirectory(tmp_path / "state").close()
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match=r"no state directory: .*Choose djservice\.state-directory"):
        StateDirectory(tmp_path / "file")


def test_a_run_travels_as_plain_data(tiny: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ["root://host//x.root", "example:ZHllbb_200"]
    given = tiny | {"input": tiny["input"] | {"files": ["data/*.root", *urls]}, "output": {"store": "a.zarr"}}
    run = Run.from_dict(given | {"cluster": {"scheduler": "tcp://somewhere:1"}})
    there = unpack(pack(run))
    checks = {"task": "radius-model", "radius_model": {"checks": {"zz": {"files": "zz.root"}}}}
    packed = pack(Run.from_dict(given | checks))
    assert packed["radius_model"]["checks"]["zz"]["files"] == [str(tmp_path / "zz.root")]
    packed["radius_model"]["checks"]["zz"]["files"] = ["zz.root"]
    with pytest.raises(ConfigError, match=r"zz\.root is a relative path"):
        unpack(packed)
    assert there.input.files == (str(tmp_path / "data/*.root"), *urls)
    assert there.output.store == str(tmp_path / "a.zarr")
    assert there.numbers == run.numbers
    assert there.cluster.scheduler is None
    assert pack(there) == pack(run)


def test_identities_of_runs(tiny: Settings) -> None:
    def of(**sections: Any) -> tuple[str, str]:
        run = Run.from_dict(tiny | sections)
        return identity(run), same_numbers(run)

    same = of()
    assert of(cluster={"workers": 3}) == same
    elsewhere = of(output={"store": "/tmp/../tmp/b.zarr"})
    assert elsewhere == of(output={"store": "/tmp/b.zarr"})
    assert (elsewhere[0] != same[0], elsewhere[1]) == (True, same[1])
    for other in (
        of(seed=2),
        of(optimiser=tiny["optimiser"] | {"iterations": 7}),
        of(input=tiny["input"] | {"files": "example:ZHllbb_1000"}),
    ):
        assert other[0] != same[0] and other[1] != same[1]
    assert identity(Run.from_dict(tiny | {"output": {"store": "/tmp/..a /é.x.zarr"}})).startswith("x-")


def test_a_job_on_its_own_loop_returns_raises_and_is_stopped() -> None:
    cleared: list[str] = []

    async def job() -> str:
        assert threading.current_thread().name == "own"
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as stop:
            await asyncio.sleep(0.05)  # a second stop does not disturb this
            cleared.append(str(stop))
            raise asyncio.CancelledError("half way") from None
        return "never"

    async def stopped() -> None:
        own = OwnLoop(job, "own")
        await asyncio.sleep(0.2)
        own.stop("enough")
        own.stop("again")
        with pytest.raises(Stopped, match="half way"):
            await own.ended()
        own.stop("too late")

    finish(stopped())
    assert cleared == ["enough"]

    async def returns() -> int:
        return 3

    async def raises() -> int:
        raise ValueError("no")

    async def both() -> int:
        with pytest.raises(ValueError, match="no"):
            await OwnLoop(raises, "own").ended()
        return await OwnLoop(returns, "own").ended()

    assert finish(both()) == 3

    async def from_a_notebook() -> int:
        return finish(returns())

    assert asyncio.run(from_a_notebook()) == 3


def test_a_state_directory_that_cannot_be_written_refuses_runs(
    make_cluster: Any, tiny: Settings, tmp_path: Path
) -> None:
    cluster = make_cluster(tmp_path)
    service = cluster.start_scheduler()
    shutil.rmtree(cluster.state)
    with pytest.raises(ServiceError, match="state: cannot be written"):
        service.submit(Run.from_dict(tiny))
    assert service.runs() == []


def test_a_rate_is_told_after_a_second(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.phase("scan", 2, 0)
    for now[0] in (100.5, 110.0):
        lines.step({"radius": 1.0, "trees": 100})
    first, second = capsys.readouterr().err.splitlines()
    assert "trees/s" not in first
    assert "20 trees/s" in second


def test_the_list_of_runs_has_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[dict[str, Any]] = []
    monkeypatch.setattr(
        importlib.import_module("djservice.service.client"), "connect", lambda *_: SimpleNamespace(runs=lambda: runs)
    )
    command = ["list", "--scheduler", "tcp://127.0.0.1:1"]
    empty = CliRunner().invoke(main, command)
    assert (empty.exit_code, empty.stdout, "no runs yet" in empty.stderr) == (0, "", True)
    for name in ("a-1", "a_longer_name-2"):
        runs.append({"id": name, "state": "failed", "progress": {}, "user": "ann", "store": f"/{name}.zarr"})
    first, second = CliRunner().invoke(main, command).stdout.splitlines()
    assert first.index("failed") == second.index("failed") == len("a_longer_name-2  ")
    assert first.endswith("ann  /a-1.zarr")


@pytest.mark.parametrize(
    ("logger", "message", "kept"),
    [
        ("distributed.worker", "Compute Failed\nKey: read-1", False),
        ("distributed.worker.state_machine", "Async instruction for <Task cancelled> ended with CancelledError", False),
        ("distributed.worker", "Worker is at 85% memory usage", True),
    ],
)
def test_workers_of_our_own_leave_out_what_the_driver_says(logger: str, message: str, kept: bool) -> None:
    loggers = [logging.getLogger(name) for name in ("distributed.worker", "distributed.worker.state_machine")]
    before = [list(of.filters) for of in loggers]
    try:
        setup = threading.Thread(target=QuietFailures().setup, args=(None,))  # in the main thread it ignores Ctrl-C
        setup.start()
        setup.join()
        record = logging.LogRecord(logger, logging.WARNING, "", 0, message, (), None)
        assert bool(logging.getLogger(logger).filter(record)) is kept
    finally:
        for of, filters in zip(loggers, before, strict=True):
            of.filters = filters
