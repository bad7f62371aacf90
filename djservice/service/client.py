"""Runs that live on a Dask scheduler: the client's half. The scheduler's is in :mod:`djservice.service.plugin`.

Nothing is held between two questions, neither a connection nor a Dask client, so the one who asks may go away, and the
scheduler may be started anew, at any time.
"""

from __future__ import annotations

import asyncio
import getpass
import math
import time
from collections.abc import Callable, Generator
from typing import Any

from distributed.core import connect as open_comm
from distributed.core import send_recv
from distributed.security import Security

from djservice import errors
from djservice.config.run import Run
from djservice.core.event_loops import finish
from djservice.core.progress import Watch
from djservice.errors import DjserviceError, RunError, ServiceError, UnreachableError
from djservice.fit.result import Result
from djservice.runs.run import FinishedRun
from djservice.service.records import UNFINISHED
from djservice.service.submission import pack
from djservice.store.location import store_path

#: Seconds within which a scheduler must be there, and within which it must have answered.
TO_CONNECT, TO_ANSWER = 5.0, 60.0
#: Seconds between two questions of one who waits, and how long a scheduler may be away meanwhile.
BETWEEN, AWAY = 0.3, 600.0
#: A service without runs answers nothing to a handler that it does not have.
NO_SERVICE = (
    "the Dask scheduler at {address} takes no runs: start it with `dask scheduler --preload djservice.preload`, or call "
    "client.register_plugin(djservice.service.RunService()) on a client of it."
)


def connect(address: str, security: Security | None = None) -> Service:
    """The runs of the scheduler at ``address``.

    Parameters
    ----------
    address
        Such as ``tcp://host:8786``.
    security
        For a scheduler with TLS; by default what Dask's configuration says.

    Raises
    ------
    ServiceError
        If there is no scheduler within seconds, or it takes no runs.
    """
    service = Service(address, security)
    service.runs()
    return service


class Service:
    """Where runs are submitted to and asked for; made by :func:`connect`."""

    def __init__(self, address: str, security: Security | None = None) -> None:
        self.address, self.security = address, security or Security()

    def submit(self, run: Run) -> SubmittedRun:
        """Hand a run over and return at once; it goes on by itself.

        A run that was submitted before is not run twice: the same handle comes back, ``new`` being False. Relative paths mean
        those of this process and must be there for the scheduler and its workers too.

        Raises
        ------
        ConfigError
            If it holds Python objects, is not valid there, or its store is being written by another run.
        DjserviceError
            If its input is not there, or the scheduler is not.
        """
        found = self.ask("submit", config=pack(run), user=getpass.getuser())
        return SubmittedRun(self, found["id"], new=found["new"])

    def runs(self) -> list[dict[str, Any]]:
        """All runs as plain data, in the order of their submission; see :meth:`djservice.service.plugin.RunService.records`."""
        return list(self.ask("list"))

    def run(self, run_id: str) -> SubmittedRun:
        """A run by its id.

        Raises
        ------
        ServiceError
            If there is none, naming those nearest to it.
        """
        self.ask("status", run_id=run_id)
        return SubmittedRun(self, run_id)

    def ask(self, action: str, **given: Any) -> Any:
        """One question to the scheduler, from plain code."""
        return finish(self.ask_async(action, **given))

    async def ask_async(self, action: str, **given: Any) -> Any:
        """One question to the scheduler.

        Raises
        ------
        ServiceError
            If it is not there, answers nothing, or has no runs.
        DjserviceError
            What it answers.
        """
        try:
            comm = await open_comm(
                self.address, timeout=TO_CONNECT, **self.security.get_connection_args("client")
            )
        except (
            OSError,
            TimeoutError,
            ValueError,
            TypeError,
            RuntimeError,
        ) as error:  # the last three: addresses and TLS
            raise self._unreachable(error) from error
        try:
            reply = await asyncio.wait_for(
                send_recv(comm, op=f"djservice_{action}", **given), TO_ANSWER
            )
        except (OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
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
            f"no answer from a Dask scheduler at {self.address} ({' '.join(str(error).split()) or type(error).__name__}). "
            "Check the address, that it runs, and its certificates."
        )


