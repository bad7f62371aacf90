"""The compiler settings of all kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

#: Kernels allocate nothing, so the counting of references to arrays is switched off (_nrt).
#: It took as much time as the arithmetic.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}

#: numba renews a cached function when its own file changes, but not when a callee changes.
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()


def jit(function: Function) -> Function:
    """Compile a function without the GIL, cached on disk, in IEEE arithmetic.

    Fast-math is off. It breaks vectorised exponentials, and every loop that computes a distance
    must get the same bits. Multiply-adds are fused only where the source says so. Division follows
    numpy: 1/0 is infinite and never an exception.
    """
    if numba.config.DISABLE_JIT:  # as in compiled code, no warnings of infinities
        return np.errstate(all="ignore")(function)
    compiled: Any = numba.njit(**_OPTIONS, cache=True)(function)
    kernel: Function = compiled if keyed_by_sources(compiled) else numba.njit(**_OPTIONS)(function)
    return kernel


def keyed_by_sources(compiled: Any) -> bool:
    """Whether the cached copy of a compiled function could be tied to all kernel sources.

    False means that this version of numba keeps its cache in another way. The function is then
    compiled in every process, because an old kernel would be worse.

    The hash joins numba's version, which numba compares before it reads anything else. numba's own
    stamp of the source is compared later: an index that names a class of older sources fails by
    then.
    """
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if not hasattr(file, "_version"):
        return False
    file._version = (file._version, _SOURCES)
    return True
