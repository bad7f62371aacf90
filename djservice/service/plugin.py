"""Runs that live on a Dask scheduler: the half on the scheduler. The client's half is in :mod:`djservice.service.client`.

Every active run has a thread with an event loop and a Dask client of its own, so neither sums nor storage ever hold up the
scheduler's loop. The records and the queue belong to that loop alone. What is written of a run in the state directory is
enough to go on with it on a new scheduler: its configuration, and through it its store.
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
from djservice.core.event_loops import OwnLoop, Stopped
from djservice.core.redact import redacted, redacted_data
from djservice.core.urls import is_url
from djservice.errors import ConfigError, DjserviceError, ServiceError, TasksLostError
from djservice.fit.plan import RunPlan
from djservice.on_dask.plugins import CompileKernels, RedactLogs
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

#: How often in a row a run whose tasks were dropped starts again without getting any further.
ATTEMPTS = 5
#: Seconds that a run has to clear up when it is stopped.
TO_STOP = 30.0


class RunService(SchedulerPlugin):
    """Queue and hosts of runs on a scheduler.

    Load it with ``dask scheduler --preload djservice.preload``, or from a client with
    ``client.register_plugin(RunService())``; the scheduler needs djservice installed.

    Parameters
    ----------
    state_directory
        Where records are kept; ``djservice.state-directory`` of Dask's configuration by default, or ``djservice-state``
        in the scheduler's working directory.
    concurrent_runs
        Runs that go on at the same time; ``djservice.concurrent-runs`` by default, or 2.

    Raises
    ------
    ServiceError
        When it starts, if the directory cannot be used.
    """

    name = PLUGIN_NAME
    idempotent = True  # registered again, it stays as it is

    def __init__(
        self, state_directory: str | Path | None = None, concurrent_runs: int | None = None
    ) -> None:
        self.state_directory, self.concurrent_runs = state_directory, concurrent_runs
        self._records: dict[str, Record] = {}
        self._journals: dict[str, Journal] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask: take up what the directory holds, and answer clients."""
        self.scheduler, self._loop = scheduler, asyncio.get_running_loop()
        given = self.concurrent_runs or dask.config.get("djservice.concurrent-runs", 2)
        if not isinstance(given, int) or given < 1:
            raise ServiceError(
                f"djservice.concurrent-runs is {given!r}, expected a number of 1 or more."
            )
        self._places = given
        self._directory = StateDirectory(
            self.state_directory or dask.config.get("djservice.state-directory", "djservice-state")
        )
        self._writing = asyncio.Lock()
        self._hosts: dict[str, OwnLoop[FinishedRun]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._served: dict[str, int] = {}
        self._closing = False
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
            {f"djservice_{name}": _answering(method) for name, method in answers.items()}
        )
        web.serve(scheduler)
        logger.info(
            "djservice keeps its runs in %s; %d at a time", self._directory.path, self._places
        )
        self._start_next()

    async def before_close(self) -> None:
        """Called by Dask: stop what goes on, which a new scheduler on the same directory takes up again."""
        self._closing = True
        for host in self._hosts.values():
            host.stop("the scheduler stopped")
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=TO_STOP)
        self._directory.close()

    def records(self, lines: int = 20) -> list[dict[str, Any]]:
        """All runs as plain data, in the order of their submission: what pages and metrics are made of.

        Each has id, user, store, state, reason and the time since when, all transitions, the result of a finished run (numbers
        that are not determined are None), progress (:attr:`djservice.service.journal.Journal.progress`), and
        its last lines with their times. Call it on the scheduler's loop.
        """
        return [self._describe(record, lines) for record in self._records.values()]

    def settings(self, run_id: str) -> dict[str, Any]:
        """The configuration of one run without its secrets. Call it on the scheduler's loop."""
        found: dict[str, Any] = redacted_data(self._find(run_id).config)
        return found

    async def submit(self, config: Any, user: str) -> dict[str, Any]:
        """Queue a run, or find the one that is the same: its record, with ``new`` true if it was not there."""
        run, name, numbers = await asyncio.to_thread(_understand, config)
        there = self._records.get(name) or self._twin(numbers)
        if there is not None:
            gone = there.state == "finished" and not await asyncio.to_thread(_is_there, there.store)
            if there.state in RESUMABLE or gone:
                there.config = config  # the same but for tokens in its URLs
                await self._enqueue(
                    there, "the store is gone" if gone else f"submitted again by {user}"
                )
            return self._describe(there) | {"new": False}
        for other in self._records.values():
            if other.state in (*UNFINISHED, "paused") and _same_place(
                other.store, run.output.store
            ):
                raise ConfigError(
                    f"{run.output.store}: run {other.id} of {other.user}, which is {other.state}, writes this store. "
                    "Choose another output.store, or cancel that run."
                )
        record = self._records[name] = Record(name, str(user)[:100], config, numbers=numbers)
        self._journals[name] = Journal()
        try:
            await self._move(record, "queued", f"submitted by {record.user}")
        except ServiceError:
            del self._records[name], self._journals[name]
            raise
        self._start_next()
        return self._describe(record) | {"new": True}

    async def all_runs(self) -> list[dict[str, Any]]:
        """All runs."""
        return self.records(lines=0)

    async def status(self, run_id: str) -> dict[str, Any]:
        """One run."""
        return self._describe(self._find(run_id))

    async def follow(self, run_id: str, number: int | None) -> dict[str, Any]:
        """One run, and what its watch was told after event ``number``."""
        record = self._find(run_id)
        last, events = self._journals[run_id].since(number)
        return self._describe(record) | {"number": last, "events": events}

    async def logs(self, run_id: str) -> list[tuple[float, str]]:
        """All lines that are kept of a run, with their times."""
        self._find(run_id)
        return self._journals[run_id].lines

    async def cancel(self, run_id: str, user: str) -> dict[str, Any]:
        """End a run; what its store holds stays there."""
        return await self._stop(self._find(run_id), "cancelled", user)

    async def pause(self, run_id: str, user: str) -> dict[str, Any]:
        """Stop a run until it is resumed; its place is free meanwhile."""
        return await self._stop(self._find(run_id), "paused", user)

    async def resume(self, run_id: str, user: str) -> dict[str, Any]:
        """Queue a run that was paused or cancelled, or failed, again: it goes on from its store."""
        record = self._find(run_id)
        if record.state == "finished":
            raise ServiceError(f"{run_id} is finished: there is nothing to go on with.")
        if record.state in RESUMABLE:
            await self._enqueue(record, f"resumed by {user}")
        return self._describe(record)

    async def forget(self, run_id: str, user: str) -> dict[str, Any]:
        """Take a run that goes on no more off the list; its store stays. Returns what was known of it."""
        record = self._find(run_id)
        if record.state in UNFINISHED or record.id in self._tasks:
            raise ServiceError(f"{run_id} is {record.state}: cancel it before.")
        known = self._describe(record)
        async with self._writing:
            await asyncio.to_thread(self._directory.remove, record.id)
        del self._records[run_id], self._journals[run_id]
        logger.info("%s was forgotten by %s", run_id, user)
        return known

    async def _stop(self, record: Record, state: str, user: str) -> dict[str, Any]:
        reason = f"{state} by {user}"
        if record.state == "finished" or (record.state == "failed" and state == "paused"):
            raise ServiceError(f"{record.id} is {record.state} already.")
        if record.id in self._tasks:
            self._wanted[record.id] = state, reason
            if record.id in self._hosts:
                self._hosts[record.id].stop(reason)
            await asyncio.wait([self._tasks[record.id]], timeout=TO_STOP)
        elif record.state != state:
            await self._move(record, state, reason)
        return self._describe(record)

    async def _enqueue(self, record: Record, reason: str) -> None:
        await self._move(record, "queued", reason)
        self._start_next()

    async def _move(self, record: Record, state: str, reason: str) -> None:
        """Enter a state, and write it down before anybody is told."""
        record.move(state, redacted(reason))
        record.lines = self._journals[record.id].lines
        async with (
            self._writing
        ):  # one after the other, so that the last state is the one that stays
            await asyncio.to_thread(self._directory.write, record.id, record.to_json())

    async def _note(self, record: Record, state: str, reason: str) -> None:
        """Enter a state that nobody asked for. A write that fails is logged and not raised, for the store holds what matters."""
        try:
            await self._move(record, state, reason)
        except ServiceError as error:
            logger.error("%s: %s", record.id, error)
            self._journals[record.id].say(str(error))

    def _start_next(self) -> None:
        """Fill free places: the user with the fewest active runs first, of those the one served longest ago."""
        while len(self._tasks) < self._places and not self._closing:
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
        """Do one run, from the queue to where it ends."""
        try:
            state, reason = await self._host(record)
            if state is not None:
                await self._note(record, state, reason)
        finally:
            del self._tasks[record.id]
            self._wanted.pop(record.id, None)
        self._start_next()

    async def _host(self, record: Record) -> tuple[str | None, str]:
        """The state that a run comes to, and why; None where it stays in the one it has, for the scheduler stops."""
        loading = asyncio.Event()

        def begun() -> None:  # in the thread of the run
            self._loop.call_soon_threadsafe(loading.set)

        journal = self._journals[record.id] = Journal(begun, self._journals[record.id].lines)
        security, address = _own_security(self.scheduler.security), self.scheduler.address

        async def job() -> FinishedRun:
            plan = _checked(record.config)
            async with client_of(address, journal, security) as client:
                return await run_on(client, plan, journal)

        await self._note(record, "loading", "")
        host = self._hosts[record.id] = OwnLoop(job, f"djservice {record.id}")
        if self._closing or record.id in self._wanted:
            host.stop("stopped before it began")
        noting = asyncio.create_task(self._note_running(record, loading))
        try:
            finished = await host.ended()
        except Stopped:
            return self._wanted.get(record.id, (None, ""))
        except TasksLostError as error:
            return self._after_loss(record, journal, error)
        except DjserviceError as error:
            return "failed", f"{type(error).__name__}: {error}"
        except Exception as error:
            logger.exception("%s failed in a way that it should not", record.id)
            return "failed", f"{type(error).__name__}: {error}; the scheduler's log has more"
        finally:
            if not loading.is_set():  # else it is writing, and done in a moment
                noting.cancel()
            await asyncio.wait([noting])
            del self._hosts[record.id]
        record.result = {
            name: _determined(value) for name, value in asdict(finished.result).items()
        }
        return "finished", ""

    async def _note_running(self, record: Record, loading: asyncio.Event) -> None:
        await loading.wait()
        await self._note(record, "running", "")

    def _after_loss(
        self, record: Record, journal: Journal, error: TasksLostError
    ) -> tuple[str | None, str]:
        """Go on after the cluster was restarted under a run, unless it never gets anywhere."""
        if self._closing:
            return None, ""
        if record.id in self._wanted:
            return self._wanted[record.id]
        journal.say(f"{error} Going on.")
        reasons = [
            transition.reason for transition in record.transitions if transition.state == "queued"
        ]
        further = bool(journal.progress.get("numbers"))
        if not further and reasons[-ATTEMPTS:] == [DROPPED] * ATTEMPTS:
            return "failed", f"{type(error).__name__}: {error}"
        return "queued", DROPPED

    def _find(self, run_id: str) -> Record:
        if run_id not in self._records:
            near = difflib.get_close_matches(str(run_id), self._records, n=3, cutoff=0.5)
            hint = f"Near: {', '.join(near)}." if near else "`djservice list` shows all."
            raise ServiceError(f"no run {run_id!r} here. {hint}")
        return self._records[run_id]

    def _twin(self, numbers: str) -> Record | None:
        """A run that writes the same numbers right now, elsewhere."""
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


