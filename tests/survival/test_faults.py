"""Real processes, killed and stopped at any point: the same bits at the end, and nothing left behind."""

import contextlib
import json
import os
import random
import signal
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
#: Where a run is killed or stopped.
PHASES = ("history", "later history", "scan", "newton", "spectrum")
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
    assert process.wait(timeout=300) == code


def wait_for(store: Path, group: str, rows: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a group of the store has so many rows. Its file is read, for opening the store each time takes half a processor."""
    end = time.monotonic() + 300
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


def wait_until_said(text: str, errors: Path) -> None:
    end = time.monotonic() + 300
    while text not in errors.read_text() and time.monotonic() < end:
        time.sleep(0.02)


def offspring(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=300)
    assert not alive


def workers_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in processes if "spawn_main" in " ".join(child.cmdline())]


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    finish(process, -signal.SIGKILL)


def stopped(number: int) -> Callable[[subprocess.Popen[bytes]], None]:
    def stop(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, number)
        finish(process, 1)

    return stop


@pytest.mark.parametrize(
    "phases",
    [("history", "scan"), pytest.param(PHASES, marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_killed_and_stopped_at_any_point_it_goes_on_to_the_same_bits(
    phases: tuple[str, ...],
    start: Callable[..., subprocess.Popen[bytes]],
    config: Path,
    scheduler: str,
    whole: Settings,
    stored: Stored,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """On any number of workers and threads, one of which is killed first.

    SIGTERM goes to the whole group, as a batch system sends it, and so does SIGINT, as with Ctrl-C.
    """
    seed = int(os.environ.get("KILL_SEED", "20261122"))
    dice = random.Random(seed)
    store = tmp_path / "tiny.zarr"
    faults = [
        ("history", dice.randint(1, 20), ("--workers", "2"), killed),
        ("history", dice.randint(30, 50), ("--workers", "1"), stopped(signal.SIGTERM)),
        ("scan", dice.randint(1, 2), ("--workers", "1", "--threads", "2"), stopped(signal.SIGINT)),
        ("newton", 1, ("--workers", "3"), killed),
        ("spectrum", dice.randint(1, 2), ("--workers", "1"), killed),
    ]
    for number, (group, rows, options, fault) in enumerate(faults):
        if PHASES[number] not in phases:
            continue
        process = start(*options)
        wait_until_said("optimise", tmp_path / "stderr")  # rows may be there from before
        if number == 0:
            wait_for(store, group, 1, process)
            workers_of(offspring(process))[0].kill()
        wait_for(store, group, rows, process)
        delay = dice.uniform(0.0, 0.1)
        print(f"KILL_SEED={seed}: {group} {rows}, {delay}")
        time.sleep(delay)
        family = offspring(process)
        assert family
        fault(process)
        assert_gone(family)
        errors = (tmp_path / "stderr").read_text()
        assert "damaged" not in errors  # it would be mended, and a fault of the run before with it
        if fault is not killed:
            assert "the same command continues from there" in errors.splitlines()[-1]
            assert "Traceback" not in errors
            assert Store.read(store).attributes["status"] == "interrupted"
    dj.run(Run.from_yaml(config, [f"cluster.scheduler={scheduler}"]))
    assert "damaged" not in capfd.readouterr().err
    assert stored(store) == stored(whole["store"])


@pytest.mark.long  # tests/store/test_store.py has the words, and the test above who is gone
def test_stopped_before_its_first_iteration(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, config: Path
) -> None:
    process = start("--workers", "1")
    wait_until_said("read 40 events", tmp_path / "stderr")
    family = offspring(process)
    process.terminate()
    finish(process, 1)
    assert_gone(family)
    errors = (tmp_path / "stderr").read_text()
    assert errors.splitlines()[-1].endswith(
        "RunError: stopped by a signal while the run was prepared; the same command goes on."
    )
    assert "Traceback" not in errors


def test_on_a_cluster_that_is_there_though_a_worker_and_then_the_scheduler_is_killed(
    start: Callable[..., subprocess.Popen[bytes]],
    make_cluster: Any,
    config: Path,
    whole: Settings,
    scheduler: str,
    stored: Stored,
    tmp_path: Path,
) -> None:
    store = tmp_path / "tiny.zarr"
    cluster = make_cluster(tmp_path)
    cluster.start_scheduler()
    cluster.start_workers(1)
    process = start("--scheduler", cluster.address)
    wait_for(store, "history", 1, process)
    cluster.a_worker().kill()
    wait_for(store, "scan", 1, process)
    assert not offspring(process), "the run has workers of its own"
    cluster.kill_scheduler()
    finish(process, 1)
    errors = (tmp_path / "stderr").read_text()
    assert "the Dask scheduler stopped or dropped the tasks of this run" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    dj.run(Run.from_yaml(config, [f"cluster.scheduler={scheduler}"]))
    assert stored(store) == stored(whole["store"])
