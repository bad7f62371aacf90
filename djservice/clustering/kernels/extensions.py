"""Packages that extend numba, such as vector and awkward: our kernels are compiled and loaded without them.

To load them takes a third of a second in every process. Numba does it ahead of the first code that
it compiles or reads from its files, and so it does for all code but ours.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from numba.core import entrypoints

_load_all = entrypoints.init_all
_thread = threading.local()


@contextlib.contextmanager
def without_extensions() -> Iterator[None]:
    """What this thread compiles needs no extensions."""
    before, _thread.needs_none = getattr(_thread, "needs_none", False), True
    try:
        yield
    finally:
        _thread.needs_none = before


def _load_needed() -> None:
    if not getattr(_thread, "needs_none", False):
        _load_all()


entrypoints.init_all = _load_needed
