"""CPU of scheduler and driver per iteration against the number of workers, which are simulated.

    python benchmarks/fleet.py --workers 16,64,256,1000

The scheduler is a process of its own, and so is the driver (this one). Workers are many to a
process, as coroutines that compute nothing (``answering.py``), and their bundles are of one tiny
event. What is printed is the CPU that the system counts for the scheduler and for the driver, per
iteration and per worker, less what they use in the same time when they are idle.
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
from distributed import Client, Scheduler
from numpy.typing import NDArray
from overhead import bundles_of, mustered, setup_of, tiny

import djservice as dj
from djservice.fit.requests import Request
from djservice.on_dask.tasks import evaluate_bundles

ITERATIONS = 12
#: Seconds in which it is measured what the processes use when nothing is asked of them.
IDLE = 3.0
LOSS = dj.SquaredError(dj.observables.dijet_mass)


def schedule(port: int) -> None:
    """A scheduler without end."""

    async def forever() -> None:
        async with Scheduler(host="127.0.0.1", port=port, dashboard=False) as scheduler:
            await scheduler.finished()

    asyncio.run(forever())


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


async def per_iteration(
    address: str, pid: int, workers: int, rpc: bool = False
) -> tuple[float, float, float]:
    """Mean CPU of scheduler and of driver beyond idling, and median wall, per iteration in ms."""
    both = [psutil.Process(pid), psutil.Process()]
    async with Client(address, asynchronous=True) as client:
        await client.wait_for_workers(workers)
        crew = await mustered(client)
        while len(await crew.workers("clustering")) < workers:
            await asyncio.sleep(0.5)
        bundles = bundles_of(crew, workers, LOSS)

        async def iterate(iteration: int) -> None:
            if rpc:
                await client.run(result_of)
            else:
                await bundles.evaluate(Request(0.7, 2, "train", iteration))

        for iteration in range(3):  # the first few are left out
            await iterate(iteration)
        before = _cpu(both)
        await asyncio.sleep(IDLE)
        began, idle = _cpu(both), (_cpu(both) - before) / IDLE
        walls = []
        for iteration in range(3, ITERATIONS + 3):
            start = time.perf_counter()
            await iterate(iteration)
            walls.append(time.perf_counter() - start)
        spent = _cpu(both) - began - idle * sum(walls)
    scheduler, driver = (1e3 * spent / ITERATIONS).tolist()
    return scheduler, driver, 1e3 * float(np.median(walls))


def _cpu(processes: list[psutil.Process]) -> NDArray[np.float64]:
    """CPU seconds of processes so far, shape (process,)."""
    return np.array([sum(process.cpu_times()[:2]) for process in processes])


@click.command(help=__doc__)
@click.option("--workers", default="16,64,256", show_default=True, help="Numbers of workers.")
@click.option("--processes", default=1, show_default=True, help="Processes that hold them.")
@click.option("--sleep", default=0.0, show_default=True, help="Seconds that each worker sleeps.")
@click.option("--rpc", is_flag=True, help="Ask each worker by a call, without tasks.")
def main(workers: str, processes: int, sleep: float, rpc: bool) -> None:
    """Print the table."""
    spawn = multiprocessing.get_context("spawn")
    print("workers   CPU of scheduler, driver [ms]   per worker [ms]   wall [ms]", flush=True)
    for port, number in enumerate(map(int, workers.split(",")), start=28700):
        address = f"tcp://127.0.0.1:{port}"
        shares = [len(share) for share in np.array_split(range(number), processes) if len(share)]
        started: list[Any] = [spawn.Process(target=schedule, args=(port,), daemon=True)]
        started += [
            spawn.Process(target=answer, args=(address, n, sleep), daemon=True) for n in shares
        ]
        for process in started:
            process.start()
        scheduler, driver, wall = asyncio.run(per_iteration(address, started[0].pid, number, rpc))
        each = (scheduler + driver) / number
        print(f"{number:7d} {scheduler:13.1f}, {driver:6.1f} {each:22.2f} {wall:16.0f}", flush=True)
        for process in reversed(started):
            process.kill()
            process.join()


if __name__ == "__main__":
    main()
