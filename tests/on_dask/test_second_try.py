"""A worker that does not see a mount: others read its files, and a line names it."""

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import LocalCluster, get_worker

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import MissingFileError
from djservice.input.quarantine import BadRange
from djservice.on_dask import reading, second_try
from djservice.on_dask.crew import Crew
from djservice.store.run_store import Store


def test_a_second_try_ends_when_no_other_worker_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task would wait for ever."""
    monkeypatch.setattr(second_try, "LOOK", 0.01)
    bad = BadRange("a.root", 0, 9, "no such file", unreadable=True)
    others = iter([{"others": 1.0}, {"others": 1.0}, {}])

    async def gather(futures: Any) -> Any:
        if futures == ["second"]:
            await asyncio.sleep(3600)
        return [((bad,), "tcp://a", None)]

    async def other_than(worker: str) -> dict[str, float]:
        return next(others)

    crew: Any = SimpleNamespace(client=SimpleNamespace(gather=gather), other_than=other_than)
    submit: Any = lambda suffix, resources: ("read", "second" if suffix else "first")  # noqa: E731
    read = asyncio.wait_for(second_try.read_anywhere(crew, submit), 300)
    assert asyncio.run(read) == ("read", "first")


def test_a_worker_that_reads_nothing_is_no_other_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second try there would wait for ever."""
    crew = Crew(SimpleNamespace(), Lines(io.StringIO()))  # type: ignore[arg-type]

    async def workers(work: str) -> dict[str, Any]:
        return {"tcp://a": {}, "tcp://b": {}}

    monkeypatch.setattr(crew, "workers", workers)
    monkeypatch.setattr(crew, "_grant", lambda members: None)
    assert asyncio.run(crew.other_than("tcp://b"))
    crew.found_blind("tcp://a", "no such file")
    assert asyncio.run(crew.other_than("tcp://b")) == {}
    assert asyncio.run(crew.other_than("tcp://a"))


@pytest.mark.parametrize(
    ("function", "bad_inputs"),
    [
        ("inspect", "quarantine"),
        ("read_with_cutflow", "fail"),
        pytest.param("inspect", "fail", marks=pytest.mark.long),
        pytest.param("read_with_cutflow", "quarantine", marks=pytest.mark.long),
    ],
)
def test_a_worker_without_the_mount_loses_no_event(
    bad_inputs: str,
    function: str,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = "djservice.input.quarantine" if bad_inputs == "quarantine" else reading.__name__
    module = reading.__name__ if function == "inspect" else where
    real = getattr(reading, function)

    def without_mount(*arguments: Any) -> Any:
        if get_worker().name == 0:
            raise MissingFileError("a.root: there is no such file.")
        return real(*arguments)

    monkeypatch.setattr(f"{module}.{function}", without_mount)
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # 8787 may be another test's
    ) as cluster:
        settings = tiny | {"cluster": {"scheduler": cluster.scheduler_address}}
        settings["input"] = settings["input"] | {"bad_inputs": bad_inputs, "bundle_events": 4}
        store = dj.run(Run.from_dict(settings), watch=Lines()).store
    attributes = Store.read(Path(store)).attributes
    assert (attributes["events"], attributes["quarantined"]) == (40, [])
    said = capsys.readouterr().err
    if function == "read_with_cutflow":  # the only inspection may be on the other worker
        assert "gets no more files to read: another one could read" in said
        assert said.count("gets no more files") == 1
