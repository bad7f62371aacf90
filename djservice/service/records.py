"""Records of submitted runs: one JSON file each, in a directory that outlives the scheduler."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from djservice.core.atomic import write_text
from djservice.core.private import private, private_url
from djservice.core.redact import message_of, redacted
from djservice.errors import ServiceError

logger = logging.getLogger("djservice")

#: States of a run that will proceed without a request.
UNFINISHED = ("queued", "loading", "running")
#: States from which a run continues when it is resumed or submitted again.
RESUMABLE = ("paused", "failed", "cancelled")
STATES = (*UNFINISHED, *RESUMABLE, "finished")


@dataclass(frozen=True)
class Transition:
    """Change to a state: its time in seconds since 1970, and the reason."""

    state: str
    time: float
    reason: str


@dataclass
class Record:
    """One submitted run.

    Attributes
    ----------
    id, user
        Name of the run, and name that its submitter gave (not verified).
    config
        Configuration of the run as plain data, with the credentials of its URLs.
    transitions
        All states of the run, the current one last.
    result
        Result of a finished run as plain data; None before.
    numbers
        Digest that runs share if they write the same numbers
        (:func:`djservice.service.submission.same_numbers`).
    lines
        Last log lines of the run with their times.
    """

    id: str
    user: str
    config: dict[str, Any] = field(repr=False)
    transitions: list[Transition] = field(default_factory=list)
    numbers: str = ""
    result: dict[str, Any] | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The current state."""
        return self.transitions[-1].state

    @property
    def store(self) -> str:
        """Path or URL of the run's store."""
        return private_url(str(self.config["output"]["store"]))

    def move(self, state: str, reason: str) -> None:
        """Enter a state at the present time."""
        assert state in STATES
        self.transitions.append(Transition(state, time.time(), reason))

    def to_json(self) -> str:
        """The record as text that :meth:`from_json` reads."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """A record from its text.

        Raises
        ------
        ValueError, KeyError, TypeError
            If the text is not a record.
        """
        data = json.loads(text)
        private(data["config"])  # so that the texts of an earlier version lose its secrets
        data["transitions"] = [
            Transition(**{**entry, "reason": redacted(str(entry["reason"]))})
            for entry in data["transitions"]
        ]
        data["lines"] = [(float(when), redacted(str(line))) for when, line in data["lines"]]
        record = cls(**data)
        if record.state not in STATES or not record.store:
            raise ValueError(f"state {record.state!r}")
        return record


class StateDirectory:
    """Directory of records, used by one scheduler at a time.

    Only its owner may read it, because configurations may hold access tokens.

    Raises
    ------
    ServiceError
        If the directory cannot be made or written, or another scheduler uses it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ServiceError(
                f"{self.path}: cannot be used as state directory: {error.strerror}. "
                "Choose another djservice.state-directory."
            ) from error
        try:
            # The system releases this lock when the process dies.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise ServiceError(
                f"{self.path}: another scheduler keeps its runs here. "
                "Choose another djservice.state-directory."
            ) from None

    def read(self) -> list[Record]:
        """All records, in the order of their submission.

        A file that is not a record is named in the log and otherwise ignored.
        """
        records = []
        for path in self.path.glob("*.json"):
            try:
                records.append(Record.from_json(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                logger.error(
                    "%s: not the record of a run, ignored: %s: %s",
                    path,
                    type(error).__name__,
                    message_of(error),
                )
        return sorted(records, key=lambda record: record.transitions[0].time)

    def write(self, name: str, text: str) -> None:
        """Write a record completely or not at all.

        Raises
        ------
        ServiceError
            If the disk is full or the directory cannot be written.
        """
        try:
            write_text(self.path / f"{name}.json", text, mode=0o600)
        except OSError as error:
            raise ServiceError(
                f"{self.path}: cannot be written: {error.strerror}. "
                "Free space or correct the permissions."
            ) from error

    def remove(self, name: str) -> None:
        """Remove a record.

        Raises
        ------
        ServiceError
            If the directory cannot be written.
        """
        try:
            (self.path / f"{name}.json").unlink(missing_ok=True)
        except OSError as error:
            raise ServiceError(
                f"{self.path}: cannot be written: {error.strerror}. "
                "Free space or correct the permissions."
            ) from error

    def close(self) -> None:
        """Release the directory for another scheduler."""
        os.close(self._lock)
