"""A GPU whose arrays are those of fake_cupy.py; its kernels are to be those of numba's simulator, or the processors'."""

from __future__ import annotations

from typing import Any

import fake_cupy
from fake_cupy import Traffic

from djservice.device import Gpu


class FakeGpu(Gpu):
    """Kernels read and write what is in the arrays."""

    def for_kernel(self, arrays: Any) -> Any:
        return type(arrays)(*fake_cupy.unwrapped(tuple(arrays)))


def fake_gpu(free: int = 2**30) -> FakeGpu:
    """With so many free bytes."""
    return FakeGpu(fake_cupy, threads=4, block=2, free=lambda: free)


def bytes_to_host(work: Any) -> tuple[Any, int]:
    """What some work returns, and how many bytes it copied to the host."""
    before = Traffic.to_host
    found = work()
    return found, Traffic.to_host - before
