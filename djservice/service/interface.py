"""The interface between the service of a scheduler and its pages and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from djservice.errors import ServiceError

#: The name under which a scheduler knows the plugin.
PLUGIN_NAME = "djservice"


@runtime_checkable
class RunBoard(Protocol):
    """Read-only access to the runs of a scheduler."""

    @property
    def outcomes(self) -> Mapping[str, int]: ...
    def records(self, lines: int = 20) -> list[dict[str, Any]]: ...
    def settings(self, run_id: str) -> dict[str, Any]: ...
    async def status(self, run_id: str) -> dict[str, Any]: ...
    async def logs(self, run_id: str) -> list[tuple[float, str]]: ...


def run_board(scheduler: Any) -> RunBoard:
    """The service of a scheduler.

    Raises
    ------
    ServiceError
        If the scheduler does not accept runs.
    """
    service = scheduler.plugins.get(PLUGIN_NAME)
    if not isinstance(service, RunBoard):
        raise ServiceError("this scheduler does not accept runs, or has not started yet.")
    return service
