"""Lease: a lock with an owner and an expiry, so that overlapping schedules do their work once.

The lock is a file, ``lock.json``, that its owner renews. A lease that was not renewed in time has
expired and may be taken over: its owner was killed or cut off. All times are compared by the clock
of the disk. If the expiry does not fit the time at which the file was written, the owner's clock is
wrong, and the age of the file decides: no lease lasts longer than the time that its owner chose. A
process that reads or takes the lease holds the kernel's lock on the file ``.lock`` meanwhile, so
that two processes never take it at once. Before the owner publishes its result, it checks that it
still owns the lease.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import Field, TypeAdapter

from djservice.core.atomic import write_text
from djservice.core.locks import lock_file
from djservice.core.regular import read_regular
from djservice.core.user import user_name
from djservice.errors import RunError, StoreError

#: Seconds by which the owner's clock may differ from that of the disk.
CLOCK_TOLERANCE = 60.0


#: Seconds, as a calendar can hold them.
Time = Annotated[float, Field(ge=0.0, le=1e11)]


@dataclass(frozen=True)
class _Lock:
    """Content of the lock file; ``seconds`` is the time that its owner chose."""

    owner: str
    token: str
    began: Time
    expires: Time
    seconds: Time | None = None


_LOCK = TypeAdapter(_Lock)


class HeldError(RunError):
    """Another process holds the lease."""


class Lease:
    """Context manager for the right to write a folder; it renews the lease until the end.

    Parameters
    ----------
    folder
        Folder to lock; it is made if it does not exist.
    seconds
        Time in seconds after which another process may take over a lease that is not renewed. The
        clocks of the machines must agree to much less than this; where they do not, that is said.

    Raises
    ------
    HeldError
        On entry, if another process holds the lease; the message names it.
    StoreError
        If the folder cannot be written.
    """

    def __init__(self, folder: str | Path, seconds: float) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self.owner = f"{user_name()}@{socket.gethostname()}, process {os.getpid()}"
        self.taken_from = self.remark = ""
        self._token, self._began = uuid.uuid4().hex, time.time()
        self._path = self.folder / "lock.json"
        self._stopped = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="djservice lease", daemon=True)

    def __enter__(self) -> Lease:
        with self._locked():
            holder = self._read()
            if holder is not None and self._lasts(holder):
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.began))
                raise HeldError(
                    f"{self.folder}: {holder.owner} has held the lock since {since} and does "
                    f"the work, so there is nothing to do here.{self.remark}"
                )
            self.taken_from = holder.owner if holder is not None else ""
            self._write()
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._renewer.join()
        with self._locked():
            if self._is_owner():
                self._path.unlink()

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Context in which this process is sure to own the lease.

        Raises
        ------
        RunError
            If the lease was not renewed in time and another process took it over.
        """
        with self._locked():
            if not self._is_owner():
                raise RunError(
                    f"{self.folder}: the lock was not renewed for {self.seconds:g} s and another "
                    "process took it over, so this process gives up. Check that the machine was "
                    "not suspended or cut off, or choose a longer lease."
                )
            yield

    def _lasts(self, holder: _Lock) -> bool:
        """True unless a lease has expired."""
        seconds, now = holder.seconds or self.seconds, self._disk_time()
        written = self._path.stat().st_mtime
        apart = written - (holder.expires - seconds)
        if abs(apart) <= CLOCK_TOLERANCE:
            return holder.expires > now
        self.remark = (
            f" The clock of {holder.owner} is {abs(apart):.0f} s "
            f"{'behind' if apart > 0 else 'ahead'}, so the age of the lock counts. Synchronise the "
            "clocks (`djservice doctor` compares them)."
        )
        return now - written < seconds

    def _disk_time(self) -> float:
        """The time of the disk's own clock, that of a file written now."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".clock.") as file:
            return os.stat(file.name).st_mtime

    def _renew(self) -> None:
        while not self._stopped.wait(self.seconds / 3):
            # An error is not final, because the disk may return before the lease expires.
            with contextlib.suppress(StoreError), self._locked():
                if not self._is_owner():
                    return
                self._write()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel's lock on a file, which is released if the process dies."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = lock_file(self.folder / ".lock", wait=True)
            try:
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: cannot be locked and written: {error.strerror or error}. Correct "
                "that, or choose another folder; `djservice doctor --folder` checks it."
            ) from error

    def _is_owner(self) -> bool:
        holder = self._read()
        return holder is not None and holder.token == self._token

    def _read(self) -> _Lock | None:
        try:
            return _LOCK.validate_json(read_regular(self._path), strict=True)
        except FileNotFoundError:
            return None
        except ValueError:
            raise StoreError(
                f"{self._path}: expected a lock of djservice. Check this file and remove it."
            ) from None

    def _write(self) -> None:
        content = _Lock(
            self.owner, self._token, self._began, time.time() + self.seconds, self.seconds
        )
        write_text(self._path, json.dumps(asdict(content), indent=1))
