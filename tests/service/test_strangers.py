"""Real processes that a run must not trust: another worker, another input, and a run that kills its scheduler."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import disturbable

import djservice
from djservice.config.run import Run
from djservice.errors import RunError, UnreachableError
from djservice.service.client import SubmittedRun
from djservice.store.run_store import Store

pytestmark = pytest.mark.long
Settings = dict[str, Any]
SOURCES = Path(djservice.__file__).parent
#: Memory in bytes at which the scheduler is killed, as by the kernel in a container of that size.
LIMIT = 1_000_000_000


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def says(run: SubmittedRun, text: str) -> bool:
    return any(text in line for _, line in run.logs())


def test_a_worker_with_other_sources_that_joins_late_gets_no_work(
    make_cluster: Any,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    reach: Callable[[SubmittedRun, str, int], None],
    tmp_path: Path,
) -> None:
    """Not even while the only worker alike stands still."""
    shutil.copytree(SOURCES, tmp_path / "other" / "djservice")
    losses = tmp_path / "other/djservice/objectives/losses.py"
    losses.write_text(losses.read_text() + "\n# another version\n")
    cluster = make_cluster(tmp_path)
    run = cluster.start_scheduler().submit(disturbable_run)
    cluster.start_workers(1)
    reach(run, "optimise", 10)
    worker = cluster.a_worker()
    cluster.frozen.append(worker)
    worker.send_signal(signal.SIGSTOP)
    here = cluster.environment["PYTHONPATH"]
    cluster.environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "other"), here])
    cluster.start_workers(1)
    wait_for(lambda: says(run, "djservice has other sources"))
    assert says(run, "Start workers from the same image or environment")
    progress = run.status()["progress"]
    time.sleep(3)
    assert run.status()["progress"] == progress
    worker.send_signal(signal.SIGCONT)
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)


def test_a_run_begins_while_a_worker_that_served_others_stands_still(
    make_cluster: Any,
    tiny: Settings,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    tmp_path: Path,
) -> None:
    """Dask gives its tasks to the other one once it is given up."""
    cluster = make_cluster(tmp_path, {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s"})
    service = cluster.start_scheduler()
    cluster.start_workers(2)
    first = {"output": {"store": str(tmp_path / "first.zarr")}}
    service.submit(Run.from_dict(tiny | first)).wait(timeout=300)
    wait_for(lambda: len(cluster.workers()) == 2)
    worker = cluster.a_worker()
    cluster.frozen.append(worker)
    worker.send_signal(signal.SIGSTOP)
    run = service.submit(disturbable_run)
    wait_for(lambda: says(run, "no answer of tcp://"))
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)


def test_an_input_replaced_during_a_run_is_not_mixed_in_when_a_worker_dies(
    make_cluster: Any,
    tiny: Settings,
    undisturbed: Path,
    stored: Callable[[str | Path], dict[str, bytes]],
    reach: Callable[[SubmittedRun, str, int], None],
    tmp_path: Path,
) -> None:
    source, other = (SOURCES / "data" / f"ZHllbb_{events}.root" for events in (200, 1000))
    path = tmp_path / "input.root"
    shutil.copy(source, path)
    settings = disturbable(tiny) | {"input": tiny["input"] | {"files": str(path)}}
    cluster = make_cluster(tmp_path)
    service = cluster.start_scheduler()
    cluster.start_workers(1)
    run = service.submit(Run.from_dict(settings))
    reach(run, "optimise", 10)
    shutil.copy(other, tmp_path / "new.root")
    os.replace(tmp_path / "new.root", path)
    cluster.a_worker().kill()
    with pytest.raises(RunError, match=r"input\.root.*changed since it was inspected"):
        run.wait(timeout=300)
    rows = Store.read(settings["output"]["store"]).column("history", "loss")
    assert np.array_equal(rows, Store.read(undisturbed).column("history", "loss")[: len(rows)])
    shutil.copy(source, path)
    service.submit(Run.from_dict(settings)).wait(timeout=300)
    assert stored(settings["output"]["store"]) == stored(undisturbed)


@contextmanager
def memory_limited(cluster: Any) -> Iterator[threading.Event]:
    """Kill the scheduler when its memory exceeds the limit; the event is set then."""
    killed, done = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(0.02) and not killed.is_set():
            try:
                if cluster.scheduler.memory_info().rss > LIMIT:
                    cluster.kill_scheduler()
                    killed.set()
            except psutil.Error:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        done.set()
        thread.join()


BOMB = """
import threading

import numpy as np
from djservice.objectives.observables import dijet_mass


def bomb():
    if threading.current_thread().name.startswith("djservice bomb"):
        np.ones(2**29)
    return dijet_mass
"""


def test_a_run_that_kills_a_limited_scheduler_twice_is_set_aside(
    make_cluster: Any, tiny: Settings, tmp_path: Path
) -> None:
    """Its observable takes 4 GB in the scheduler of 1 GB when the run starts, and none when it is checked."""
    (tmp_path / "bomb.py").write_text(BOMB)
    facts = tmp_path / "bomb-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: bomb\nVersion: 1\n")
    (facts / "entry_points.txt").write_text("[djservice.observables]\nbomb = bomb:bomb\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    cluster = make_cluster(tmp_path, {"PYTHONPATH": os.pathsep.join(filter(None, paths))})

    def settings(name: str, observable: str) -> Run:
        loss = tiny["loss"] | {"observable": observable}
        return Run.from_dict(tiny | {"loss": loss, "output": {"store": str(tmp_path / name)}})

    service = cluster.start_scheduler()
    with memory_limited(cluster) as killed:
        service.submit(settings("bomb", "bomb"))
        with suppress(UnreachableError):  # if it is killed meanwhile
            service.submit(settings("other", "dijet_mass"))
        assert killed.wait(300)
    service = cluster.start_scheduler()
    with memory_limited(cluster) as killed:
        assert killed.wait(300)
    service = cluster.start_scheduler()
    with memory_limited(cluster) as killed:
        bomb = next(run for run in service.runs() if run["id"].startswith("bomb"))
        assert bomb["state"] == "set-aside" and "died 2 times" in bomb["reason"]
        cluster.start_workers(1)
        other = service.submit(settings("other", "dijet_mass"))
        other.wait(timeout=300)
        assert not killed.is_set()
