"""The scheduler's half of the service. The client's half is in :mod:`djservice.service.client`.

Every active run has a thread with its own event loop and Dask client, so neither sums nor storage
hold up the scheduler's event loop. Only that loop changes the records and the queue. The state
directory holds the configuration of each run, which names its store. This is enough for a new
scheduler to continue the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler, SchedulerPlugin
from distributed.security import Security

from djservice.core.event_loops import Stopped, ThreadLoop
from djservice.core.formatting import finite
from djservice.core.private import public
from djservice.core.redact import message_of
from djservice.core.visible import visible
from djservice.errors import ConfigError, DjserviceError, ServiceError, TasksLostError
from djservice.on_dask.admission import announcing_on
from djservice.on_dask.limits import limit
from djservice.on_dask.plugins import redact_logs
from djservice.on_dask.session import client_of
from djservice.runs.finished import FinishedRun
from djservice.runs.run import run_on
from djservice.service import web
from djservice.service.allowed_paths import INPUT_ROOTS, OUTPUT_ROOTS, roots
from djservice.service.handlers import as_handler
from djservice.service.intake import Intake, checked_plan, parse_submission, store_exists
from djservice.service.interface import PLUGIN_NAME
from djservice.service.journal import Journal
from djservice.service.records import RESUMABLE, UNFINISHED, Record, State
from djservice.service.registry import Registry
from djservice.service.report import reports_wanted, write_report
from djservice.service.turns import Turns
from djservice.service.web.hosts import configured_hosts

logger = logging.getLogger("djservice")

#: Number of restarts without progress of a run whose tasks were dropped.
MAX_RESTARTS = 5
#: Number of starts after which a run is set aside if the scheduler died in each, before a step.
MAX_STARTS = 2
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
        self._hosts: dict[str, ThreadLoop[FinishedRun]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stop_requests: dict[str, tuple[State, str]] = {}
        self._turns = Turns()
        self._closing = False

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask: read the records of the directory, and begin to answer clients."""
        self.scheduler, self._loop = scheduler, asyncio.get_running_loop()
        slots = self.concurrent_runs or dask.config.get("djservice.concurrent-runs", 2)
        if not isinstance(slots, int) or slots < 1:
            raise ServiceError(
                "djservice.concurrent-runs: expected a whole number of 1 or more, found "
                f"{slots!r}. Correct Dask's configuration."
            )
        self._slots = slots
        limit("trees"), roots(INPUT_ROOTS), roots(OUTPUT_ROOTS)  # a wrong setting is said here
        configured_hosts(), reports_wanted()
        self._intake = Intake()
        self._runs = Registry(
            self.state_directory or dask.config.get("djservice.state-directory", "djservice-state")
        )
        redact_logs()
        # Not awaited: a worker that stands still would hold up the start.
        self._announcing = asyncio.gather(*announcing_on(scheduler), return_exceptions=True)
        await self._runs.read()
        for record in self._runs:
            if record.state in UNFINISHED:
                await self._take_up(record)
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
            {f"djservice_{name}": as_handler(method) for name, method in answers.items()}
        )
        web.serve(scheduler)
        logger.info(
            "djservice keeps its runs in %s and does %d at a time",
            self._runs.directory.path,
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
        if hasattr(self, "_runs"):  # not if the start failed
            self._intake.close()
            self._runs.close()

    def records(self, lines: int = 20) -> list[dict[str, Any]]:
        """All runs as plain data, in the order of their submission, for pages and metrics.

        Each record has id, user, store, state with its reason and time, all transitions, the result
        of a finished run (undetermined numbers are None), the progress
        (:attr:`djservice.service.journal.Journal.progress`), and the last log lines with their
        times. Call this method on the scheduler's loop. A record without lines that did not change
        is the same object as before; do not change it.
        """
        return [self._runs.describe(record, lines) for record in self._runs]

    def settings(self, run_id: str) -> dict[str, Any]:
        """The configuration of one run without its secrets. Call this on the scheduler's loop."""
        settings: dict[str, Any] = public(self._runs[run_id].config)
        return settings

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many runs ended in each state since this scheduler started."""
        return self._runs.outcomes

    async def submit(self, config: Any, user: str) -> dict[str, Any]:
        """Queue a run unless it is known; its record, with ``new`` True if it was queued now."""
        run, name, numbers = await self._intake.check(parse_submission, config)
        existing = self._runs.same_run(name, numbers)
        if existing is not None:
            store_missing = existing.state == "finished" and not await self._intake.check(
                store_exists, existing.store
            )
            if existing.state in RESUMABLE or store_missing:
                existing.config = config  # tokens in its URLs may be new
                await self._enqueue(
                    existing,
                    "its store was removed" if store_missing else f"submitted again by {user}",
                )
            return self._runs.describe(existing) | {"new": False}
        writer = self._runs.writer_of(run.output.store)
        if writer is not None:
            raise ConfigError(
                f"{run.output.store}: run {writer.id} of {writer.user}, which is {writer.state}, "
                "writes this store. Choose another output.store, or cancel that run."
            )
        record = Record(name, visible(str(user)[:100]), config, numbers=numbers)
        await self._runs.add(record, f"submitted by {record.user}")
        self._start_next()
        return self._runs.describe(record) | {"new": True}

    async def all_runs(self) -> list[dict[str, Any]]:
        """Records of all runs, without log lines."""
        return self.records(lines=0)

    async def status(self, run_id: str) -> dict[str, Any]:
        """Record of one run."""
        return self._runs.describe(self._runs[run_id])

    async def follow(self, run_id: str, number: int | None) -> dict[str, Any]:
        """Record of one run, with the events of its journal after ``number``."""
        record = self._runs[run_id]
        last, events = self._runs.journals[run_id].since(number)
        return self._runs.describe(record) | {"number": last, "events": events}

    async def logs(self, run_id: str) -> list[tuple[float, str]]:
        """Log lines of a run with their times."""
        self._runs[run_id]
        return self._runs.journals[run_id].lines

    async def cancel(self, run_id: str, user: str) -> dict[str, Any]:
        """Stop a run for good. Its store is kept."""
        return await self._stop(self._runs[run_id], "cancelled", user)

    async def pause(self, run_id: str, user: str) -> dict[str, Any]:
        """Stop a run until it is resumed. Another run may take its slot."""
        return await self._stop(self._runs[run_id], "paused", user)

    async def resume(self, run_id: str, user: str) -> dict[str, Any]:
        """Queue a paused, cancelled or failed run again. It continues from its store."""
        record = self._runs[run_id]
        if record.state == "finished":
            raise ServiceError(
                f"{run_id} is finished and cannot be resumed. "
                "Submit a changed configuration instead."
            )
        if record.state in RESUMABLE:
            await self._enqueue(record, f"resumed by {user}")
        return self._runs.describe(record)

    async def forget(self, run_id: str, user: str) -> dict[str, Any]:
        """Remove an ended run from the list and return its last record. Its store is kept."""
        record = self._runs[run_id]
        if record.state not in UNFINISHED and record.id in self._tasks:  # its end is being written
            await asyncio.wait([self._tasks[record.id]], timeout=STOP_TIMEOUT)
        if record.state in UNFINISHED or record.id in self._tasks:
            raise ServiceError(f"{run_id} is {record.state}: cancel it first.")
        description = self._runs.describe(record)
        await self._runs.remove(record)
        logger.info("%s was forgotten by %s", run_id, user)
        return description

    async def _stop(self, record: Record, state: State, user: str) -> dict[str, Any]:
        reason = f"{state} by {user}"
        if record.state == "finished" or (record.state == "failed" and state == "paused"):
            raise ServiceError(f"{record.id} is already {record.state}.")
        if record.id in self._tasks:
            self._stop_requests[record.id] = state, reason
            if record.id in self._hosts:
                self._hosts[record.id].stop(reason)
            await asyncio.wait([self._tasks[record.id]], timeout=STOP_TIMEOUT)
        elif record.state != state:
            await self._runs.move(record, state, reason)
        return self._runs.describe(record)

    async def _take_up(self, record: Record) -> None:
        """Queue a run of an earlier scheduler again, unless it took that one down repeatedly."""
        if record.starts < MAX_STARTS:
            await self._runs.note(record, "queued", "the scheduler started again")
            return
        await self._runs.note(
            record,
            "set-aside",
            f"the scheduler died {record.starts} times after it had started this run and before "
            "the run's first step. Choose smaller sizes, give the scheduler more memory, or resume "
            "the run if something else was the reason",
        )
        logger.error("%s is set aside: %s", record.id, record.transitions[-1].reason)

    async def _enqueue(self, record: Record, reason: str) -> None:
        record.starts = 0
        await self._runs.move(record, "queued", reason)
        self._start_next()

    def _start_next(self) -> None:
        """Fill free slots."""
        while len(self._tasks) < self._slots and not self._closing:
            record = self._turns.next(self._runs, [self._runs[name] for name in self._tasks])
            if record is None:
                return
            record.starts += 1  # written with the next state, before anything is done
            self._tasks[record.id] = asyncio.create_task(self._do(record))

    async def _do(self, record: Record) -> None:
        """Do one queued run until it ends or stops."""
        try:
            state, reason = await self._host(record)
            record.starts = 0
            await self._runs.note(record, state, reason)
        finally:
            del self._tasks[record.id]
            self._stop_requests.pop(record.id, None)
        self._start_next()

    async def _host(self, record: Record) -> tuple[State | None, str]:
        """Do a run; the state in which it ends, and the reason.

        The state is None if the scheduler stops: a new scheduler continues the run.
        """
        loaded, stepped = asyncio.Event(), asyncio.Event()
        journal = self._runs.journals[record.id] = Journal(
            self._setter(loaded), self._setter(stepped), self._runs.journals[record.id].lines
        )
        security, address = _client_security(self.scheduler.security), self.scheduler.address

        async def job() -> FinishedRun:
            plan = checked_plan(record.config)
            async with client_of(address, security) as client:
                finished = await run_on(client, plan, journal)
            if line := write_report(finished, plan.run.output.report):
                journal.say(line)
            return finished

        await self._runs.note(record, "loading")
        host = self._hosts[record.id] = ThreadLoop(job, f"djservice {record.id}")
        if self._closing or record.id in self._stop_requests:
            host.stop("stopped before it started")
        noting = {
            loaded: asyncio.create_task(self._note_running(record, loaded)),
            stepped: asyncio.create_task(self._note_step(record, stepped)),
        }
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
            for event, task in noting.items():
                if not event.is_set():  # a set event means that it is writing and will end soon
                    task.cancel()
            await asyncio.wait(noting.values())
            del self._hosts[record.id]
        record.result = finite(asdict(finished.result))
        return "finished", ""

    def _setter(self, event: asyncio.Event) -> Callable[[], None]:
        """A function that sets an event of the scheduler's loop from the thread of a run."""

        def set_event() -> None:
            self._loop.call_soon_threadsafe(event.set)

        return set_event

    async def _note_running(self, record: Record, loaded: asyncio.Event) -> None:
        await loaded.wait()
        await self._runs.note(record, "running")

    async def _note_step(self, record: Record, stepped: asyncio.Event) -> None:
        """After its first step a run is not held to be the reason if the scheduler dies."""
        await stepped.wait()
        record.starts = 0
        await self._runs.note(record)
        self._start_next()

    def _after_loss(
        self, record: Record, journal: Journal, error: TasksLostError
    ) -> tuple[State | None, str]:
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


#: Reason for queueing a run again after its tasks were dropped.
TASKS_DROPPED = "the cluster dropped its tasks"


def _client_security(security: Security) -> Security:
    """Certificates for a client in the scheduler's process; the scheduler's own by default."""
    return Security(
        tls_ca_file=security.tls_ca_file,
        tls_client_cert=security.tls_client_cert or security.tls_scheduler_cert,
        tls_client_key=security.tls_client_key or security.tls_scheduler_key,
        require_encryption=security.require_encryption,
    )
