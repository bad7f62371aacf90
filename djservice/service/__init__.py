"""Runs that live on a Dask scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from djservice.service.plugin import RunService as RunService


def __getattr__(name: str) -> Any:
    if name == "RunService":  # on first use: the client's half is light
        from djservice.service.plugin import RunService

        return RunService
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
