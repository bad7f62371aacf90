"""Settings of a run with others put in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Changes = dict[str, Any]


Do = Callable[..., Path]


def changed(settings: Changes, changes: Changes) -> Changes:
    """Settings with ``section.key`` -> value put in."""
    new = {
        key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()
    }
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            new[section] = {**new.get(section, {}), name: value}
        else:
            new[section] = value
    return new
