"""The GPUs of a Dask cluster: which workers have one, and one worker for each GPU of this machine.

A worker with a GPU announces the resource GPU=1. A run grows its trees on these alone, or on processors alone, so that its
numbers have the same bits every time; other workers of a mixed cluster read input.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from distributed import Client, LocalCluster

from djservice.clustering.device import Device, has_gpu, simulated
from djservice.config.run import Run
from djservice.errors import DeviceError

#: What a task that grows trees on a GPU asks for.
GPU = {"GPU": 1}


def local_cluster(
    workers: int | None, threads: int | None, device: Device, **settings: Any
) -> LocalCluster:
    """A cluster of this machine: one worker per GPU where there are any and the device is not "cpu", else per processor.

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
            f"a worker for each GPU needs dask-cuda, which the extras cuda12 and cuda13 bring ({error}). Install it, or set "
            "cluster.device to cpu."
        ) from None
    return dask_cuda.LocalCUDACluster(
        n_workers=workers, threads_per_worker=threads, resources=GPU, **settings
    )


async def gpus(client: Client) -> dict[str, int]:
    """How many tasks with a GPU each worker that announces one takes at a time."""
    workers = (await client.scheduler.identity(n_workers=-1))["workers"]
    found = {address: int(worker["resources"].get("GPU", 0)) for address, worker in workers.items()}
    return {address: number for address, number in found.items() if number > 0}


async def device_of(client: Client, run: Run) -> Device:
    """Where all trees of a run grow: "cuda" or "cpu".

    Raises
    ------
    DeviceError
        If ``cluster.device`` is cuda and no worker announces a GPU, or one does that has none.
    """
    device = run.cluster.device
    announced = {} if device == "cpu" else await gpus(client)
    if not announced and device == "cuda":
        raise DeviceError(
            "cluster.device is cuda, and no worker announces a GPU. Start workers with `dask cuda worker ADDRESS --resources GPU=1`, "
            "or set cluster.device to cpu."
        )
    for worker, missing in (
        (await client.run(_lack, workers=[*announced])).items() if announced else ()
    ):
        if missing:
            raise DeviceError(f"the worker {worker} announces GPU=1, but on it {missing}")
    return "cuda" if announced else "cpu"


def _lack() -> str | None:
    """What a worker lacks to use a GPU."""
    try:
        has_gpu("cuda")
    except DeviceError as error:
        return str(error)
    return None
