"""What the pages and metrics ask a service on a scheduler: its name there, and what it answers."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from djservice.errors import ServiceError

#: The name under which a scheduler knows the plugin.
PLUGIN_NAME = "djservice"


@runtime_checkable
class RunBoard(Protocol):
    """The runs of a scheduler, read-only."""

    def records(self, lines: int = 20) -> list[dict[str, Any]]: ...
    def settings(self, run_id: str) -> dict[str, Any]: ...
    async def status(self, run_id: str) -> dict[str, Any]: ...
    async def logs(self, run_id: str) -> list[tuple[float, str]]: ...


def run_board(scheduler: Any) -> RunBoard:
    """The service of a scheduler.

    Raises
    ------
    ServiceError
        If the scheduler has none.
    """
    found = scheduler.plugins.get(PLUGIN_NAME)
    if not isinstance(found, RunBoard):
        raise ServiceError("this scheduler takes no runs, or has not started yet.")
    return found