#: Why a run is queued again after it lost its tasks.
DROPPED = "the cluster dropped its tasks"


def _answering(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """A handler whose errors travel as plain data and leave no traceback in the scheduler's log."""

    async def handler(**given: Any) -> dict[str, Any]:
        try:
            return {"answer": await method(**given)}
        except DjserviceError as error:
            return {"error": type(error).__name__, "message": redacted(str(error))}

    return handler


def _understand(config: Any) -> tuple[Run, str, str]:
    """The run of a submission, its identity and that of its numbers; touches files, so not for the scheduler's loop."""
    run = _checked(config).run
    return run, identity(run), same_numbers(run)


def _checked(config: Any) -> RunPlan:
    """The plan of a submission that stays within the roots."""
    plan = RunPlan(unpack(config))
    check_roots(plan)
    plan.check()
    return plan


def _same_place(one: str, other: str) -> bool:
    return (
        one == other
        if is_url(one) or is_url(other)
        else Path(one).resolve() == Path(other).resolve()
    )


def _is_there(store: str) -> bool:
    return locate(store).exists()


def _own_security(security: Security) -> Security:
    """What a client in the scheduler's process needs to reach it: its certificate, where it has no other."""
    return Security(
        tls_ca_file=security.tls_ca_file,
        tls_client_cert=security.tls_client_cert or security.tls_scheduler_cert,
        tls_client_key=security.tls_client_key or security.tls_scheduler_key,
        require_encryption=security.require_encryption,
    )


def _determined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
