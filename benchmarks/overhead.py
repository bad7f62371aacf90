"""What an iteration costs beside the clustering: wall and CPU against the number of bundles and of workers.

    python benchmarks/overhead.py

First tables: workers in processes of their own, trees that take no time, so that all of the wall is overhead; the CPU is that of driver
and scheduler together, which are one process. Against the number of files, as a run reads them by default, and of bundles. Next: workers in threads of this process whose bundles sleep, so that many
workers fit on one machine; the overhead is the wall beyond the sleep of the busiest thread. Last: the share of the overhead, and the
imbalance, of iterations of real trees of about a second on two workers.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
import time
from typing import Any

import awkward as ak
import numpy as np
import psutil
import uproot
from distributed import Client, LocalCluster

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.estimators.score_function import LeaveOneOut
from djservice.events.batch import EventBatch
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request, RunSetup
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.crew import Crew

ITERATIONS = 30


def tiny(number: int) -> EventBatch:
    """A bundle of one event of three particles."""
    return EventBatch.from_arrays(
        pt=[30.0, 20.0, 10.0],
        rapidity=[0.0, 0.5, 2.0],
        phi=[0.0, 0.5, 2.0],
        mass=[0.0] * 3,
        offsets=[0, 3],
        entry=[number],
        truth=100.0,
    )


def setup_of(loss: Any) -> RunSetup:
    """The setup of a run."""
    return RunSetup(loss, LeaveOneOut(), Sampling(threads=1))


def bundles_of(crew: Crew, number: int, loss: Any) -> Bundles:
    """So many tiny bundles on the workers of a cluster."""
    setup = setup_of(loss)
    token = f"overhead-{time.monotonic_ns()}"
    futures = [crew.submit(tiny, i, key=f"tiny-{token}-{i}") for i in range(number)]
    found = Bundles(crew, setup, [], futures, token)
    found.sizes, found.costs, found.features = [1] * number, [1.0] * number, [None] * number
    return found


async def mustered(client: Client) -> Crew:
    """The workers of a cluster, admitted to all work."""
    crew = await Crew.muster(client, Lines(io.StringIO()))
    await crew.admit_to_clustering()
    return crew


async def per_iteration(bundles: Bundles) -> tuple[float, float]:
    """Median wall and mean CPU of this process per iteration, in ms; the first few are left out."""
    walls = []
    for iteration in range(ITERATIONS + 5):
        if iteration == 5:
            cpu = sum(psutil.Process().cpu_times()[:2])
        began = time.perf_counter()
        await bundles.evaluate(Request(0.7, 2, "train", iteration))
        walls.append(time.perf_counter() - began)
    spent = sum(psutil.Process().cpu_times()[:2]) - cpu
    return 1e3 * float(np.median(walls[5:])), 1e3 * spent / ITERATIONS


def cluster(workers: int, processes: bool) -> Any:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        host="127.0.0.1",
        protocol="tcp",
        memory_limit=0,  # workers in one process would all count all of it
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        asynchronous=True,
    )


async def no_work() -> None:
    print("\nTwo workers, trees that take no time: per iteration [ms]")
    print("bundles   wall   CPU of driver and scheduler")
    async with cluster(2, True) as made, Client(made, asynchronous=True) as client:
        crew = await mustered(client)
        for number in (2, 8, 32, 128, 512, 1024):
            wall, cpu = await per_iteration(
                bundles_of(crew, number, dj.SquaredError(dj.observables.dijet_mass))
            )
            print(f"{number:7d} {wall:6.1f} {cpu:6.1f}", flush=True)


async def of_files() -> None:
    print(
        "\nTwo workers, files of four tiny events, bundles as they are by default: per iteration [ms]"
    )
    print("files   bundles   wall   CPU of driver and scheduler")
    particles = ak.zip({name: [[30.0, 20.0, 10.0]] * 4 for name in ("pt", "mass")})
    particles["eta"], particles["phi"] = [[0.0, 0.5, 2.0]] * 4, [[0.0, 0.5, 2.0]] * 4
    with tempfile.TemporaryDirectory() as folder:
        with uproot.recreate(f"{folder}/0.root") as file:
            file.mktree("Events", {"PFCands": particles.type.content}).extend(
                {"PFCands": particles}
            )
        for i in range(1, 1024):
            shutil.copy(f"{folder}/0.root", f"{folder}/{i}.root")
        async with cluster(2, True) as made, Client(made, asynchronous=True) as client:
            for number in (2, 128, 1024):
                files = [f"{folder}/{i}.root" for i in range(number)]
                loss = {"target": 100.0}
                how = {"loss": loss, "estimator": "leave_one_out", "output": {"store": "none"}}
                run = Run.from_dict({"input": {"files": files}} | how)
                bundles = await Bundles.load(client, RunPlan(run), Lines(io.StringIO()))
                wall, cpu = await per_iteration(bundles)
                print(f"{number:5d} {len(bundles.bundles):9d} {wall:6.1f} {cpu:6.1f}", flush=True)


async def asleep() -> None:
    print("\nWorkers in one process, 4 bundles each that sleep 50 ms: per iteration [ms]")
    print("workers   wall beyond the sleep   CPU of all together")

    @dj.observable(units="GeV")
    def sleepy(jets: Any) -> Any:
        time.sleep(0.05 * jets.shape[0])  # the bundles of a worker come together
        return jets.pt[..., 0]

    for workers in (2, 4, 8, 16, 32, 64):
        async with cluster(workers, False) as made, Client(made, asynchronous=True) as client:
            crew = await mustered(client)
            wall, cpu = await per_iteration(bundles_of(crew, 4 * workers, dj.SquaredError(sleepy)))
            print(f"{workers:7d} {wall - 200.0:6.1f} {cpu:6.1f}", flush=True)


async def real_work() -> None:
    print("\n1,000 shipped events on two workers, iterations of all events")
    print(
        "trees   wall [s]   CPU of the busiest worker [s]   share beside it   its CPU over the mean"
    )
    run = Run.from_dict(
        {
            "input": {"files": "example:ZHllbb_1000", "pt_min": 0.5},
            "loss": {
                "target": 125.0,
                "cuts": [
                    {"name": "two_jets", "pt_min": 20.0},
                    {"name": "mass_below", "maximum": 250.0},
                ],
            },
            "output": {"store": "none"},
        }
    )
    async with cluster(2, True) as made, Client(made, asynchronous=True) as client:
        bundles = await Bundles.load(client, RunPlan(run), Lines(io.StringIO()))
        for trees in (5, 20, 40):
            rows = []
            for iteration in range(8):
                before = await client.run(_cpu)
                began = time.perf_counter()
                await bundles.evaluate(Request(0.7, trees, "train", iteration))
                wall = time.perf_counter() - began
                after = await client.run(_cpu)
                used = [after[worker] - before[worker] for worker in after]
                rows.append((wall, max(used), 1.0 - max(used) / wall, max(used) / np.mean(used)))
            wall, busiest, share, imbalance = np.median(rows[2:], axis=0)
            print(
                f"{trees:5d} {wall:10.3f} {busiest:10.3f} {share:25.3f} {imbalance:18.3f}",
                flush=True,
            )


def _cpu() -> float:
    return sum(psutil.Process().cpu_times()[:2])


def main() -> None:
    asyncio.run(of_files())
    asyncio.run(no_work())
    asyncio.run(asleep())
    asyncio.run(real_work())


if __name__ == "__main__":
    main()
