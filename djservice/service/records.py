"""What a service remembers of its runs: one JSON file each, in a directory that outlives the scheduler."""

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
from djservice.errors import ServiceError

logger = logging.getLogger("djservice")

#: States in which a run has something ahead of it without anyone asking.
UNFINISHED = ("queued", "loading", "running")
#: States from which a run goes on when it is resumed or submitted again.
RESUMABLE = ("paused", "failed", "cancelled")
STATES = (*UNFINISHED, *RESUMABLE, "finished")


@dataclass(frozen=True)
class Transition:
    """A state, since when (seconds since 1970), and why."""

    state: str
    time: float
    reason: str


@dataclass
class Record:
    """One submitted run.

    Attributes
    ----------
    id, user
        Its name, and who says to have submitted it.
    config
        The run as plain data.
    transitions
        Every state it was in; the last is the one it is in.
    result
        Of a finished run, as plain data.
    numbers
        The same for runs that write the same numbers (:func:`djservice.service.submission.same_numbers`).
    lines
        The last lines it had to say, with their times.
    """

    id: str
    user: str
    config: dict[str, Any]
    transitions: list[Transition] = field(default_factory=list)
    numbers: str = ""
    result: dict[str, Any] | None = None
    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state it is in."""
        return self.transitions[-1].state

    @property
    def store(self) -> str:
        """Path of its store."""
        return str(self.config["output"]["store"])

    def move(self, state: str, reason: str) -> None:
        """Enter a state now."""
        assert state in STATES
        self.transitions.append(Transition(state, time.time(), reason))

    def to_json(self) -> str:
        """As text that :meth:`from_json` reads back."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """A record from its text.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none.
        """
        data = json.loads(text)
        data["transitions"] = [Transition(**entry) for entry in data["transitions"]]
        data["lines"] = [(float(when), str(line)) for when, line in data["lines"]]
        record = cls(**data)
        if record.state not in STATES or not record.store:
            raise ValueError(f"state {record.state!r}")
        return record


class StateDirectory:
    """A directory of records, which belongs to one scheduler at a time.

    Configurations may hold access tokens, so nobody but its owner may read it.

    Raises
    ------
    ServiceError
        If it cannot be made or written, or another scheduler uses it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise ServiceError(
                f"{self.path}: no state directory: {error.strerror}. Choose djservice.state-directory."
            ) from error
        try:
            fcntl.flock(
                self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # given back by the system when the process dies
        except BlockingIOError:
            self.close()
            raise ServiceError(
                f"{self.path}: another scheduler keeps its runs here, and would do them twice. Choose another djservice.state-directory."
            ) from None

    def read(self) -> list[Record]:
        """All records, in the order of their submission; a file that is none is named in the log and left alone."""
        records = []
        for path in self.path.glob("*.json"):
            try:
                records.append(Record.from_json(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
                logger.error("%s: not the record of a run, left out: %r", path, error)
        return sorted(records, key=lambda record: record.transitions[0].time)

    def write(self, name: str, text: str) -> None:
        """Write a record, wholly or not at all.

        Raises
        ------
        ServiceError
            If the disk is full or the directory cannot be written.
        """
        try:
            write_text(self.path / f"{name}.json", text, mode=0o600)
        except OSError as error:
            raise ServiceError(f"{self.path}: cannot be written: {error.strerror}.") from error

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
            raise ServiceError(f"{self.path}: cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Let another scheduler have it."""
        os.close(self._lock)
