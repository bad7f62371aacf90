"""The compiler settings of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.registry import CPUDispatcher

from djservice.clustering.kernels.code_cache import compiled, compiled_once
from djservice.clustering.kernels.extensions import without_extensions

Function = TypeVar("Function", bound=Callable[..., Any])

#: Kernels allocate nothing, so the counting of references to arrays is switched off (_nrt).
#: It took as much time as the arithmetic.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}


class InnerFunction(CPUDispatcher):
    """A compiled function that only compiled functions can call."""

    def __call__(self, *arguments: Any) -> Any:
        name = self.py_func.__qualname__
        raise TypeError(f"{name} has no code for a call by Python: call it in an @entry.")


class EntryFunction(CPUDispatcher):
    """A compiled function that Python calls. Processes that share its files compile it once."""

    def _compile_for_args(self, *arguments: Any, **named: Any) -> Any:
        """Called by numba on the first call with arguments of these types."""
        with without_extensions():
            return super()._compile_for_args(*arguments, **named)

    def compile(self, sig: Any) -> Any:
        """Called by numba on the first call, or by itself."""
        with compiled_once(self, sig), without_extensions():
            return super().compile(sig)


def entry(function: Function) -> Function:
    """Compile a function that Python calls; otherwise like :func:`jit`."""
    if numba.config.DISABLE_JIT:  # as in compiled code, no warnings of infinities
        return np.errstate(all="ignore")(function)
    kernel: Any = compiled(numba.njit, function, **_OPTIONS)
    kernel.__class__ = EntryFunction
    called: Function = kernel
    return called


def jit(function: Function) -> Function:
    """Compile a function that compiled functions call, cached on disk, in IEEE arithmetic.

    It has no code that takes Python's arguments apart. For a work space, that is longer than most
    functions.

    The GIL is released. Fast-math is off. It breaks vectorised exponentials, and every loop that
    computes a distance must get the same bits. Multiply-adds are fused only where the source says
    so. Division follows numpy: 1/0 is infinite and never an exception.
    """
    return _inner(function, _OPTIONS)


def aside(function: Function) -> Function:
    """Like :func:`jit`, but the code is not put into that of the callers.

    It is for long functions that only large events need. They would change how the compiler lays
    out the code for small ones.
    """
    return _inner(function, _OPTIONS | {"forceinline": False})


def _inner(function: Function, options: dict[str, Any]) -> Function:
    if numba.config.DISABLE_JIT:
        return entry(function)
    kernel: Any = compiled(
        numba.njit, function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options
    )
    kernel.__class__ = InnerFunction
    inner: Function = kernel
    return inner
