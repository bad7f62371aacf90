"""Pieces of long computations: between them, whoever asked may end the work.

The computation knows nothing of who asked. Its result does not depend on the looks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_LOOK: ContextVar[Callable[[], None] | None] = ContextVar("look", default=None)


@contextlib.contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Context in which ``look`` is called between pieces; it raises an error to end the work."""
    token = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(token)


def between_pieces() -> None:
    """Called by a long computation about every second, in the thread that began it."""
    look = _LOOK.get()
    if look is not None:
        look()
