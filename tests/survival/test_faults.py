"""Real processes, killed and stopped at any point: the same bits at the end, and nothing left behind."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

import djservice as dj
from djservice.config.run import Run
from djservice.store.run_store import Store

SCRIPTS = Path(sys.executable).parent
Settings = dict[str, Any]
Stored = Callable[[str | Path], dict[str, bytes]]


def slow(settings: Settings) -> Settings:
    """The same run with enough to do to be caught in the middle of each phase."""
    more = {"optimiser": {"iterations": 60}, "scan": {"trees": 100}, "spectrum": {"trees": 300}}
    return settings | {key: settings[key] | value for key, value in more.items()}


@pytest.fixture
def config(tiny: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(slow(tiny)))
    return path


@pytest.fixture(scope="module")
def whole(
    tiny_run: Callable[[Path], Settings], scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the run gives undisturbed, on one worker with one thread."""
    settings = slow(tiny_run(tmp_path_factory.mktemp("whole") / "whole.zarr")) | {
        "cluster": {"scheduler": scheduler}
    }
    return {"store": dj.run(Run.from_dict(settings)).store}


@pytest.fixture
def start(config: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start ``djservice run`` in a process group of its own; standard error goes to ``stderr`` in ``tmp_path``."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> subprocess.Popen[bytes]:
        with open(tmp_path / "stderr", "wb") as errors:
            process = subprocess.Popen(
                [SCRIPTS / "djservice", "run", config, "--no-report", *options],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # type: ignore[arg-type,return-value]
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def finish(process: subprocess.Popen[bytes], code: int = 0) -> None:
    assert process.wait(timeout=120) == code


def wait_for(store: Path, group: str, rows: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a group of the store has so many rows. Its file is read, for opening the store each time takes half a processor."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):  # not there, or just being written
            if (
                json.loads((store / group / "zarr.json").read_text())["attributes"]["n_complete"]
                >= rows
            ):
                return
        assert process.poll() is None, "the run ended before it could be disturbed"
        time.sleep(0.02)
    pytest.fail(f"{group} never had {rows} rows")


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=15)
    assert not alive


def workers_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in processes if "spawn_main" in " ".join(child.cmdline())]


def test_killed_at_any_point_it_goes_on_to_the_same_bits(
    start: Callable[..., subprocess.Popen[bytes]], whole: Settings, stored: Stored, tmp_path: Path
) -> None:
    seed = int(os.environ.get("KILL_SEED", "20261122"))
    dice = random.Random(seed)
    points = [
        ("history", dice.randint(1, 20)),
        ("scan", dice.randint(1, 3)),
        ("spectrum", dice.randint(1, 2)),
    ]
    delays = [dice.uniform(0.0, 0.1) for _ in points]
    print(f"KILL_SEED={seed}: {points}, {delays}")
    for (group, rows), delay in zip(points, delays, strict=True):
        process = start("--workers", "1")
        wait_for(tmp_path / "tiny.zarr", group, rows, process)
        time.sleep(delay)
        family = offspring(process)
        assert family
        process.kill()
        finish(process, -signal.SIGKILL)
        assert_gone(family)
    finish(start("--workers", "1"))
    assert stored(tmp_path / "tiny.zarr") == stored(whole["store"])


def test_a_stopped_run_says_how_to_go_on_and_does(
    start: Callable[..., subprocess.Popen[bytes]], whole: Settings, stored: Stored, tmp_path: Path
) -> None:
    """SIGTERM to the whole group, as a batch system sends it, and SIGINT, as Ctrl-C does."""
    store = tmp_path / "tiny.zarr"
    for group, stop in (
        ("history", lambda process: os.killpg(process.pid, signal.SIGTERM)),
        ("scan", lambda process: os.killpg(process.pid, signal.SIGINT)),
    ):
        process = start("--workers", "2")
        wait_for(store, group, 1, process)
        family = offspring(process)
        stop(process)
        finish(process, 1)
        assert_gone(family)
        errors = (tmp_path / "stderr").read_text()
        assert "the same command continues from there" in errors.splitlines()[-1]
        assert "Traceback" not in errors
        assert Store.read(store).attributes["status"] == "interrupted"
    finish(start("--workers", "1"))
    assert stored(store) == stored(whole["store"])


def test_stopped_before_its_first_iteration(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, config: Path
) -> None:
    process = start("--workers", "1")
    end = time.monotonic() + 60
    while "read 40 events" not in (tmp_path / "stderr").read_text() and time.monotonic() < end:
        time.sleep(0.02)
    family = offspring(process)
    process.terminate()
    finish(process, 1)
    assert_gone(family)
    errors = (tmp_path / "stderr").read_text()
    assert "RunError: stopped by a signal; the same command continues" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_the_same_bits_on_any_number_of_workers_and_threads_though_one_is_killed(
    start: Callable[..., subprocess.Popen[bytes]], whole: Settings, stored: Stored, tmp_path: Path
) -> None:
    process = start("--workers", "3")
    wait_for(tmp_path / "tiny.zarr", "scan", 1, process)
    workers_of(offspring(process))[0].kill()
    finish(process)
    assert stored(tmp_path / "tiny.zarr") == stored(whole["store"])
    finish(start("--workers", "1", "--threads", "2", "--overwrite"))
    assert stored(tmp_path / "tiny.zarr") == stored(whole["store"])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def cluster(
    tmp_path: Path, requires: Callable[[str, object], None]
) -> Iterator[tuple[str, list[psutil.Process]]]:
    """``dask scheduler`` and ``dask worker`` with two workers under nannies: its address and its processes."""
    dask = SCRIPTS / "dask"
    requires("the dask command", dask.exists())
    address = f"tcp://127.0.0.1:{free_port()}"
    listen = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    two = ["--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory", tmp_path]
    commands = [
        [dask, "scheduler", "--port", address.rpartition(":")[2], *listen, "--no-show"],
        [dask, "worker", address, *two, *listen],
    ]
    with open(tmp_path / "cluster.log", "wb") as log:
        processes = [
            psutil.Popen(command, stdout=log, stderr=log, cwd=tmp_path) for command in commands
        ]
    try:
        yield address, processes
    finally:
        family = [child for process in processes for child in process.children(recursive=True)]
        for process in (*processes, *family):
            process.kill()
        psutil.wait_procs(processes, timeout=10)


def test_the_same_bits_on_a_cluster_that_is_there_though_a_worker_is_killed(
    start: Callable[..., subprocess.Popen[bytes]],
    cluster: tuple[str, list[psutil.Process]],
    whole: Settings,
    stored: Stored,
    tmp_path: Path,
) -> None:
    address, (scheduler, nannies) = cluster
    store = tmp_path / "tiny.zarr"
    process = start("--scheduler", address)
    wait_for(store, "history", 1, process)
    workers_of(nannies.children(recursive=True))[0].kill()
    wait_for(store, "scan", 1, process)
    assert not offspring(process), "the run has workers of its own"
    finish(process)
    assert stored(store) == stored(whole["store"])

    shutil.rmtree(store)
    process = start("--scheduler", address)
    wait_for(store, "history", 1, process)
    scheduler.kill()
    finish(process, 1)
    errors = (tmp_path / "stderr").read_text()
    assert "the Dask scheduler stopped or dropped the tasks of this run" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    finish(start("--workers", "1"))
    assert stored(store) == stored(whole["store"])
