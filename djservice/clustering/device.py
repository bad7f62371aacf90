"""Where trees grow: on the processors, or on a GPU if there is one. CuPy and numba.cuda are imported when they are needed."""

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
    """What this process needs to know of its GPU.

    Attributes
    ----------
    arrays
        The module of its arrays: CuPy, or NumPy in numba's simulator.
    threads
        As many grow trees at once; ``block`` of them make a block.
    free
        Bytes that can be had.
    """

    arrays: Any
    threads: int
    block: int
    free: Callable[[], int]

    def for_kernel(self, arrays: Any) -> Any:
        """A named tuple of arrays as numba takes it."""
        if self.arrays is np:
            return arrays
        from numba import cuda

        return type(arrays)(*(cuda.as_cuda_array(array) for array in arrays))


def has_gpu(device: Device) -> bool:
    """Whether ``device`` means a GPU in this process, and not its processors.

    Raises
    ------
    DeviceError
        If there is no GPU and ``device`` is "cuda".
    InputError
        If ``device`` is something else.
    """
    if device not in get_args(Device):
        raise InputError(f"device is {device!r}, expected 'auto', 'cpu' or 'cuda'.")
    if device == "cpu":
        return False
    if simulated():
        return device == "cuda"
    missing = _what_is_missing()
    if missing is None:
        return True
    if device == "cuda":
        raise DeviceError(
            f"device is 'cuda', but {missing}. Use device='cpu', or 'auto' to take a GPU where there is one."
        )
    _say_once(missing)
    return False


def gpu(device: Device) -> Gpu | None:
    """The GPU that ``device`` means in this process, or None for its processors; raises as :func:`has_gpu`."""
    if not has_gpu(device):
        return None
    return simulator() if simulated() else _first_gpu()


@contextmanager
def memory_for(what: str, device: Device) -> Iterator[None]:
    """Something that takes memory of a GPU, where ``device`` means one.

    Raises
    ------
    DeviceError
        If there is not enough of it.
    """
    try:
        yield
    except MemoryError as lack:  # CuPy's and RMM's errors are such
        if not has_gpu(device):
            raise
        raise DeviceError(
            f"{what} do not fit into the GPU's memory: {lack} Take fewer trees or events together (in a run a smaller "
            "input.bundle_events), leave the GPU to one process, or use device='cpu'."
        ) from lack


def simulator() -> Gpu:
    """numba's simulator of CUDA on the processors: for tests of small events."""
    return Gpu(np, threads=4, block=2, free=lambda: 2**30)


def simulated() -> bool:
    """Whether numba simulates CUDA."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@functools.cache
def _what_is_missing() -> str | None:
    """What keeps this process from using a GPU, in words."""
    for module in ("cupy", "numba_cuda"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (the extras cuda12 and cuda13 of djservice bring it)"
    cupy = importlib.import_module("cupy")
    if not cupy.cuda.is_available():
        return "CuPy finds no GPU: no NVIDIA driver, or no device that this process may see"
    return None


@functools.cache
def _first_gpu() -> Gpu:
    """The first GPU that this process sees: dask-cuda shows each worker its own as the first."""
    cupy = importlib.import_module("cupy")

    def free() -> int:
        return int(cupy.cuda.Device().mem_info[0]) + int(
            cupy.get_default_memory_pool().free_bytes()
        )

    # As many threads as a multiprocessor has registers for (kernels/cuda.py).
    return Gpu(cupy, 384 * int(cupy.cuda.Device().attributes["MultiProcessorCount"]), 64, free)


@functools.cache
def _say_once(missing: str) -> None:
    if importlib.util.find_spec("cupy") is not None:  # who installed it expects a GPU
        _log.warning("trees grow on the processors: %s", missing)
