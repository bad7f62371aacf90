"""Lease: a lock with an owner and an expiry, so that overlapping schedules do their work once, wherever they run.

The lock is a file, ``lock.json``, that its owner renews. A lease that was not renewed in time
has expired and may be taken over: its owner was killed or cut off. Whoever reads or takes it holds the kernel's lock on the
folder for that instant, so that two never take it at once; before it publishes its result the owner checks that it still is
the owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from djservice.core.atomic import write_text
from djservice.errors import RunError, StoreError


class HeldError(RunError):
    """Another process holds the lease."""


class Lease:
    """The right to write a folder; a context manager that renews it meanwhile and gives it back.

    Parameters
    ----------
    folder
        Is made if it is not there.
    seconds
        After which a lease that is not renewed may be taken by another process. Clocks of the machines must agree to much less.

    Raises
    ------
    HeldError
        On entering, if another process has it, saying which.
    StoreError
        If the folder cannot be written.
    """

    def __init__(self, folder: str | Path, seconds: float) -> None:
        self.folder, self.seconds = Path(folder), seconds
        self.owner = f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"
        self.taken_from = ""
        self._token, self._began = uuid.uuid4().hex, time.time()
        self._path = self.folder / "lock.json"
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="djservice lease", daemon=True)

    def __enter__(self) -> Lease:
        with self._alone():
            there = self._read()
            if there is not None and there["expires"] > time.time():
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(there["began"]))
                raise HeldError(
                    f"{self.folder}: {there['owner']} is at it since {since}, and does it for all."
                )
            self.taken_from = there["owner"] if there is not None else ""
            self._write()
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._renewer.join()
        with self._alone():
            if self._is_ours():
                self._path.unlink()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """What is done inside is done as the owner, and by nobody else at the same time.

        Raises
        ------
        RunError
            If the lease was not renewed in time and taken by another process.
        """
        with self._alone():
            if not self._is_ours():
                raise RunError(
                    f"{self.folder}: the lock was not renewed for {self.seconds:g} s and another process took it, so this one "
                    "leaves the result to it. Was this machine suspended or cut off? Else choose a longer lease."
                )
            yield

    def _renew(self) -> None:
        while not self._over.wait(self.seconds / 3):
            with (
                contextlib.suppress(StoreError),
                self._alone(),
            ):  # a disk that comes back in time is no reason to give up
                if not self._is_ours():
                    return
                self._write()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the kernel's lock, which it gives back when the process dies."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                f"{self.folder}: cannot be locked and written: {error.strerror or error}. Mend that, or choose another folder; "
                "`djservice doctor --folder` looks at it."
            ) from error

    def _is_ours(self) -> bool:
        there = self._read()
        return there is not None and there["token"] == self._token

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._path.read_text())
            return {key: found[key] for key in ("owner", "token", "began", "expires")}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{self._path}: not a lock of djservice; look what it is, and remove it."
            ) from None

    def _write(self) -> None:
        found = {
            "owner": self.owner,
            "token": self._token,
            "began": self._began,
            "expires": time.time() + self.seconds,
        }
        write_text(self._path, json.dumps(found, indent=1))
