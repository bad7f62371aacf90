"""What installed packages add by entry points, beside what djservice has itself: objects, or functions that make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

Made = TypeVar("Made")


def installed(group: str) -> dict[str, Any]:
    """The entry points of a group by their names, loaded."""
    return {point.name: point.load() for point in entry_points(group=group)}


def makers(
    group: str, kind: type[Made], builtin: Mapping[str, Made | Callable[..., Made]]
) -> dict[str, Callable[..., Made]]:
    """What a run configuration can name: djservice's own and the entry points of a group, each as a function of its parameters.

    Parameters
    ----------
    group
        Of the entry points.
    kind
        What is made; an object of it takes no parameters.
    builtin
        Those of djservice.
    """
    return {name: _maker(found, kind) for name, found in {**builtin, **installed(group)}.items()}


def _maker(found: Made | Callable[..., Made], kind: type[Made]) -> Callable[..., Made]:
    return (lambda: found) if isinstance(found, kind) else found  # type: ignore[return-value]
