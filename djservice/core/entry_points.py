"""Entry points: objects that installed packages add to those of djservice."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

Built = TypeVar("Built")


def installed(group: str) -> dict[str, Any]:
    """The entry points of a group by their names, loaded."""
    return {point.name: point.load() for point in _points(group, _folders())}


@functools.lru_cache(maxsize=32)
def _points(group: str, folders: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group. Each search reads a file of every installed package."""
    return tuple(entry_points(group=group))


def _folders() -> tuple[tuple[str, int], ...]:
    """Where packages are, and when something was last installed there."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    """When a folder for packages changed; other folders are those of scripts and their results."""
    with contextlib.suppress(OSError):
        if folder.endswith("-packages"):
            return os.stat(folder).st_mtime_ns
    return 0


def makers(
    group: str, kind: type[Built], builtin: Mapping[str, Built | Callable[..., Built]]
) -> dict[str, Callable[..., Built]]:
    """Factories of the objects that a run configuration can name, by name.

    They are djservice's own objects and the entry points of a group. Each factory takes the
    parameters of its object.

    Parameters
    ----------
    group
        Name of the entry-point group.
    kind
        Type of the objects. An entry of this type takes no parameters.
    builtin
        Entries of djservice.
    """
    return {name: _maker(entry, kind) for name, entry in {**builtin, **installed(group)}.items()}


def _maker(entry: Built | Callable[..., Built], kind: type[Built]) -> Callable[..., Built]:
    return (lambda: entry) if isinstance(entry, kind) else entry  # type: ignore[return-value]
