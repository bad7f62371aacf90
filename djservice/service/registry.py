"""Registry: the records of all runs in memory, with their journals, and in the state directory.

All methods belong to the scheduler's loop. Files are written in a thread beside it.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed.threadpoolexecutor import ThreadPoolExecutor  # hung threads let the process end

from djservice.core.redact import redacted
from djservice.errors import ServiceError
from djservice.service.intake import same_location
from djservice.service.journal import Journal
from djservice.service.records import ENDED, UNFINISHED, Record, State, StateDirectory

logger = logging.getLogger("djservice")


class Registry:
    """The runs of a scheduler, in the order of their submission.

    ``outcomes`` counts how runs ended since the scheduler started.

    Parameters
    ----------
    path
        The state directory.

    Raises
    ------
    ServiceError
        If the directory cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        self.directory = StateDirectory(path)
        self.journals: dict[str, Journal] = {}
        self._records: dict[str, Record] = {}
        self._described: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.outcomes: Counter[str] = Counter()
        self._writing = asyncio.Lock()
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="djservice-state")

    async def read(self) -> None:
        """Take the records of an earlier scheduler from the directory."""
        loop = asyncio.get_running_loop()
        for record in await loop.run_in_executor(self._disk, self.directory.read):
            self._records[record.id] = record
            self.journals[record.id] = Journal(lines=record.lines)

    def close(self) -> None:
        """Release the directory for another scheduler."""
        self._disk.shutdown(wait=False)
        self.directory.close()

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __getitem__(self, run_id: str) -> Record:
        """The record of a run.

        Raises
        ------
        ServiceError
            If there is no such run; the message names the nearest ids.
        """
        if run_id not in self._records:
            near = difflib.get_close_matches(str(run_id), self._records, n=3, cutoff=0.5)
            hint = f"Near: {', '.join(near)}." if near else "`djservice list` shows all runs."
            raise ServiceError(f"no run {run_id[:200]!r} here. {hint}")
        return self._records[run_id]

    def same_run(self, name: str, numbers: str) -> Record | None:
        """The run of that name, or an unfinished one that writes the same numbers elsewhere."""
        return self._records.get(name) or next(
            (r for r in self if r.numbers == numbers and r.state in UNFINISHED), None
        )

    def writer_of(self, store: str) -> Record | None:
        """The unfinished or paused run that writes a store."""
        return next(
            (
                record
                for record in self
                if record.state in (*UNFINISHED, "paused") and same_location(record.store, store)
            ),
            None,
        )

    async def add(self, record: Record, reason: str) -> None:
        """Queue a new run.

        Raises
        ------
        ServiceError
            If its record cannot be written; it is not queued then.
        """
        self._records[record.id], self.journals[record.id] = record, Journal()
        try:
            await self.move(record, "queued", reason)
        except ServiceError:
            del self._records[record.id], self.journals[record.id]
            raise

    async def move(self, record: Record, state: State, reason: str) -> None:
        """Enter a state, and write the record before the request is answered."""
        record.move(state, redacted(reason))
        if state in ENDED:
            self.outcomes[state] += 1
        await self._write(record)

    async def note(self, record: Record, state: State | None = None, reason: str = "") -> None:
        """Enter a state, or write the present one, without a request.

        A failed write is logged and not raised: the store holds everything that matters.
        """
        try:
            if state is None:
                await self._write(record)
            else:
                await self.move(record, state, reason)
        except ServiceError as error:
            logger.error("%s: %s", record.id, error)
            self.journals[record.id].say(str(error))

    async def remove(self, record: Record) -> None:
        """Remove a run from memory and from the directory."""
        loop = asyncio.get_running_loop()
        async with self._writing:
            await loop.run_in_executor(self._disk, self.directory.remove, record.id)
        del self._records[record.id], self.journals[record.id]
        self._described.pop(record.id, None)

    async def _write(self, record: Record) -> None:
        loop, record.lines = asyncio.get_running_loop(), self.journals[record.id].lines
        async with self._writing:  # in order, so that the file holds the last state
            await loop.run_in_executor(
                self._disk, self.directory.write, record.id, record.to_json()
            )

    def describe(self, record: Record, lines: int = 20) -> dict[str, Any]:
        """A record as plain data; without lines it is the same object until the run changes."""
        journal, last = self.journals[record.id], record.transitions[-1]
        version = (last, journal.number)
        described, description = self._described.get(record.id, (None, {}))
        if described != version:
            description = {
                "id": record.id,
                "user": record.user,
                "store": record.store,
                "state": last.state,
                "since": last.time,
                "reason": last.reason,
                "transitions": [dict(vars(transition)) for transition in record.transitions],
                "result": record.result,
                "progress": journal.progress,
                "lines": [],
            }
            self._described[record.id] = version, description
        return description | {"lines": journal.lines[-lines:]} if lines else description
