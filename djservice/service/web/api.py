"""The runs as JSON; ``static/schema.json`` says what is in it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from djservice.core.redact import redacted
from djservice.errors import ServiceError
from djservice.service.web import answers
from djservice.service.web.handler import Handler

#: Rows of the history in an answer that does not say how many, and lines of a run.
ROWS, LINES = 1000, 100


class Answer(Handler):
    """JSON, for errors too."""

    def answer(self, body: str) -> None:
        """Send what is JSON already."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(body)

    def refuse(self, status: int, message: str) -> None:
        """Say what is wrong."""
        self.set_status(status)
        self.answer(json.dumps({"error": redacted(message)}))

    def write_error(self, status_code: int, **given: Any) -> None:
        """Of what is wrong here, nothing but that it is in the log."""
        self.refuse(status_code, f"{self._reason}; the scheduler's log may have more.")

    def number(self, name: str, default: int) -> int:
        """A number of the query.

        Raises
        ------
        ValueError
            If it is none.
        """
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ValueError(f"{name} is {text!r}, expected a whole number of 0 or more.")
        return int(text)


class Runs(Answer):
    """All runs."""

    async def get(self) -> None:
        """``api/runs``."""
        try:
            records = self.service.records(lines=0)
        except ServiceError as error:
            self.refuse(503, str(error))
            return
        for record in records:
            del record["lines"]
        head = {"time": time.time(), "cluster": answers.cluster(self.server)}
        self.answer(
            await asyncio.to_thread(
                lambda: _dumps(head | {"runs": answers.shown({"runs": records})["runs"]})
            )
        )


class OneRun(Answer):
    """One run with its lines and columns of its store."""

    async def get(self, run_id: str) -> None:
        """``api/runs/ID``; ``?history=N`` for at most the last N rows, ``?from=K`` for those from row K on."""
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
                head | answers.shown(record) | answers.stored(record["store"], rows, start)
            )

        self.answer(await asyncio.to_thread(body))


def _dumps(found: dict[str, Any]) -> str:
    return json.dumps(found, allow_nan=False)


routes: list[tuple[str, type[Handler], dict[str, Any]]] = [
    (r"/djservice/api/runs/?", Runs, {}),
    (r"/djservice/api/runs/([^/]+)", OneRun, {}),
]
