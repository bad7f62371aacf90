"""Records of submitted runs: one JSON file each, in a directory that outlives the scheduler."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from djservice.core.atomic import write_text
from djservice.core.checksums import KEY, sealed, unsealed
from djservice.core.locks import lock_file
from djservice.core.private import private, private_url
from djservice.core.redact import message_of, redacted
from djservice.core.regular import irregular
from djservice.errors import ServiceError

logger = logging.getLogger("djservice")

#: States of a run that will proceed without a request.
UNFINISHED = ("queued", "loading", "running")
#: States from which a run continues when it is resumed or submitted again.
RESUMABLE = ("paused", "failed", "cancelled", "set-aside")
#: States in which a run ends.
ENDED = ("finished", "failed", "cancelled", "set-aside")
State = Literal[
    "queued", "loading", "running", "paused", "failed", "cancelled", "set-aside", "finished"
]
STATES: tuple[State, ...] = get_args(State)

#: Largest file of a record in bytes; a larger one is no record.
LARGEST_RECORD = 20_000_000
#: Transitions that are kept of a run, in addition to the first one.
KEPT_TRANSITIONS = 200


@dataclass(frozen=True)
class Transition:
    """Change to a state: its time in seconds since 1970, and the reason."""

    state: State
    time: FiniteFloat
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
    starts
        Number of starts in a row that ended with the scheduler, without a step of the run and
        without a word. It is written before each start.
    """

    id: str
    user: str
    config: dict[str, Any] = field(repr=False)
    transitions: list[Transition] = field(default_factory=list)
    numbers: str = ""
    result: dict[str, Any] | None = None
    lines: list[tuple[FiniteFloat, str]] = field(default_factory=list)
    starts: int = 0

    @property
    def state(self) -> State:
        """The current state."""
        return self.transitions[-1].state

    @property
    def store(self) -> str:
        """Path or URL of the run's store."""
        return private_url(str(self.config["output"]["store"]))

    def move(self, state: State, reason: str) -> None:
        """Enter a state at the present time."""
        self.transitions.append(Transition(state, time.time(), reason))
        del self.transitions[1:-KEPT_TRANSITIONS]

    def to_json(self) -> str:
        """The record as text that :meth:`from_json` reads."""
        return json.dumps(sealed(asdict(self)), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """A record from its text.

        Raises
        ------
        ValueError
            If the text is not a record; the message names the key at fault.
        """
        try:
            record = _RECORD.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "content"
            raise ValueError(f"{where}: {first['msg']}") from None
        data = json.loads(text)
        if KEY in data:  # a record of an earlier version has none
            unsealed(data)
        if not record.transitions:
            raise ValueError("transitions: expected one or more, found none")
        if not isinstance(record.config.get("output"), dict) or not record.config["output"].get(
            "store"
        ):
            raise ValueError("config.output.store: expected a path, found none")
        private(record.config)  # so that the texts of an earlier version lose its secrets
        record.transitions = [
            replace(entry, reason=redacted(entry.reason)) for entry in record.transitions
        ]
        record.lines = [(when, redacted(line)) for when, line in record.lines]
        return record


_RECORD = TypeAdapter(Record)


class StateDirectory:
    """Directory of records, used by one scheduler at a time.

    Only its owner may read it, because configurations may hold access tokens.

    Raises
    ------
    ServiceError
        If the directory cannot be made or written, others may write it, or another scheduler uses
        it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        with contextlib.ExitStack() as opened:
            try:
                self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, self._folder)
                self._keep_others_out()
                opened.callback(os.close, lock_file(".lock", folder=self._folder, mode=0o600))
            except BlockingIOError:
                raise ServiceError(
                    f"{self.path}: another scheduler keeps its runs here. "
                    "Choose another djservice.state-directory."
                ) from None
            except OSError as error:
                raise ServiceError(
                    f"{self.path}: cannot be used as state directory: {error.strerror}. "
                    "Choose another djservice.state-directory."
                ) from error
            self._opened = opened.pop_all()

    def _keep_others_out(self) -> None:
        """Refuse a directory that all may write, and close one that its group may or all may read.

        Volumes of Kubernetes are open to a group that has nobody else (fsGroup).
        """
        status = os.fstat(self._folder)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
            raise ServiceError(
                f"{self.path}: expected a state directory that only its owner can write, found "
                f"permissions {stat.S_IMODE(status.st_mode):04o} of user {status.st_uid}: others may "
                f"change the runs. `chmod 700 {self.path}`, or choose another "
                "djservice.state-directory."
            )
        mine = status.st_uid == os.geteuid()
        if status.st_mode & (0o077 if mine else 0o007):
            logger.warning(
                "%s: others could open the records, which may hold tokens; now only the owner can",
                self.path,
            )
            try:
                os.fchmod(self._folder, 0o700)
            except OSError as error:
                raise ServiceError(
                    f"{self.path}: others can read this state directory, and its permissions "
                    f"cannot be changed: {error.strerror}. Choose another "
                    "djservice.state-directory."
                ) from error

    def read(self) -> list[Record]:
        """All records, in the order of their submission.

        A file that is not a record is named in the log and set aside under another name.
        """
        records = []
        for path in sorted(self.path.glob("*.json")):
            try:
                records.append(_read(path))
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
        return sorted(records, key=lambda record: record.transitions[0].time)

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f"{path.name}.{time.time_ns()}.set-aside")
        try:
            path.rename(aside)
        except OSError:
            aside = path  # stays, and is named at every start
        logger.error(
            "%s: not the record of a run: %s. It is left out and kept as %s: mend it and give it "
            "its name back, or remove it.",
            path,
            message_of(error),
            aside.name,
        )

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
        self._opened.close()


def _read(path: Path) -> Record:
    """The record of a file, which has the name of the run.

    Raises
    ------
    OSError, ValueError
        If it cannot be read or is not a record.
    """
    if other := irregular(path):
        raise ValueError(f"expected a regular file, found {other}")
    size = path.stat().st_size
    if size > LARGEST_RECORD:
        raise ValueError(f"expected at most {LARGEST_RECORD:,} bytes, found {size:,}")
    record = Record.from_json(path.read_text())
    if path.name != f"{record.id}.json":
        raise ValueError(
            f"expected the record of {path.name.removesuffix('.json')}, found that of {record.id!r}"
        )
    return record
