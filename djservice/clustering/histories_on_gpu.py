"""Histories that are on a GPU, followed there. Imported only where a GPU grows trees."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from djservice.clustering.device import gpu
from djservice.clustering.kernels.cuda_constituents import KERNELS
from djservice.clustering.kernels.leading_constituents import Histories, Work


class _One(NamedTuple):
    array: Any


def follow_on_gpu(
    function: Callable[..., None],
    threads: tuple[int, int, int],
    trees_each: int,
    trees: Histories,
    arguments: tuple[Any, ...],
) -> None:
    """Call a function of :mod:`djservice.clustering.kernels.leading_constituents` on the GPU.

    Parameters
    ----------
    threads
        Number of rows that threads take, objects of the largest tree, and leading jets.
    trees_each, trees, arguments
        Arguments of the function after its range and before and after its scratch. Arrays of the
        host are copied to the GPU; those that it fills are there.
    """
    device = gpu("cuda")
    assert device is not None
    xp, (rows, objects, jets) = device.arrays, threads
    number = max(1, min(rows, device.threads))
    work = Work(
        xp.empty((number, objects), np.int32),
        xp.empty((number, 3, objects)),
        xp.empty((number, jets), np.int32),
    )
    arrays = [
        device.for_kernel(type(value)(*(xp.asarray(array) for array in value)))
        if isinstance(value, tuple)
        else device.for_kernel(_One(xp.asarray(value))).array
        for value in (trees, work, *arguments)
    ]
    KERNELS[function][math.ceil(number / device.block), device.block](trees_each, *arrays)
