"""CPU of scheduler and driver per iteration against the number of workers, which are simulated.

    python benchmarks/fleet.py --workers 16,64,256,1000

The scheduler is a process of its own, ``dask scheduler`` with djservice's preload, and so is the
driver (this one). Workers are many to a process, as coroutines that compute nothing
(``answering.py``), and their bundles are of one tiny event. What is printed is the CPU that the
system counts for the scheduler and for the driver, per iteration, less what they use in the same
time when they are idle. Three ways to ask all workers take turns on the same cluster:

* run: an iteration of a run;
* dask: as many tasks of Dask alone, for the same workers, whose results are gathered;
* calls: a call to each worker, without tasks.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import click
import cloudpickle
import numpy as np
import psutil
from answering import Answering
from distributed import Client, wait
from numpy.typing import NDArray
from overhead import bundles_of, mustered, setup_of, tiny

import djservice as dj
from djservice.fit.requests import Request
from djservice.on_dask.admission import resource_of, show
from djservice.on_dask.crew import Crew
from djservice.on_dask.held import MOST
from djservice.on_dask.tasks import evaluate_bundles

#: Iterations of one way before it is the next one's turn, so that each turn has all messages.
TURN = MOST
#: Seconds in which the last messages of a turn are handled, and those of measuring what idle processes use.
REST, IDLE = 0.2, 5.0
LOSS = dj.SquaredError(dj.observables.dijet_mass)


def scheduler(port: int, folder: str) -> subprocess.Popen[bytes]:
    """A scheduler that does not miss the heartbeats of workers."""
    place = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    preload = ["--preload", "djservice.preload", "--state-directory", folder]
    return subprocess.Popen(
        [sys.executable, "-m", "dask", "scheduler", *place, *preload],
        env=os.environ
        | {
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "None",
            "PYTHONPATH": os.pathsep.join(sys.path),  # it imports the modules of the tasks
        },
        stderr=subprocess.DEVNULL,
    )


def answer(address: str, number: int, seconds: float = 0.0) -> None:
    """So many workers that answer after some seconds, in one process."""
    setup = cloudpickle.dumps(setup_of(LOSS))
    result = evaluate_bundles([tiny(0)], setup, [Request(0.7, 2, "train", 0)], [None])

    async def forever() -> None:
        for _ in range(number):
            await Answering(address, result, seconds).register()
        await asyncio.Event().wait()

    asyncio.run(forever())


async def result_of(dask_worker: Answering) -> Any:
    """The answer of a worker, asked without a task."""
    return dask_worker.result


async def ways(crew: Crew, workers: int) -> dict[str, Callable[[int], Awaitable[Any]]]:
    """The ways to ask all workers, each a function of the number of the iteration."""
    bundles = bundles_of(crew, workers, LOSS)
    await wait(bundles.bundles)  # as a run does before its first iteration
    admitted = resource_of(show("clustering"), "clustering")

    async def run(iteration: int) -> None:
        await bundles.evaluate(Request(0.7, 2, "train", iteration))

    async def dask(iteration: int) -> None:
        keys = [f"alone-{iteration}-{i}" for i in range(workers)]
        futures = crew.client.map(
            abs, range(workers), key=keys, pure=False, resources={admitted: 1.0}
        )
        await crew.client.gather(futures)

    async def calls(iteration: int) -> None:
        await crew.client.run(result_of)

    return {"run": run, "dask": dask, "calls": calls}


async def per_iteration(
    address: str, pid: int, workers: int, turns: int
) -> dict[str, NDArray[np.float64]]:
    """CPU of scheduler and of driver beyond idling, and wall, per iteration in ms: medians over turns."""
    both = [psutil.Process(pid), psutil.Process()]
    async with Client(address, asynchronous=True, timeout=300) as client:
        await client.wait_for_workers(workers)
        crew = await mustered(client)
        while len(await crew.workers("clustering")) < workers:
            await asyncio.sleep(0.5)
        asked, used = await ways(crew, workers), dict[str, list[NDArray[np.float64]]]()
        for turn in range(1 + turns):  # the first is left out
            for way, ask in asked.items():
                before = _used(both)
                for iteration in range(TURN):
                    await ask(turn * TURN + iteration)
                await asyncio.sleep(REST)
                used.setdefault(way, []).append(_used(both) - before)
        await asyncio.sleep(IDLE)
        before = _used(both)
        await asyncio.sleep(IDLE)
        idle = (_used(both) - before)[:2] / IDLE
    measured = {}
    for way, each in used.items():
        beyond = [row - [*(idle * row[2]), REST] for row in each[1:]]
        measured[way] = 1e3 * np.median(beyond, axis=0) / TURN
    return measured


def _used(processes: list[psutil.Process]) -> NDArray[np.float64]:
    """CPU seconds of processes so far, and the time."""
    cpu = [sum(process.cpu_times()[:2]) for process in processes]
    return np.array([*cpu, time.perf_counter()])


@click.command(help=__doc__)
@click.option("--workers", default="16,64,256", show_default=True, help="Numbers of workers.")
@click.option("--processes", default=1, show_default=True, help="Processes that hold them.")
@click.option("--sleep", default=0.0, show_default=True, help="Seconds that each worker sleeps.")
@click.option("--turns", default=3, show_default=True, help="Turns of each way.")
def main(workers: str, processes: int, sleep: float, turns: int) -> None:
    """Print the table."""
    spawn = multiprocessing.get_context("spawn")
    print("workers   way   CPU of scheduler, driver [ms]   per worker [ms]   wall [ms]", flush=True)
    for port, number in enumerate(map(int, workers.split(",")), start=28700):
        address = f"tcp://127.0.0.1:{port}"
        shares = [len(share) for share in np.array_split(range(number), processes) if len(share)]
        holders = [
            spawn.Process(target=answer, args=(address, n, sleep), daemon=True) for n in shares
        ]
        with tempfile.TemporaryDirectory() as folder:
            started: list[Any] = [scheduler(port, folder), *holders]
            for holder in holders:
                holder.start()
            try:
                measured = asyncio.run(per_iteration(address, started[0].pid, number, turns))
            finally:
                for process in reversed(started):
                    process.kill()
        for way, (of_scheduler, driver, wall) in measured.items():
            each = (of_scheduler + driver) / number
            print(
                f"{number:7d} {way:>5} {of_scheduler:13.1f}, {driver:6.1f} {each:22.2f} {wall:16.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
