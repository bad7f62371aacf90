"""The scheduler's half of the service. The client's half is in :mod:`djservice.service.client`.

Every active run has a thread with its own event loop and Dask client, so neither sums nor storage
hold up the scheduler's event loop. Only that loop changes the records and the queue. The state
directory holds the configuration of each run, which names its store. This is enough for a new
scheduler to continue the run.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler, SchedulerPlugin
from distributed.protocol.pickle import dumps
from distributed.security import Security

from djservice.config.run import Run
from djservice.core.event_loops import Stopped, ThreadLoop
from djservice.core.private import public
from djservice.core.redact import message_of, redacted
from djservice.core.urls import is_url
from djservice.core.visible import visible
from djservice.errors import ConfigError, DjserviceError, ServiceError, TasksLostError
from djservice.fit.plan import RunPlan
from djservice.on_dask.plugins import CompileKernels, RedactLogs, redact_logs
from djservice.on_dask.session import client_of
from djservice.runs.run import FinishedRun, run_on
from djservice.service import web
from djservice.service.allowed_paths import check_roots
from djservice.service.interface import PLUGIN_NAME
from djservice.service.journal import Journal
from djservice.service.records import RESUMABLE, UNFINISHED, Record, StateDirectory
from djservice.service.submission import identity, same_numbers, unpack
from djservice.store.location import locate

logger = logging.getLogger("djservice")

#: Number of restarts without progress of a run whose tasks were dropped.
MAX_RESTARTS = 5
#: Seconds that a run has to write its results when it is stopped.
STOP_TIMEOUT = 30.0


class RunService(SchedulerPlugin):
    """Scheduler plugin that queues and hosts runs.

    Load it with ``dask scheduler --preload djservice.preload``, or from a client with
    ``client.register_plugin(RunService())``; the scheduler needs djservice installed.

    Parameters
    ----------
    state_directory
        Folder of the records. The default is ``djservice.state-directory`` of Dask's configuration,
        or ``djservice-state`` in the scheduler's working directory.
    concurrent_runs
        Number of runs at the same time. The default is ``djservice.concurrent-runs`` of Dask's
        configuration, or 2.

    Raises
    ------
    ServiceError
        On its start, if the directory cannot be used.
    """

    name = PLUGIN_NAME
    idempotent = True  # a second registration changes nothing

    def __init__(
        self, state_directory: str | Path | None = None, concurrent_runs: int | None = None
    ) -> None:
        self.state_directory, self.concurrent_runs = state_directory, concurrent_runs
        self._records: dict[str, Record] = {}
        self._journals: dict[str, Journal] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask: read the records of the directory, and begin to answer clients."""
        self.scheduler, self._loop = scheduler, asyncio.get_running_loop()
        limit = self.concurrent_runs or dask.config.get("djservice.concurrent-runs", 2)
        if not isinstance(limit, int) or limit < 1:
            raise ServiceError(
                "djservice.concurrent-runs: expected a whole number of 1 or more, found "
                f"{limit!r}. Correct Dask's configuration."
            )
        self._slots = limit
        self._directory = StateDirectory(
            self.state_directory or dask.config.get("djservice.state-directory", "djservice-state")
        )
        self._writing = asyncio.Lock()
        self._hosts: dict[str, ThreadLoop[FinishedRun]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stop_requests: dict[str, tuple[str, str]] = {}
        self._served: dict[str, int] = {}
        self._closing = False
        redact_logs()
        for plugin in (CompileKernels(), RedactLogs()):
            await scheduler.register_worker_plugin(
                None, dumps(plugin), plugin.name, idempotent=True
            )
        for record in await asyncio.to_thread(self._directory.read):
            self._records[record.id] = record
            self._journals[record.id] = Journal(lines=record.lines)
            if record.state in UNFINISHED:
                await self._move(record, "queued", "the scheduler started again")
        answers: dict[str, Callable[..., Awaitable[Any]]] = {
            "submit": self.submit,
            "list": self.all_runs,
            "status": self.status,
            "follow": self.follow,
            "logs": self.logs,
            "cancel": self.cancel,
            "pause": self.pause,
            "resume": self.resume,
            "forget": self.forget,
        }
        scheduler.handlers.update(
            {f"djservice_{name}": _as_handler(method) for name, method in answers.items()}
        )
        web.serve(scheduler)
        logger.info(
            "djservice keeps its runs in %s and does %d at a time",
            self._directory.path,
            self._slots,
        )
        self._start_next()

    async def before_close(self) -> None:
        """Called by Dask: stop all runs. A new scheduler on the same directory continues them."""
        self._closing = True
        for host in self._hosts.values():
            host.stop("the scheduler stopped")
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=STOP_TIMEOUT)
        self._directory.close()

    def records(self, lines: int = 20) -> list[dict[str, Any]]:
        """All runs as plain data, in the order of their submission, for pages and metrics.

        Each record has id, user, store, state with its reason and time, all transitions, the result
        of a finished run (undetermined numbers are None), the progress
        (:attr:`djservice.service.journal.Journal.progress`), and the last log lines with their
        times. Call this method on the scheduler's loop.
        """
        return [self._describe(record, lines) for record in self._records.values()]

    def settings(self, run_id: str) -> dict[str, Any]:
        """The configuration of one run without its secrets. Call this on the scheduler's loop."""
        settings: dict[str, Any] = public(self._find(run_id).config)
        return settings

    async def submit(self, config: Any, user: str) -> dict[str, Any]:
        """Queue a run unless it is known; its record, with ``new`` True if it was queued now."""
        run, name, numbers = await asyncio.to_thread(_parse_submission, config)
        existing = self._records.get(name) or self._same_run_in_progress(numbers)
        if existing is not None:
            store_missing = existing.state == "finished" and not await asyncio.to_thread(
                _store_exists, existing.store
            )
            if existing.state in RESUMABLE or store_missing:
                existing.config = config  # tokens in its URLs may be new
                await self._enqueue(
                    existing,
                    "its store was removed" if store_missing else f"submitted again by {user}",
                )
            return self._describe(existing) | {"new": False}
        for writer in self._records.values():
            if writer.state in (*UNFINISHED, "paused") and _same_location(
                writer.store, run.output.store
            ):
                raise ConfigError(
                    f"{run.output.store}: run {writer.id} of {writer.user}, which is "
                    f"{writer.state}, writes this store. "
                    "Choose another output.store, or cancel that run."
                )
        record = self._records[name] = Record(
            name, visible(str(user)[:100]), config, numbers=numbers
        )
        self._journals[name] = Journal()
        try:
            await self._move(record, "queued", f"submitted by {record.user}")
        except ServiceError:
            del self._records[name], self._journals[name]
            raise
        self._start_next()
        return self._describe(record) | {"new": True}

    async def all_runs(self) -> list[dict[str, Any]]:
        """Records of all runs, without log lines."""
        return self.records(lines=0)

    async def status(self, run_id: str) -> dict[str, Any]:
        """Record of one run."""
        return self._describe(self._find(run_id))

    async def follow(self, run_id: str, number: int | None) -> dict[str, Any]:
        """Record of one run, with the events of its journal after ``number``."""
        record = self._find(run_id)
        last, events = self._journals[run_id].since(number)
        return self._describe(record) | {"number": last, "events": events}

    async def logs(self, run_id: str) -> list[tuple[float, str]]:
        """Log lines of a run with their times."""
        self._find(run_id)
        return self._journals[run_id].lines

    async def cancel(self, run_id: str, user: str) -> dict[str, Any]:
        """Stop a run for good. Its store is kept."""
        return await self._stop(self._find(run_id), "cancelled", user)

    async def pause(self, run_id: str, user: str) -> dict[str, Any]:
        """Stop a run until it is resumed. Another run may take its slot."""
        return await self._stop(self._find(run_id), "paused", user)

    async def resume(self, run_id: str, user: str) -> dict[str, Any]:
        """Queue a paused, cancelled or failed run again. It continues from its store."""
        record = self._find(run_id)
        if record.state == "finished":
            raise ServiceError(
                f"{run_id} is finished and cannot be resumed. "
                "Submit a changed configuration instead."
            )
        if record.state in RESUMABLE:
            await self._enqueue(record, f"resumed by {user}")
        return self._describe(record)

    async def forget(self, run_id: str, user: str) -> dict[str, Any]:
        """Remove an ended run from the list and return its last record. Its store is kept."""
        record = self._find(run_id)
        if record.state in UNFINISHED or record.id in self._tasks:
            raise ServiceError(f"{run_id} is {record.state}: cancel it first.")
        description = self._describe(record)
        async with self._writing:
            await asyncio.to_thread(self._directory.remove, record.id)
        del self._records[run_id], self._journals[run_id]
        logger.info("%s was forgotten by %s", run_id, user)
        return description

    async def _stop(self, record: Record, state: str, user: str) -> dict[str, Any]:
        reason = f"{state} by {user}"
        if record.state == "finished" or (record.state == "failed" and state == "paused"):
            raise ServiceError(f"{record.id} is already {record.state}.")
        if record.id in self._tasks:
            self._stop_requests[record.id] = state, reason
            if record.id in self._hosts:
                self._hosts[record.id].stop(reason)
            await asyncio.wait([self._tasks[record.id]], timeout=STOP_TIMEOUT)
        elif record.state != state:
            await self._move(record, state, reason)
        return self._describe(record)

    async def _enqueue(self, record: Record, reason: str) -> None:
        await self._move(record, "queued", reason)
        self._start_next()

    async def _move(self, record: Record, state: str, reason: str) -> None:
        """Enter a state, and write the record before the request is answered."""
        record.move(state, redacted(reason))
        record.lines = self._journals[record.id].lines
        async with self._writing:  # in order, so that the file holds the last state
            await asyncio.to_thread(self._directory.write, record.id, record.to_json())

    async def _note(self, record: Record, state: str, reason: str) -> None:
        """Enter a state without a request. A failed write is logged and not raised.

        The store holds everything that matters.
        """
        try:
            await self._move(record, state, reason)
        except ServiceError as error:
            logger.error("%s: %s", record.id, error)
            self._journals[record.id].say(str(error))

    def _start_next(self) -> None:
        """Fill free slots: users with the fewest active runs first, then the longest wait."""
        while len(self._tasks) < self._slots and not self._closing:
            waiting = [
                r for r in self._records.values() if r.state == "queued" and r.id not in self._tasks
            ]
            if not waiting:
                return
            active = [self._records[name].user for name in self._tasks]
            record = min(
                waiting, key=lambda r: (active.count(r.user), self._served.get(r.user, -1))
            )
            self._served[record.user] = max(self._served.values(), default=0) + 1
            self._tasks[record.id] = asyncio.create_task(self._do(record))

    async def _do(self, record: Record) -> None:
        """Do one queued run until it ends or stops."""
        try:
            state, reason = await self._host(record)
            if state is not None:
                await self._note(record, state, reason)
        finally:
            del self._tasks[record.id]
            self._stop_requests.pop(record.id, None)
        self._start_next()

    async def _host(self, record: Record) -> tuple[str | None, str]:
        """Do a run; the state in which it ends, and the reason.

        The state is None if the scheduler stops: a new scheduler continues the run.
        """
        loading = asyncio.Event()

        def on_loaded() -> None:  # in the thread of the run
            self._loop.call_soon_threadsafe(loading.set)

        journal = self._journals[record.id] = Journal(on_loaded, self._journals[record.id].lines)
        security, address = _client_security(self.scheduler.security), self.scheduler.address

        async def job() -> FinishedRun:
            plan = _checked_plan(record.config)
            async with client_of(address, journal, security) as client:
                return await run_on(client, plan, journal)

        await self._note(record, "loading", "")
        host = self._hosts[record.id] = ThreadLoop(job, f"djservice {record.id}")
        if self._closing or record.id in self._stop_requests:
            host.stop("stopped before it started")
        noting = asyncio.create_task(self._note_running(record, loading))
        try:
            finished = await host.ended()
        except Stopped:
            return self._stop_requests.get(record.id, (None, ""))
        except TasksLostError as error:
            return self._after_loss(record, journal, error)
        except DjserviceError as error:
            return "failed", f"{type(error).__name__}: {error}"
        except Exception as error:
            logger.exception("%s failed with an unexpected error", record.id)
            return "failed", f"{type(error).__name__}: {message_of(error)}; see the scheduler's log"
        finally:
            if not loading.is_set():  # a set event means that it is writing and will end soon
                noting.cancel()
            await asyncio.wait([noting])
            del self._hosts[record.id]
        record.result = {
            name: _finite_or_none(value) for name, value in asdict(finished.result).items()
        }
        return "finished", ""

    async def _note_running(self, record: Record, loading: asyncio.Event) -> None:
        await loading.wait()
        await self._note(record, "running", "")

    def _after_loss(
        self, record: Record, journal: Journal, error: TasksLostError
    ) -> tuple[str | None, str]:
        """Queue a run again whose tasks were dropped, unless it repeatedly makes no progress."""
        if self._closing:
            return None, ""
        if record.id in self._stop_requests:
            return self._stop_requests[record.id]
        journal.say(f"{error} The run is queued again.")
        reasons = [
            transition.reason for transition in record.transitions if transition.state == "queued"
        ]
        advanced = bool(journal.progress.get("numbers"))
        if not advanced and reasons[-MAX_RESTARTS:] == [TASKS_DROPPED] * MAX_RESTARTS:
            return "failed", f"{type(error).__name__}: {error}"
        return "queued", TASKS_DROPPED

    def _find(self, run_id: str) -> Record:
        if run_id not in self._records:
            near = difflib.get_close_matches(str(run_id), self._records, n=3, cutoff=0.5)
            hint = f"Near: {', '.join(near)}." if near else "`djservice list` shows all runs."
            raise ServiceError(f"no run {run_id!r} here. {hint}")
        return self._records[run_id]

    def _same_run_in_progress(self, numbers: str) -> Record | None:
        """An unfinished run that writes the same numbers to another store."""
        return next(
            (r for r in self._records.values() if r.numbers == numbers and r.state in UNFINISHED),
            None,
        )

    def _describe(self, record: Record, lines: int = 20) -> dict[str, Any]:
        journal, last = self._journals[record.id], record.transitions[-1]
        return {
            "id": record.id,
            "user": record.user,
            "store": record.store,
            "state": last.state,
            "since": last.time,
            "reason": last.reason,
            "transitions": [asdict(transition) for transition in record.transitions],
            "result": record.result,
            "progress": journal.progress,
            "lines": journal.lines[-lines:] if lines else [],
        }


