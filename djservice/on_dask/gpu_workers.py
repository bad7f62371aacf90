"""GPUs of a Dask cluster: workers that have one, and a local cluster with a worker for each GPU.

A worker with a GPU announces the resource GPU=1. A run clusters either on these workers only or on
processors only, so that its numbers have the same bits every time. The other workers of a mixed
cluster read input.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from distributed import LocalCluster

from djservice.clustering.device import Device, has_gpu, simulated
from djservice.config.run import Run
from djservice.errors import DeviceError
from djservice.on_dask.admission import Work
from djservice.on_dask.crew import Crew

#: Resources of a task that clusters on a GPU.
GPU = {"GPU": 1.0}


def local_cluster(
    workers: int | None, threads: int | None, device: Device, **settings: Any
) -> LocalCluster:
    """A cluster on this machine, with one worker per GPU or one per processor.

    GPUs are used if there are any and the device is not "cpu".

    Raises
    ------
    DeviceError
        If there is no GPU and the device is "cuda", or dask-cuda is not installed.
    """
    threads = threads or 1
    per_processor = workers or max(1, len(os.sched_getaffinity(0)) // threads)
    if not has_gpu(device):
        return LocalCluster(n_workers=per_processor, threads_per_worker=threads, **settings)
    if simulated():
        return LocalCluster(
            n_workers=per_processor, threads_per_worker=threads, resources=GPU, **settings
        )
    try:
        dask_cuda = importlib.import_module("dask_cuda")
    except ImportError as error:
        raise DeviceError(
            f"a worker for each GPU needs dask-cuda ({error}). Install the extra cuda12 or cuda13, "
            "or set cluster.device to cpu."
        ) from None
    return dask_cuda.LocalCUDACluster(
        n_workers=workers, threads_per_worker=threads, resources=GPU, **settings
    )


async def gpus(crew: Crew, work: Work = "clustering") -> dict[str, int]:
    """Number of GPUs that each admitted worker announces; workers without one are left out."""
    workers = await crew.workers(work)
    numbers = {
        address: int(worker["resources"].get("GPU", 0)) for address, worker in workers.items()
    }
    return {address: number for address, number in numbers.items() if number > 0}


async def device_of(crew: Crew, run: Run) -> Device:
    """The device that clusters in a run: "cuda" or "cpu".

    Raises
    ------
    DeviceError
        If ``cluster.device`` is cuda and no worker announces a GPU, or if a worker that announces
        one cannot use it.
    """
    device = run.cluster.device
    announced = {} if device == "cpu" else await gpus(crew, "reading")
    if not announced and device == "cuda":
        raise DeviceError(
            "cluster.device is cuda, and no worker announces a GPU. Start workers with "
            "`dask cuda worker ADDRESS --resources GPU=1`, or set cluster.device to cpu."
        )
    answers = await crew.ask(_gpu_problem, announced, lambda problem: problem is None)
    for worker, problem in answers.items():
        if problem:
            raise DeviceError(f"the worker {worker} announces GPU=1, but on it {problem}")
    return "cuda" if announced else "cpu"


def _gpu_problem() -> str | None:
    """The reason why this worker cannot use a GPU; None if it can."""
    try:
        has_gpu("cuda")
    except DeviceError as error:
        return str(error)
    return None
