"""Runs that live on a scheduler of a process of its own: handed over, asked about, stopped, and going on."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from distributed import Client, LocalCluster
from processes import ITERATIONS, disturbable

import djservice as dj
from djservice.cli import main
from djservice.config.run import Run
from djservice.errors import ConfigError, DjserviceError, MissingFileError, RunError, ServiceError
from djservice.service.client import Service, SubmittedRun
from djservice.service.plugin import RunService

Settings = dict[str, Any]
Reach = Callable[[SubmittedRun, str, int], None]
Stored = Callable[[str | Path], dict[str, bytes]]


def states(run: SubmittedRun) -> list[str]:
    return [transition["state"] for transition in run.status()["transitions"]]


def test_a_run_goes_on_when_the_client_has_gone(
    cluster: Any,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Submitted with relative paths by a process that ends; followed, waited for and awaited by others."""
    config = tmp_path / "run.yaml"
    config.write_text(
        yaml.safe_dump(disturbable_run.to_dict() | {"output": {"store": "tiny.zarr"}})
    )
    submit = [
        Path(sys.executable).parent / "djservice",
        "submit",
        config.name,
        "--scheduler",
        cluster.address,
    ]
    ended = subprocess.run(submit, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    name = ended.stdout.strip()
    watching = command(cluster, "watch", name)
    assert watching.exit_code == 0
    assert (
        f"optimise {ITERATIONS}/{ITERATIONS}" in watching.stderr
        and f"{name}: finished" in watching.stderr.splitlines()[-1]
    )
    assert stored(tmp_path / "tiny.zarr") == stored(undisturbed)
    assert cluster.left_behind() == ([], 0, [])

    run = dj.connect(cluster.address).run(name)
    assert states(run) == ["queued", "loading", "running", "finished"]
    times = [transition["time"] for transition in run.status()["transitions"]]
    assert times == sorted(times)
    finished = run.wait(timeout=300)
    assert finished.store == tmp_path / "tiny.zarr"
    assert finished.radius == dj.Store.read(undisturbed).attributes["result"]["radius"]

    async def awaited() -> Any:
        return await run

    assert asyncio.run(awaited()) == finished
    assert any("read 40 events" in line for _, line in run.logs())
    monkeypatch.chdir(tmp_path)
    again = command(cluster, "submit", config.name)
    assert again.stdout.strip() == name
    assert "submitted before" in again.stderr and "finished" in again.stderr
    shown = json.loads(command(cluster, "status", name, "--json").stdout)
    assert shown["result"]["radius"] == finished.radius
    assert f"R: {finished.radius:.3f}" in command(cluster, "status", name).stdout
    assert re.search(
        rf"{name} +finished +R: {finished.radius:.3f} \+- ", command(cluster, "list").stdout
    )
    assert "read 40 events" in command(cluster, "logs", name).stdout


def command(cluster: Any, *words: str) -> Result:
    """What ``djservice`` says, in this process."""
    return CliRunner().invoke(main, [*words, "--scheduler", cluster.address])


def test_two_submissions_of_one_run_are_one_run(
    service: Service, disturbable_run: Run, tmp_path: Path
) -> None:
    first, second = service.submit(disturbable_run), service.submit(disturbable_run)
    assert (first.new, second.new) == (True, False)
    assert first.id == second.id
    elsewhere = {"output": {"store": str(tmp_path / "elsewhere.zarr")}}
    assert service.submit(Run.from_dict(disturbable_run.to_dict() | elsewhere)).id == first.id
    with pytest.raises(
        ConfigError, match=rf"tiny\.zarr: run {first.id} of \w+, which is \w+, writes this store"
    ):
        service.submit(Run.from_dict(disturbable_run.to_dict() | {"seed": 2}))
    assert first.cancel()["state"] == "cancelled"
    assert not (tmp_path / "elsewhere.zarr").exists()


def test_paused_and_resumed_it_gives_the_same_bits(
    cluster: Any,
    service: Service,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    reach: Reach,
) -> None:
    run = service.submit(disturbable_run)
    reach(run, "optimise", 20)
    assert run.pause()["state"] == "paused"
    store = dj.Store.read(disturbable_run.output.store)
    assert store.attributes["status"] == "interrupted"
    assert store.attributes["message"].startswith("paused by")
    assert store.n_complete("history") >= 20
    assert cluster.left_behind() == ([], 0, [])
    assert command(cluster, "pause", run.id).stdout == f"{run.id}: paused\n"
    assert command(cluster, "resume", run.id).stdout.startswith(f"{run.id}: ")
    reach(run, "scan", 1)
    assert run.cancel()["state"] == "cancelled"
    with pytest.raises(RunError, match=f"run {run.id} was cancelled: cancelled by"):
        run.wait(timeout=300)
    assert not service.submit(disturbable_run).new
    run.wait(timeout=300)
    assert states(run)[:2] == ["queued", "loading"]
    assert [state for state in states(run) if state not in ("queued", "loading", "running")] == [
        "paused",
        "cancelled",
        "finished",
    ]
    assert stored(disturbable_run.output.store) == stored(undisturbed)
    for late in (run.cancel, run.pause, run.resume):
        with pytest.raises(ServiceError, match="finished"):
            late()


def test_one_who_watches_may_leave(
    cluster: Any, service: Service, tiny: Settings, tmp_path: Path
) -> None:
    run = service.submit(Run.from_dict(disturbable(tiny, optimiser={"iterations": 5_000})))
    with open(tmp_path / "watched", "w+") as watched:
        watching = subprocess.Popen(
            [
                Path(sys.executable).parent / "djservice",
                "watch",
                run.id,
                "--scheduler",
                cluster.address,
            ],
            stderr=watched,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # type: ignore[arg-type,return-value]
        )
        end = time.monotonic() + 300
        while "optimise" not in Path(watched.name).read_text() and time.monotonic() < end:
            time.sleep(0.05)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=300) == 0
    text = Path(tmp_path / "watched").read_text()
    assert (
        text.splitlines()[-1]
        == f"{run.id} continues on the scheduler; the same command follows it again."
    )
    assert "Traceback" not in text
    assert run.status()["state"] == "running"
    run.cancel()


