"""The one place that says how kernels are compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

#: Kernels allocate nothing, so counting references to arrays is switched off (_nrt): it cost as much as the arithmetic.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "forceinline": True,
    "_nrt": False,
}

#: numba renews a cached function when its own file changes, and not when a function that it calls does.
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).hexdigest()


def jit(function: Function) -> Function:
    """Compile without the GIL, cached on disk, in IEEE arithmetic.

    No fast-math: it breaks vectorised exponentials, and the same distance must come out with the same bits from every
    loop that computes it; multiply-adds are fused only where the source says so. Division follows numpy: 1/0 is infinite
    and never an exception.
    """
    if numba.config.DISABLE_JIT:  # compiled code does not warn of infinities either
        return np.errstate(all="ignore")(function)
    compiled: Any = numba.njit(**_OPTIONS, cache=True)(function)
    kernel: Function = compiled if keyed_by_sources(compiled) else numba.njit(**_OPTIONS)(function)
    return kernel


def keyed_by_sources(compiled: Any) -> bool:
    """Whether the cached copy of a compiled function could be tied to all kernel sources.

    False means that this version of numba keeps its cache in another way. The function is then
    compiled in every process, for an old kernel would be worse.

    The hash joins numba's version, which numba compares before it reads anything else. Its own stamp
    of the source is compared later: an index that names a class of older sources fails by then.
    """
    file: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if not hasattr(file, "_version"):
        return False
    file._version = (file._version, _SOURCES)
    return True