#: Reason for queueing a run again after its tasks were dropped.
TASKS_DROPPED = "the cluster dropped its tasks"


def _as_handler(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A handler that answers errors as plain data, without a traceback in the scheduler's log."""

    async def handler(**arguments: Any) -> dict[str, Any]:
        try:
            return {"answer": await method(**arguments)}
        except DjserviceError as error:
            return {"error": type(error).__name__, "message": redacted(str(error))}

    return handler


def _parse_submission(config: Any) -> tuple[Run, str, str]:
    """The run of a submission, its identity, and the digest of its numbers.

    It reads files and must not be called on the scheduler's loop.
    """
    run = _checked_plan(config).run
    return run, identity(run), same_numbers(run)


def _checked_plan(config: Any) -> RunPlan:
    """The plan of a submission, checked against the allowed roots."""
    plan = RunPlan(unpack(config))
    check_roots(plan)
    plan.check()
    return plan


def _same_location(first: str, second: str) -> bool:
    return (
        first == second
        if is_url(first) or is_url(second)
        else Path(first).resolve() == Path(second).resolve()
    )


def _store_exists(store: str) -> bool:
    return locate(store).exists()


def _client_security(security: Security) -> Security:
    """Certificates for a client in the scheduler's process; the scheduler's own by default."""
    return Security(
        tls_ca_file=security.tls_ca_file,
        tls_client_cert=security.tls_client_cert or security.tls_scheduler_cert,
        tls_client_key=security.tls_client_key or security.tls_scheduler_key,
        require_encryption=security.require_encryption,
    )


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