class SubmittedRun:
    """A run on a scheduler: a name, and questions to ask about it. ``await`` it for its result.

    Attributes
    ----------
    id
        Its name, which :meth:`Service.run` finds again from anywhere.
    new
        Whether it was submitted by this call, and not before.
    """

    def __init__(self, service: Service, run_id: str, *, new: bool = False) -> None:
        self.service, self.id, self.new = service, run_id, new

    def __repr__(self) -> str:
        return f"<run {self.id} at {self.service.address}>"

    def status(self) -> dict[str, Any]:
        """State, times, progress and last lines, as plain data."""
        return self._ask("status")

    def logs(self) -> list[tuple[float, str]]:
        """What it said, with times in seconds since 1970."""
        lines = self.service.ask("logs", run_id=self.id)
        return [(when, text) for when, text in lines]

    def cancel(self) -> dict[str, Any]:
        """End it; its store keeps what is there. Returns its status."""
        return self._ask("cancel", user=getpass.getuser())

    def pause(self) -> dict[str, Any]:
        """Stop it until :meth:`resume`. Returns its status."""
        return self._ask("pause", user=getpass.getuser())

    def resume(self) -> dict[str, Any]:
        """Let it go on from its store, after a pause, a cancellation or a failure. Returns its status."""
        return self._ask("resume", user=getpass.getuser())

    def forget(self) -> dict[str, Any]:
        """Take it off the list, once it goes on no more; its store stays. Returns what its status was.

        Raises
        ------
        ServiceError
            If it is queued or goes on.
        """
        return self._ask("forget", user=getpass.getuser())

    def wait(self, timeout: float | None = None) -> FinishedRun:
        """Wait for its end, also while it is paused and while the scheduler is started anew.

        Raises
        ------
        RunError
            If it failed or was cancelled, saying why.
        ServiceError
            If the scheduler stays away.
        TimeoutError
            After ``timeout`` seconds.
        """
        return finish(self._result(timeout))

    def __await__(self) -> Generator[Any, None, FinishedRun]:
        return self._result(None).__await__()

    def follow(self, watch: Watch) -> dict[str, Any]:
        """Tell a watch what goes on until the run ends or stops, whoever submitted it. Returns its status."""
        return finish(self._follow(watch))

    async def _result(self, timeout: float | None) -> FinishedRun:
        async with asyncio.timeout(timeout):
            while (now := await self._patiently("status"))["state"] in (*UNFINISHED, "paused"):
                await asyncio.sleep(BETWEEN)
        if now["state"] != "finished":
            raise RunError(
                f"run {self.id} {'was ' * (now['state'] == 'cancelled')}{now['state']}: {now['reason']}"
            )
        known: dict[str, Any] = {
            name: math.nan if value is None else value for name, value in now["result"].items()
        }
        return FinishedRun(
            Result(**known | {"remarks": tuple(known["remarks"])}), store_path(now["store"])
        )

    async def _follow(self, watch: Watch) -> dict[str, Any]:
        number, state = None, ""
        while True:
            now = await self._patiently("follow", number=number)
            number = now["number"]
            for call, arguments in now["events"]:
                told: Callable[..., None] = getattr(watch, call)
                told(*arguments)
            if now["state"] != state:
                state, reason = now["state"], now["reason"]
                watch.say(f"{self.id}: {state}{f' ({reason})' * bool(reason)}")
            if state not in UNFINISHED:
                return dict(now)
            await asyncio.sleep(BETWEEN)

    async def _patiently(self, action: str, **given: Any) -> Any:
        """An answer, though the scheduler may be away for a while."""
        end = time.monotonic() + AWAY
        while True:
            try:
                return await self.service.ask_async(action, run_id=self.id, **given)
            except UnreachableError:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(1.0)

    def _ask(self, action: str, **given: Any) -> dict[str, Any]:
        status: dict[str, Any] = self.service.ask(action, run_id=self.id, **given)
        return status
