"""Devices on which trees grow: the processors, or a GPU if there is one.

CuPy and numba.cuda are imported on first use.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from djservice.errors import DeviceError, InputError

Device = Literal["auto", "cpu", "cuda"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """The GPU of this process.

    Attributes
    ----------
    arrays
        Module of its arrays: CuPy, or NumPy in numba's simulator.
    threads
        Number of threads that grow trees at once.
    block
        Number of threads in a block.
    free
        Function that returns the number of free bytes.
    """

    arrays: Any
    threads: int
    block: int
    free: Callable[[], int]

    def for_kernel(self, arrays: Any) -> Any:
        """Convert a named tuple of arrays to the arrays that numba's kernels take."""
        if self.arrays is np:
            return arrays
        from numba import cuda

        return type(arrays)(*(cuda.as_cuda_array(array) for array in arrays))


def has_gpu(device: Device) -> bool:
    """Whether ``device`` means a GPU in this process, rather than its processors.

    Raises
    ------
    DeviceError
        If ``device`` is "cuda" and there is no GPU.
    InputError
        If ``device`` is not a known name.
    """
    if device not in get_args(Device):
        raise InputError(f"device is {device!r}, expected 'auto', 'cpu' or 'cuda'.")
    if device == "cpu":
        return False
    if simulated():
        return device == "cuda"
    problem = _gpu_problem()
    if problem is None:
        return True
    if device == "cuda":
        raise DeviceError(
            f"device is 'cuda', but {problem}. Use device='cpu', or 'auto' to take a GPU where "
            "there is one."
        )
    _warn_once(problem)
    return False


def gpu(device: Device) -> Gpu | None:
    """The GPU that ``device`` means in this process, or None for its processors.

    Raises
    ------
    DeviceError
        If ``device`` is "cuda" and there is no GPU.
    InputError
        If ``device`` is not a known name.
    """
    if not has_gpu(device):
        return None
    return simulator() if simulated() else _first_gpu()


@contextmanager
def memory_for(contents: str, device: Device) -> Iterator[None]:
    """Context in which lack of GPU memory for the contents becomes a clear error.

    Parameters
    ----------
    contents
        Name of the contents, in the plural.
    device
        Device that holds them.

    Raises
    ------
    DeviceError
        If the memory of the GPU is too small.
    """
    try:
        yield
    except MemoryError as error:  # the base class of CuPy's and RMM's errors
        if not has_gpu(device):
            raise
        raise DeviceError(
            f"{contents} do not fit into the GPU's memory: {error} Take fewer trees or events "
            "together (in a run a smaller input.bundle_events), leave the GPU to one process, or "
            "use device='cpu'."
        ) from error


def simulator() -> Gpu:
    """The GPU that numba simulates on the processors, for tests with small events."""
    return Gpu(np, threads=4, block=2, free=lambda: 2**30)


def simulated() -> bool:
    """Whether numba simulates CUDA."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@functools.cache
def _gpu_problem() -> str | None:
    """Reason why this process cannot use a GPU, or None if it can."""
    for module in ("cupy", "numba_cuda"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (the extras cuda12 and cuda13 of djservice bring it)"
    cupy = importlib.import_module("cupy")
    if not cupy.cuda.is_available():
        return "CuPy finds no GPU: no NVIDIA driver, or no device that this process may see"
    return None


@functools.cache
def _first_gpu() -> Gpu:
    """The first GPU that this process sees; dask-cuda shows each worker its own GPU first."""
    cupy = importlib.import_module("cupy")

    def free() -> int:
        return int(cupy.cuda.Device().mem_info[0]) + int(
            cupy.get_default_memory_pool().free_bytes()
        )

    # 384 threads are those for which a multiprocessor has registers (kernels/cuda.py).
    return Gpu(cupy, 384 * int(cupy.cuda.Device().attributes["MultiProcessorCount"]), 64, free)


@functools.cache
def _warn_once(problem: str) -> None:
    if importlib.util.find_spec("cupy") is not None:  # users who installed CuPy expect a GPU
        _log.warning("trees grow on the processors: %s", problem)
