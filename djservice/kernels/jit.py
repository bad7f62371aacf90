"""The one place that says how kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile without the GIL, cached on disk, in IEEE arithmetic.

    No fast-math: it breaks vectorised exponentials, and the same distance must come out with the same bits from every
    loop that computes it. Division follows numpy: 1/0 is infinite and never an exception.
    """
    compiled: Function = numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    return compiled


def jit_contracted(function: Function) -> Function:
    """As :func:`jit`, with multiply-adds contracted to FMA: for weights only, where it costs no accuracy."""
    compiled: Function = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)
    return compiled
