"""The CUDA kernels of :mod:`djservice.clustering.kernels.leading_constituents`.

A thread takes one tree, or one jet, after the other.
"""

from __future__ import annotations

from typing import Any

from numba import cuda

from djservice.clustering.kernels.cuda import compiled_kernel
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.leading_constituents import (
    Histories,
    Summary,
    Work,
    list_constituents,
    list_members,
    summarise_jets,
)


@jit
def work_of(work: Work, thread: int) -> Work:
    """The scratch of a thread."""
    return Work(work.place[thread], work.numbers[thread], work.roots[thread])


def summarise_on_gpu(
    trees_each: int, trees: Histories, work: Work, codes: Any, summary: Summary
) -> None:
    """CUDA kernel: :func:`summarise_jets`."""
    thread = cuda.grid(1)
    if thread < len(work.place):
        mine = work_of(work, thread)
        summarise_jets(thread, len(work.place), trees_each, trees, mine, codes, summary)


def constituents_on_gpu(
    trees_each: int, trees: Histories, work: Work, chosen: Any, index: Any
) -> None:
    """CUDA kernel: :func:`list_constituents`."""
    thread = cuda.grid(1)
    if thread < len(work.place):
        mine = work_of(work, thread)
        list_constituents(thread, len(work.place), trees_each, trees, mine, chosen, index)


def members_on_gpu(trees_each: int, trees: Histories, work: Work, member: Any) -> None:
    """CUDA kernel: :func:`list_members`."""
    thread = cuda.grid(1)
    if thread < len(work.place):
        list_members(thread, len(work.place), trees_each, trees, work_of(work, thread), member)


#: The kernel of each function.
KERNELS = {
    summarise_jets: compiled_kernel(summarise_on_gpu),
    list_constituents: compiled_kernel(constituents_on_gpu),
    list_members: compiled_kernel(members_on_gpu),
}
