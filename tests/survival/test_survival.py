"""A run on a scheduler, and everything that can happen to its cluster: the same bits at the end, and nothing left behind."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from processes import ITERATIONS

from djservice.config.run import Run
from djservice.errors import RunError
from djservice.service.client import Service, SubmittedRun

Reach = Callable[[SubmittedRun, str, int], None]
Stored = Callable[[str | Path], dict[str, bytes]]


def signalled(number: int) -> Callable[[Any], None]:
    def fault(cluster: Any) -> None:
        cluster.a_worker().send_signal(number)

    return fault


def all_workers_gone(cluster: Any) -> None:
    cluster.kill_workers()
    time.sleep(1)
    cluster.start_workers()


def restarted_by_a_client(cluster: Any) -> None:
    """Every task is dropped under the run."""
    with Client(cluster.address, set_as_default=False) as client:
        client.restart(wait_for_workers=False)


def scheduler_killed(cluster: Any) -> None:
    cluster.kill_scheduler()
    cluster.kill_workers()
    cluster.start_scheduler()
    cluster.start_workers()


def scheduler_stopped(cluster: Any) -> None:
    """In order, as by a batch system at the end of its time."""
    cluster.scheduler.terminate()
    cluster.scheduler.wait(timeout=300)
    cluster.kill_workers()
    cluster.start_scheduler()
    cluster.start_workers()


FAULTS: dict[str, Callable[[Any], None]] = {
    "worker killed": signalled(signal.SIGKILL),
    "worker terminated": signalled(signal.SIGTERM),
    "worker segfaults": signalled(signal.SIGSEGV),
    "all workers gone": all_workers_gone,
    "restarted by a client": restarted_by_a_client,
    "scheduler killed": scheduler_killed,
    "scheduler stopped": scheduler_stopped,
}
#: Where a run may be when it happens.
POINTS = (
    [("optimise", n) for n in range(1, ITERATIONS)]
    + [("scan", n) for n in range(1, 4)]
    + [("newton", 1), ("spectrum", 1)]
)


@pytest.mark.parametrize(
    "faults",
    [
        [name for name in FAULTS if name.startswith(("worker", "restarted"))],
        *(pytest.param([name], marks=pytest.mark.long) for name in FAULTS),
    ],
    ids=lambda faults: faults[0] if len(faults) == 1 else "all that single workers meet",
)
def test_the_same_bits_though(
    faults: list[str],
    cluster: Any,
    service: Service,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    reach: Reach,
) -> None:
    """One fault after the other, each as far from the next as the iterations let them be.

    All workers are gone at once where a scheduler is killed, and in the long form.
    """
    run = service.submit(disturbable_run)
    for number, fault in enumerate(faults):
        print(f"{fault} at {run.status()['progress']}")
        reach(run, "optimise", 5 + number * (ITERATIONS - 10) // len(faults))
        FAULTS[fault](cluster)
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)
    assert cluster.left_behind() == ([], 0, [])


def test_the_same_bits_though_a_worker_stands_still_and_comes_back(
    make_cluster: Any,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    reach: Reach,
    tmp_path: Path,
) -> None:
    short = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s",
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "20",
    }
    cluster = make_cluster(tmp_path, short)
    run = cluster.start_scheduler().submit(disturbable_run)
    cluster.start_workers()
    reach(run, "optimise", 10)
    worker = cluster.a_worker()
    cluster.frozen.append(worker)
    worker.suspend()
    wait_for(lambda: "Worker failed to heartbeat" in cluster.text())
    worker.resume()
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)
    assert cluster.left_behind() == ([], 0, [])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    "faults",
    [
        [("optimise", 10, scheduler_killed), ("scan", 1, scheduler_stopped)],
        pytest.param(
            [
                ("optimise", 10, scheduler_killed),
                ("scan", 1, scheduler_stopped),
                ("spectrum", 1, scheduler_killed),
            ],
            marks=pytest.mark.long,
        ),
    ],
    ids=len,
)
def test_a_scheduler_killed_again_and_again_goes_on_by_itself(
    faults: list[tuple[str, int, Callable[[Any], None]]],
    cluster: Any,
    service: Service,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    reach: Reach,
) -> None:
    """Without a word and in order; a second run waits in the queue meanwhile, a third is paused."""
    run = service.submit(disturbable_run)
    paused = service.submit(another(disturbable_run, "paused", seed=3))
    assert paused.pause()["state"] == "paused"
    queued = service.submit(another(disturbable_run, "queued", seed=2))
    for phase, done, fault in faults:
        reach(run, phase, done)
        fault(cluster)
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)
    assert [entry["reason"] for entry in run.status()["transitions"]].count(
        "the scheduler started again"
    ) == len(faults)
    assert queued.wait(timeout=300).result.iterations == 10
    assert paused.status()["state"] == "paused"
    assert cluster.left_behind() == ([], 0, [])


def another(run: Run, name: str, seed: int) -> Run:
    """A shorter one."""
    settings = run.to_dict()
    settings["optimiser"]["iterations"] = 10
    settings["output"]["store"] = str(Path(run.output.store).with_name(f"{name}.zarr"))
    return Run.from_dict(settings | {"seed": seed})


def seeds() -> list[Any]:
    """Of the schedules, in the long form; FAULT_SEED=n does your own."""
    if "FAULT_SEED" in os.environ:
        return [int(os.environ["FAULT_SEED"])]
    return [pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 23)]


@pytest.mark.parametrize("seed", seeds())
def test_a_random_schedule_of_faults(
    seed: int,
    cluster: Any,
    service: Service,
    disturbable_run: Run,
    undisturbed: Path,
    stored: Stored,
    reach: Reach,
) -> None:
    dice = random.Random(seed)
    names = dice.sample(list(FAULTS), 3)
    points = sorted(dice.sample(POINTS, 3), key=POINTS.index)
    delays = [dice.uniform(0.0, 0.2) for _ in points]
    print(f"FAULT_SEED={seed}: {list(zip(names, points, delays, strict=True))}")
    run = service.submit(disturbable_run)
    for name, point, delay in zip(names, points, delays, strict=True):
        reach_or_end(run, *point)
        time.sleep(delay)
        FAULTS[name](cluster)
    run.wait(timeout=300)
    assert stored(disturbable_run.output.store) == stored(undisturbed)
    assert cluster.left_behind() == ([], 0, [])


def reach_or_end(run: SubmittedRun, phase: str, done: int) -> None:
    """Wait until a run is that far, or over: a fault may also hit a cluster whose run has just ended."""
    phases = ("read", "optimise", "scan", "newton", "spectrum")
    end = time.monotonic() + 300
    while time.monotonic() < end:
        now = run.status()
        progress = now["progress"]
        assert now["state"] != "failed", now
        if now["state"] == "finished" or (
            progress
            and (phases.index(progress["phase"]), progress["done"]) >= (phases.index(phase), done)
        ):
            return
        time.sleep(0.05)
    pytest.fail(f"never came to {phase} {done}: {run.status()}")


def test_a_bundle_too_large_for_every_worker_is_named(
    make_cluster: Any, tiny: Any, tmp_path: Path
) -> None:
    """Memory runs out on each worker that reads it: the run fails and says which task, and the cluster goes on."""
    import uproot

    count = 8_000_000  # 256 MB as float64, next to nothing in a compressed file
    arrays = {
        name: np.zeros((1, count), np.float32)
        for name in ("PFCands_eta", "PFCands_phi", "PFCands_mass")
    }
    arrays["PFCands_pt"] = np.ones((1, count), np.float32)
    with uproot.recreate(tmp_path / "large.root") as file:
        file["Events"] = arrays
    cluster = make_cluster(tmp_path, {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"})
    service = cluster.start_scheduler()
    cluster.start_workers(1, "--memory-limit", "500MB")
    large = {
        "files": str(tmp_path / "large.root"),
        "weight": None,
        "entries": None,
        "bundle_events": None,
    }
    run = service.submit(Run.from_dict(tiny | {"input": tiny["input"] | large}))
    with pytest.raises(
        RunError,
        match=r"2 workers died on the task read-\w+-0, so .* smaller bundles \(input\.bundle_events\)",
    ):
        run.wait(timeout=300)
    small = service.submit(
        Run.from_dict(tiny | {"output": {"store": str(tmp_path / "small.zarr")}})
    )
    assert small.wait(timeout=300).result.iterations == 6
    assert cluster.left_behind() == ([], 0, [])


def soak(cluster: Any, run: SubmittedRun, iterations: int, kills: int, reach: Reach) -> list[float]:
    """Resident memory of the scheduler in MB at equal distances through a run whose workers come and go."""
    sizes = []
    for kill in range(1, kills + 1):
        reach(run, "optimise", kill * iterations // (kills + 1))
        sizes.append(cluster.scheduler.memory_info().rss / 1e6)
        cluster.a_worker().kill()
    return sizes


LONG = [pytest.mark.long, pytest.mark.timeout(7200)]


@pytest.mark.parametrize(
    ("iterations", "kills"),
    [
        pytest.param(*each, marks=LONG)
        for each in ((160, 2), (400, 3), (800, 5), (2_000, 20), (50_000, 5))
    ],
)
def test_memory_stays_flat_through_a_long_run_with_worker_churn(
    iterations: int, kills: int, cluster: Any, service: Service, tiny: Any, reach: Reach
) -> None:
    few = {
        "optimiser": {
            "iterations": iterations,
            "batch_events": 8,
            "trees": 4,
            "averaging_start": 10,
        }
    }
    run = service.submit(
        Run.from_dict(tiny | {"input": tiny["input"] | {"bundle_events": 20}} | few)
    )
    sizes = soak(cluster, run, iterations, kills, reach)
    assert run.wait(timeout=7000).result.iterations == iterations
    sizes.append(cluster.scheduler.memory_info().rss / 1e6)
    print(f"scheduler, MB: {[round(size, 1) for size in sizes]}")
    assert cluster.left_behind() == ([], 0, [])
    # Dask's logs of events grow to a bound at first; from half-way on it is flat.
    assert sizes[-1] - sizes[kills // 2] < 10, sizes
    assert max(worker.memory_info().rss for worker in cluster.workers()) < 600e6