def test_places_are_shared_fairly_between_users(
    service: Service, tiny_run: Any, tmp_path: Path
) -> None:
    """With both places taken, the second user's one run comes before the first user's many."""

    def ask(name: str, user: str, seed: int) -> str:
        from djservice.service.submission import pack

        settings = tiny_run(tmp_path / f"{name}.zarr") | {"seed": seed}
        found: str = service.ask("submit", config=pack(Run.from_dict(settings)), user=user)["id"]
        return found

    many = [ask(f"many{i}", "ann", i) for i in range(4)]
    one = ask("one", "bob", 4)
    ended = {
        name: service.run(name).wait(timeout=300) and service.run(name).status()
        for name in (*many, one)
    }
    began = {
        name: next(entry["time"] for entry in status["transitions"] if entry["state"] == "loading")
        for name, status in ended.items()
    }
    order = sorted(began, key=lambda name: began[name])
    assert order[:2] == many[:2]
    assert order[2] == one
    at_once = max(
        sum(
            began[other] <= began[name] < ended[other]["since"] for other in began if other in ended
        )
        for name in began
    )
    assert at_once == 2


def test_a_run_that_fails_says_why_and_goes_on_when_mended(
    service: Service, tiny: Settings
) -> None:
    run = service.submit(Run.from_dict(tiny | {"input": tiny["input"] | {"tree": "Event"}}))
    with pytest.raises(
        RunError,
        match=f"run {run.id} failed: SchemaError: .*expected a tree 'Event', found 'Events'",
    ):
        run.wait(timeout=300)
    assert states(run) == ["queued", "loading", "failed"]
    mended = service.submit(Run.from_dict(tiny))
    assert mended.new
    assert mended.wait(timeout=300).store == Path(tiny["output"]["store"])


def test_runs_that_have_ended_can_be_forgotten(
    cluster: Any, service: Service, tiny: Settings, tmp_path: Path
) -> None:
    before = [run["id"] for run in service.runs()]
    stores = [str(tmp_path / f"{i}.zarr") for i in range(2)]
    first, second = (
        service.submit(Run.from_dict(tiny | {"seed": i + 1, "output": {"store": store}}))
        for i, store in enumerate(stores)
    )
    first.wait(timeout=300)
    second.wait(timeout=300)
    some = command(cluster, "list", "--last", "1")
    assert second.id in some.stdout and first.id not in some.stdout
    assert (
        some.stderr
        == f"{len(before) + 1} earlier runs are not shown; use --last {len(before) + 2} to list all\n"
    )
    gone = command(cluster, "forget", first.id)
    assert gone.stdout == f"{first.id} is off the list; its store is kept: {stores[0]}\n"
    assert [run["id"] for run in service.runs()] == [*before, second.id]
    assert not (cluster.state / f"{first.id}.json").exists()
    assert (cluster.state / f"{second.id}.json").exists()
    fresh = service.submit(Run.from_dict(tiny | {"seed": 1, "output": {"store": stores[0]}}))
    assert (fresh.new, fresh.id) == (True, first.id)
    fresh.wait(timeout=300)  # its store is finished: nothing is left to do


def test_a_run_whose_end_is_being_written_is_forgotten_after_that() -> None:
    """Its state is that of an ended run before its record is on the disk."""
    done: list[str] = []

    class Runs(dict[str, Any]):
        def describe(self, record: Any) -> dict[str, Any]:
            return vars(record)

        async def remove(self, record: Any) -> None:
            done.append("removed")

    async def forget() -> None:
        async def write() -> None:
            await asyncio.sleep(0.05)
            done.append("written")
            del tasks["a-1"]

        tasks = {"a-1": asyncio.create_task(write())}
        record = SimpleNamespace(id="a-1", state="finished")
        plugin: Any = SimpleNamespace(_runs=Runs({"a-1": record}), _tasks=tasks)
        await RunService.forget(plugin, "a-1", "ann")

    asyncio.run(forget())
    assert done == ["written", "removed"]


