"""The client's half of the service. The scheduler's half is in :mod:`djservice.service.plugin`.

No connection and no Dask client is kept between two requests, so the client may leave, and the
scheduler may be restarted, at any time.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from distributed.core import connect as open_comm
from distributed.core import send_recv
from distributed.security import Security

from djservice import errors
from djservice.config.run import Run
from djservice.core.arguments import checked_arguments
from djservice.core.event_loops import finish
from djservice.core.html_table import html_table
from djservice.core.private import full_url, private_url
from djservice.core.progress import Watch
from djservice.core.redact import message_of, shareable
from djservice.core.user import user_name
from djservice.errors import DjserviceError, RunError, ServiceError, UnreachableError
from djservice.fit.result import Result
from djservice.on_dask.certificates import need_certificates
from djservice.runs.finished import FinishedRun
from djservice.service.records import UNFINISHED
from djservice.service.submission import pack

#: Time limits in seconds for a connection to the scheduler, and for its answer.
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 5.0, 60.0
#: Seconds between two requests while waiting, and the longest outage of a scheduler meanwhile.
POLL_INTERVAL, MAX_OUTAGE = 0.3, 600.0
#: Message for a scheduler without the service, which answers None to an unknown handler.
NO_SERVICE = (
    "the Dask scheduler at {address} does not accept runs: start it with `dask scheduler --preload "
    "djservice.preload`, or call client.register_plugin(djservice.service.RunService()) on a "
    "client of it."
)


@checked_arguments
def connect(address: str, security: Security | None = None) -> Service:
    """The runs of the scheduler at ``address``.

    Parameters
    ----------
    address
        Address of the scheduler, such as ``tcp://host:8786``.
    security
        Certificates for a scheduler with TLS; those of Dask's configuration by default.

    Raises
    ------
    ServiceError
        If no scheduler answers within seconds, or it does not accept runs.
    """
    service = Service(address, security)
    service.runs()
    return service


class Service:
    """A scheduler that hosts runs; made by :func:`connect`."""

    def __init__(self, address: str, security: Security | None = None) -> None:
        if not isinstance(address, str):
            raise ServiceError(f"address is {address!r}, expected text such as tcp://host:8786.")
        self.address, self.security = private_url(address), security or Security()

    def submit(self, run: Run | str | Path) -> SubmittedRun:
        """Submit a run, or that of a YAML file, and return at once; the scheduler does the run.

        Submitting a run again starts no second one: the handle of the first one is returned, with
        ``new`` False. Relative paths refer to the folder of this process, which the scheduler and
        its workers must see too.

        Raises
        ------
        ConfigError
            If the run holds Python objects, is not valid on the scheduler, or if another run is
            writing its store.
        DjserviceError
            If its input is missing, or the scheduler cannot be reached.
        """
        record = self.ask("submit", config=pack(run), user=user_name())
        return SubmittedRun(self, record["id"], new=record["new"])

    def runs(self) -> list[dict[str, Any]]:
        """All runs as plain data, in the order of their submission.

        The keys are described in :meth:`djservice.service.plugin.RunService.records`.
        """
        return list(self.ask("list"))

    def run(self, run_id: str) -> SubmittedRun:
        """The run with an id.

        Raises
        ------
        ServiceError
            If there is no such run; the message names the nearest ids.
        """
        self.ask("status", run_id=run_id)
        return SubmittedRun(self, run_id)

    def ask(self, action: str, **arguments: Any) -> Any:
        """Send one request to the scheduler, from synchronous code."""
        return finish(self.ask_async(action, **arguments))

    async def ask_async(self, action: str, **arguments: Any) -> Any:
        """Send one request to the scheduler.

        Raises
        ------
        ServiceError
            If the scheduler cannot be reached, does not answer, or does not accept runs.
        RunError
            If it needs certificates, and none are given.
        DjserviceError
            If the scheduler answers with an error.
        """
        need_certificates(self.address, self.security)
        try:
            comm = await open_comm(
                full_url(self.address),
                timeout=CONNECT_TIMEOUT,
                **self.security.get_connection_args("client"),
            )
        except (
            OSError,
            TimeoutError,
            ValueError,
            TypeError,
            RuntimeError,
        ) as error:  # the last three: addresses and TLS
            raise self._unreachable(error) from shareable(error)
        try:
            reply = await asyncio.wait_for(
                send_recv(comm, op=f"djservice_{action}", **arguments), ANSWER_TIMEOUT
            )
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from shareable(error)
        finally:
            await comm.close()
        if reply is None:
            raise ServiceError(NO_SERVICE.format(address=self.address))
        if "error" in reply:
            kind: type[DjserviceError] = getattr(errors, reply["error"], DjserviceError)
            raise kind(reply["message"])
        return reply["answer"]

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"no answer from a Dask scheduler at {self.address} "
            f"({message_of(error) or type(error).__name__}). "
            "Check the address and the certificates, and that the scheduler runs."
        )


class SubmittedRun:
    """Handle of a run on a scheduler. ``await`` it for the result.

    Attributes
    ----------
    id
        Name of the run, with which :meth:`Service.run` finds it from anywhere.
    new
        True if this call submitted the run, False if it had been submitted before.
    """

    def __init__(self, service: Service, run_id: str, *, new: bool = False) -> None:
        self.service, self.id, self.new = service, run_id, new

    def __repr__(self) -> str:
        return f"<run {self.id} at {self.service.address}>"

    def _repr_html_(self) -> str:
        return html_table("Submitted run", {"id": self.id, "scheduler": self.service.address})

    def status(self) -> dict[str, Any]:
        """State, times, progress and last log lines as plain data."""
        return self._ask("status")

    def logs(self) -> list[tuple[float, str]]:
        """Log lines of the run, with times in seconds since 1970."""
        lines = self.service.ask("logs", run_id=self.id)
        return [(seconds, text) for seconds, text in lines]

    def cancel(self) -> dict[str, Any]:
        """Stop the run for good and return its status. Its store keeps what is done."""
        return self._ask("cancel", user=user_name())

    def pause(self) -> dict[str, Any]:
        """Stop the run until :meth:`resume`, and return its status."""
        return self._ask("pause", user=user_name())

    def resume(self) -> dict[str, Any]:
        """Continue from the store after a pause, cancellation or failure, and return the status."""
        return self._ask("resume", user=user_name())

    def forget(self) -> dict[str, Any]:
        """Remove an ended run from the list and return its last status. Its store is kept.

        Raises
        ------
        ServiceError
            If the run is queued or in progress.
        """
        return self._ask("forget", user=user_name())

    def wait(self, timeout: float | None = None) -> FinishedRun:
        """Wait for the end of the run, through pauses and restarts of the scheduler.

        Raises
        ------
        RunError
            If the run failed or was cancelled, with the reason.
        ServiceError
            If the scheduler stays unreachable for ten minutes.
        TimeoutError
            If the run does not end within ``timeout`` seconds.
        """
        return finish(self._result(timeout))

    def __await__(self) -> Generator[Any, None, FinishedRun]:
        return self._result(None).__await__()

    def follow(self, watch: Watch) -> dict[str, Any]:
        """Report progress to ``watch`` until the run ends or stops, and return its status."""
        return finish(self._follow(watch))

    async def _result(self, timeout: float | None) -> FinishedRun:
        async with asyncio.timeout(timeout):
            while (status := await self._ask_patiently("status"))["state"] in (
                *UNFINISHED,
                "paused",
            ):
                await asyncio.sleep(POLL_INTERVAL)
        if status["state"] != "finished":
            raise RunError(
                f"run {self.id} {'was ' * (status['state'] == 'cancelled')}{status['state']}: "
                f"{status['reason']}"
            )
        from djservice.store.location import store_path

        values: dict[str, Any] = {
            name: math.nan if value is None else value for name, value in status["result"].items()
        }
        return FinishedRun(
            Result(**values | {"remarks": tuple(values["remarks"])}), store_path(status["store"])
        )

    async def _follow(self, watch: Watch) -> dict[str, Any]:
        number, state = None, ""
        while True:
            record = await self._ask_patiently("follow", number=number)
            number = record["number"]
            for call, arguments in record["events"]:
                method: Callable[..., None] = getattr(watch, call)
                method(*arguments)
            if record["state"] != state:
                state, reason = record["state"], record["reason"]
                watch.say(f"{self.id}: {state}{f' ({reason})' * bool(reason)}")
            if state not in UNFINISHED:
                return dict(record)
            await asyncio.sleep(POLL_INTERVAL)

    async def _ask_patiently(self, action: str, **arguments: Any) -> Any:
        """Send a request until it is answered, through an outage of the scheduler."""
        end = time.monotonic() + MAX_OUTAGE
        while True:
            try:
                return await self.service.ask_async(action, run_id=self.id, **arguments)
            except UnreachableError:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(1.0)

    def _ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        status: dict[str, Any] = self.service.ask(action, run_id=self.id, **arguments)
        return status
