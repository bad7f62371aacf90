"""CPU of scheduler and driver per iteration against the number of workers, which are simulated.

    python benchmarks/fleet.py --workers 2,16,64,256

The scheduler is a process of its own, and so is the driver (this one). Workers are many to a
process, as coroutines, and their bundles are of one tiny event. They answer at once
(``answering.py``), or are Dask's and sleep (``--sleep``). What is printed is the CPU that the
system counts for the scheduler and for the driver, per iteration and per worker, less what they use
in the same time when they are idle.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import Any

import click
import cloudpickle
import numpy as np
import psutil
from answering import Answering
from distributed import Client, Scheduler, Worker
from numpy.typing import NDArray
from overhead import bundles_of, mustered, setup_of, tiny

import djservice as dj
from djservice.fit.requests import Request
from djservice.on_dask.tasks import evaluate_bundles

ITERATIONS = 12
#: Seconds in which it is measured what the processes use when nothing is asked of them.
IDLE = 3.0


def schedule(port: int) -> None:
    """A scheduler without end."""

    async def forever() -> None:
        async with Scheduler(host="127.0.0.1", port=port, dashboard=False) as scheduler:
            await scheduler.finished()

    asyncio.run(forever())


def answer(address: str, number: int) -> None:
    """So many workers that answer at once, in one process."""
    setup = cloudpickle.dumps(setup_of(dj.SquaredError(dj.observables.dijet_mass)))
    result = evaluate_bundles([tiny(0)], setup, [Request(0.7, 2, "train", 0)], [None])

    async def forever() -> None:
        for _ in range(number):
            await Answering(address, result).register()
        await asyncio.Event().wait()

    asyncio.run(forever())


def work(address: str, number: int) -> None:
    """So many workers of Dask, in one process."""

    async def forever() -> None:
        workers = [
            Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(number)
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))

    asyncio.run(forever())


def leading_pt_after(seconds: float) -> Any:
    """A loss whose evaluation sleeps first; the tree's value does not matter."""

    @dj.observable(units="GeV")
    def sleepy(jets: Any) -> Any:
        time.sleep(seconds)
        return jets.pt[..., 0]

    return dj.SquaredError(sleepy)


async def per_iteration(
    address: str, pid: int, workers: int, sleep: float
) -> tuple[float, float, float]:
    """Mean CPU of scheduler and of driver beyond idling, and median wall, per iteration in ms."""
    both = [psutil.Process(pid), psutil.Process()]
    async with Client(address, asynchronous=True) as client:
        await client.wait_for_workers(workers)
        crew = await mustered(client)
        while len(await crew.workers("clustering")) < workers:
            await asyncio.sleep(0.5)
        bundles = bundles_of(crew, workers, leading_pt_after(sleep))
        for iteration in range(3):  # the first few are left out
            await bundles.evaluate(Request(0.7, 2, "train", iteration))
        before = _cpu(both)
        await asyncio.sleep(IDLE)
        began, idle = _cpu(both), (_cpu(both) - before) / IDLE
        walls = []
        for iteration in range(3, ITERATIONS + 3):
            start = time.perf_counter()
            await bundles.evaluate(Request(0.7, 2, "train", iteration))
            walls.append(time.perf_counter() - start)
        spent = _cpu(both) - began - idle * sum(walls)
    scheduler, driver = (1e3 * spent / ITERATIONS).tolist()
    return scheduler, driver, 1e3 * float(np.median(walls))


def _cpu(processes: list[psutil.Process]) -> NDArray[np.float64]:
    """CPU seconds of processes so far, shape (process,)."""
    return np.array([sum(process.cpu_times()[:2]) for process in processes])


@click.command(help=__doc__)
@click.option("--workers", default="2,16,64,256", show_default=True, help="Numbers of workers.")
@click.option("--processes", default=2, show_default=True, help="Processes that hold them.")
@click.option("--sleep", default=0.0, show_default=True, help="Seconds that each worker sleeps.")
def main(workers: str, processes: int, sleep: float) -> None:
    """Print the table."""
    spawn = multiprocessing.get_context("spawn")
    print("workers   CPU of scheduler, driver [ms]   per worker [ms]   wall [ms]", flush=True)
    for port, number in enumerate(map(int, workers.split(",")), start=28700):
        address = f"tcp://127.0.0.1:{port}"
        shares = [len(share) for share in np.array_split(range(number), processes) if len(share)]
        started: list[Any] = [spawn.Process(target=schedule, args=(port,), daemon=True)]
        started += [
            spawn.Process(target=work if sleep else answer, args=(address, n), daemon=True)
            for n in shares
        ]
        for process in started:
            process.start()
        scheduler, driver, wall = asyncio.run(per_iteration(address, started[0].pid, number, sleep))
        each = (scheduler + driver) / number
        print(f"{number:7d} {scheduler:13.1f}, {driver:6.1f} {each:22.2f} {wall:16.0f}", flush=True)
        for process in reversed(started):
            process.kill()
            process.join()


if __name__ == "__main__":
    main()
