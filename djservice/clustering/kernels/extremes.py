"""The smaller and the larger of two numbers, for GPUs.

On a GPU numba has C's ``fmin`` and ``fmax`` for ``min`` and ``max``. They do more where a number is
none, and cost three times as much.
"""

from __future__ import annotations

from djservice.clustering.kernels.jit import jit


@jit
def smaller(a: float, b: float) -> float:
    """The smaller number; ``a`` if one of them is none, as Python has it."""
    return b if b < a else a


@jit
def larger(a: float, b: float) -> float:
    """The larger number; ``a`` if one of them is none, as Python has it."""
    return b if b > a else a
