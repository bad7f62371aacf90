"""The compiler settings of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from djservice.clustering.kernels.code_cache import compiled

Function = TypeVar("Function", bound=Callable[..., Any])

#: Kernels allocate nothing, so the counting of references to arrays is switched off (_nrt).
#: It took as much time as the arithmetic.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}


def jit(function: Function) -> Function:
    """Compile a function without the GIL, cached on disk, in IEEE arithmetic.

    Fast-math is off. It breaks vectorised exponentials, and every loop that computes a distance
    must get the same bits. Multiply-adds are fused only where the source says so. Division follows
    numpy: 1/0 is infinite and never an exception.
    """
    if numba.config.DISABLE_JIT:  # as in compiled code, no warnings of infinities
        return np.errstate(all="ignore")(function)
    kernel: Function = compiled(numba.njit, function, **_OPTIONS)
    return kernel
