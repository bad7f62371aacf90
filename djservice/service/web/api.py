"""The runs as JSON; ``static/schema.json`` describes the content."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from weakref import WeakKeyDictionary

from djservice.core.redact import redacted
from djservice.errors import ServiceError
from djservice.service.interface import RunBoard
from djservice.service.web import answers
from djservice.service.web.handler import Handler, beside

#: Rows of the history in an answer by default, and log lines of a run.
ROWS, LINES = 1000, 100


class Answer(Handler):
    """Handler that answers in JSON, also for errors."""

    def answer(self, body: str) -> None:
        """Send a text that is JSON."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(body)

    def refuse(self, status: int, message: str) -> None:
        """Send an error message."""
        self.set_status(status)
        self.answer(json.dumps({"error": redacted(message)}))

    def write_error(self, status_code: int, **arguments: Any) -> None:
        """Send no details of an internal error, but point to the log."""
        self.refuse(status_code, f"{self._reason}; see the scheduler's log.")

    def number(self, name: str, default: int) -> int:
        """A whole number from the query.

        Raises
        ------
        ValueError
            If the value is not a whole number of 0 or more.
        """
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ValueError(f"{name}: expected a whole number of 0 or more, found {text!r}.")
        return int(text)


class Runs(Answer):
    """Answer with all runs."""

    async def get(self) -> None:
        """Answer ``api/runs``."""
        try:
            service = self.service
        except ServiceError as error:
            self.refuse(503, str(error))
            return
        head = {"time": time.time(), "cluster": answers.cluster(self.server)}
        runs = await asyncio.to_thread(_texts, service, service.records(lines=0))
        self.answer(f'{_dumps(head)[:-1]}, "runs": [{", ".join(runs)}]}}')


#: Of each service, the records of its runs with their texts.
_KNOWN: WeakKeyDictionary[RunBoard, dict[str, tuple[dict[str, Any], str]]] = WeakKeyDictionary()


def _texts(service: RunBoard, records: list[dict[str, Any]]) -> list[str]:
    """The records in JSON; only those that changed since the last call are written anew."""
    before = _KNOWN.get(service, {})
    texts = {}
    for record in records:
        old, text = before.get(record["id"], (None, ""))
        if old is not record:
            public = {key: value for key, value in record.items() if key != "lines"}
            text = _dumps(answers.public_record(public))
        texts[record["id"]] = record, text
    _KNOWN[service] = texts
    return [text for _, text in texts.values()]


class OneRun(Answer):
    """Answer with one run, its log lines and columns of its store."""

    async def get(self, run_id: str) -> None:
        """Answer ``api/runs/ID``.

        ``?history=N`` limits the history to the last N rows, ``?from=K`` to the rows from K on.
        """
        try:
            service = self.service
        except ServiceError as error:
            self.refuse(503, str(error))
            return
        try:
            record = await service.status(run_id) | {"settings": service.settings(run_id)}
            record["lines"] = (await service.logs(run_id))[-LINES:]
        except ServiceError as error:
            self.refuse(404, str(error))
            return
        try:
            rows, start = self.number("history", ROWS), self.number("from", 0)
        except ValueError as error:
            self.refuse(400, str(error))
            return
        head = {"time": time.time(), "cluster": answers.cluster(self.server)}

        def body() -> str:
            return _dumps(
                head
                | answers.public_record(record)
                | answers.store_columns(record["store"], rows, start)
            )

        try:
            self.answer(await beside(body))
        except TimeoutError:
            self.refuse(503, f"{record['store']}: the file system of the store does not answer.")


def _dumps(data: dict[str, Any]) -> str:
    return json.dumps(data, allow_nan=False)


routes: list[tuple[str, type[Handler], dict[str, Any]]] = [
    (r"/djservice/api/runs/?", Runs, {}),
    (r"/djservice/api/runs/([^/]+)", OneRun, {}),
]