def test_a_run_that_goes_on_is_not_forgotten(
    service: Service, disturbable_run: Run, reach: Reach
) -> None:
    run = service.submit(disturbable_run)
    with pytest.raises(ServiceError, match=rf"{run.id} is \w+: cancel it first"):
        run.forget()
    reach(run, "optimise", 10)
    with pytest.raises(ServiceError, match=f"{run.id} is running: cancel it first"):
        run.forget()
    run.cancel()
    assert run.forget()["state"] == "cancelled"
    with pytest.raises(ServiceError, match="no run"):
        run.status()


def test_what_is_wrong_is_said_at_submission(service: Service, tiny: Settings) -> None:
    def refuse(error: type[Exception], match: str, **sections: Any) -> None:
        data = Run.from_dict(tiny).to_dict() | sections
        data.pop("cluster")
        with pytest.raises(error, match=match):
            service.ask("submit", config=data, user="ann")

    with pytest.raises(ConfigError, match=r"loss\[0\]\.observable is a Python object.*entry point"):
        service.submit(Run.from_dict(tiny | {"loss": {"observable": dj.observables.dijet_mass}}))
    refuse(MissingFileError, "gone", input=tiny["input"] | {"files": ["/gone.root"]})
    refuse(ConfigError, "sed .*did you mean 'seed'", sed=3)
    refuse(ConfigError, r"tiny\.zarr is a relative path", output={"store": "tiny.zarr"})
    refuse(
        ConfigError,
        r"expected at most 1,000,000 bytes, found 1,\d+,\d+",
        input=tiny["input"] | {"dataset": "x" * 1_000_000},
    )
    refuse(ConfigError, "plain data", seed={1, 2})
    refuse(
        ConfigError,
        r"optimiser\.trees is 1, expected",
        optimiser={"trees": 1},
        estimator="leave_one_out",
    )
    with pytest.raises(ConfigError, match="mapping"):
        service.ask("submit", config=[1], user="ann")


def test_an_unknown_run_names_the_near_ones(service: Service, tiny: Settings) -> None:
    run = service.submit(Run.from_dict(tiny))
    run.wait(timeout=300)
    with pytest.raises(ServiceError, match=f"no run '{run.id[:-1]}' here. Near: {run.id}"):
        service.run(run.id[:-1])
    with pytest.raises(ServiceError, match="djservice list"):
        service.run("0")


def test_errors_travel_by_their_names(service: Service) -> None:
    with pytest.raises(DjserviceError) as failure:
        service.ask("status", run_id="x")
    assert type(failure.value) is ServiceError


def test_no_scheduler_and_one_without_runs(cluster: Any, scheduler: str) -> None:
    with pytest.raises(
        ServiceError, match=r"no answer from a Dask scheduler at tcp://127\.0\.0\.1:1 "
    ):
        dj.connect("tcp://127.0.0.1:1")
    with pytest.raises(
        ServiceError,
        match=r"does not accept runs: start it with `dask scheduler --preload djservice\.preload`",
    ):
        dj.connect(scheduler)
    ended = command(cluster, "status", "nothing")
    assert ended.exit_code == 1
    assert ended.stderr.startswith("djservice: ServiceError: no run 'nothing' here.")


def test_one_state_directory_has_one_scheduler(
    cluster: Any, make_cluster: Any, tmp_path: Path
) -> None:
    second = make_cluster(tmp_path)
    second.state = cluster.state
    with pytest.raises(AssertionError, match="another scheduler keeps its runs here"):
        second.start_scheduler()


def fetched(address: str) -> str:
    """What a server answers."""
    with urllib.request.urlopen(address, timeout=300) as answer:
        return str(answer.read(), "utf-8")


def test_registered_by_a_client_on_a_running_scheduler(tiny: Settings, tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "dashboard_address": None,
        "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"},
    }
    with LocalCluster(
        n_workers=1, processes=False, protocol="tcp", host="127.0.0.1", **own
    ) as local:
        with Client(local.scheduler_address, set_as_default=False) as client:
            client.register_plugin(RunService(tmp_path / "state"))
            client.register_plugin(RunService(tmp_path / "state"))  # changes nothing
            dashboard = client.dashboard_link.removesuffix("/status")
        run = dj.connect(local.scheduler_address).submit(Run.from_dict(tiny))
        assert run.wait(timeout=300).store == tmp_path / "tiny.zarr"
        pages = {
            page: fetched(f"{dashboard}/{page}")
            for page in ("djservice/api/runs", f"djservice/{run.id}", "metrics")
        }
        (shown,) = json.loads(pages["djservice/api/runs"])["runs"]
        assert (shown["id"], shown["state"]) == (run.id, "finished")
        assert run.id in pages[f"djservice/{run.id}"]
        assert 'djservice_runs{state="finished"} 1.0' in pages["metrics"]
    (record,) = (tmp_path / "state").glob("*.json")
    assert json.loads(record.read_text())["id"] == run.id
    assert record.stat().st_mode & 0o077 == 0
