"""A store in a local folder: created aside and renamed, locked by a file, and fenced."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zarr

from djservice.core.atomic import written_aside
from djservice.core.locks import lock_file
from djservice.errors import StoreError
from djservice.store.fence import NOBODY, TOKEN, WRITER, Fenced, check_token, holder, new_token

#: Errors of file systems that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class LocalFolder:
    """A store in a local folder.

    A symbolic link stands for the folder that it names: that folder is created, continued, locked
    and deleted, and the link stays. While the lock is held, everything is read and written through
    the open folder and not by its path. So the rows of a writer never reach another folder that
    took its name.
    """

    #: Errors that access to it may raise.
    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: str) -> None:
        self._name = path
        self.path = Path(os.path.realpath(path))
        self._open = self.path  # the path that is used while the lock is held
        self._token: bytes | None = None

    def __str__(self) -> str:
        return str(Path(self._name))

    def exists(self) -> bool:
        """True if anything exists at the path."""
        return self.path.exists()

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within, without the copies of consolidated metadata."""
        if self._token is None:
            # Format 2 has codecs that unpickle.
            path = str(self.path / name)
            return zarr.open_group(path, mode=mode, use_consolidated=False, zarr_format=3)
        store = Fenced(zarr.storage.LocalStore(self._open), self.check)
        return zarr.open_group(store, path=name, mode=mode, use_consolidated=False, zarr_format=3)

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return (self.path / group / "zarr.json").stat().st_mtime

    def consolidate(self, group: str | None) -> None:
        """Copy the metadata of the arrays of a group into it."""
        zarr.consolidate_metadata(self.group("r+").store, path=group)

    def create(self, fill: Callable[[zarr.Group], None]) -> bool:
        """Create the store. Returns False if another process was faster."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self.path) as aside:
                root = zarr.open_group(str(aside), mode="w")
                root.create_group(WRITER)
                fill(root)
        except OSError:
            if not self.exists():
                raise
            return False
        return True

    def add(self, name: str, fill: Callable[[zarr.Group], None]) -> None:
        """Create a group of the store."""
        with written_aside(self._open / name) as aside:
            fill(zarr.open_group(str(aside), mode="w"))

    def remove(self) -> None:
        """Delete the folder, whose lock is held: renamed first, so that no half of it is left.

        Raises
        ------
        StoreError
            If another store has taken its name.
        """
        aside = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        os.rename(self.path, aside)
        if not os.path.samefile(aside, self._open):
            os.rename(aside, self.path)
            self.check()
        shutil.rmtree(aside, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the store, with a token of this process in it.

        Raises
        ------
        StoreError
            If another process holds the lock, or the file system has no locks.
        """
        with contextlib.ExitStack() as opened:
            folder, file = self._take(opened)
            # Groups of the store may outlive the lock, and use the open folder.
            weakref.finalize(self, os.close, folder)
            if os.path.isdir(through := f"/proc/self/fd/{folder}"):  # not on every system
                self._open = Path(through)
            self._token = new_token()
            os.pwrite(file, self._token, 0)
            os.ftruncate(file, len(self._token))
            os.fsync(file)  # where the lock does not hold between machines, the others see this
            self._remove_leftovers()
            try:
                yield
            finally:
                if os.pread(file, len(self._token) + 1, 0) == self._token:
                    os.pwrite(file, NOBODY, 0)
                self._token = None

    def check(self) -> None:
        """Refuse to go on if the token of this process is gone from the store or replaced.

        Raises
        ------
        StoreError
            If the store was removed, or another process writes it now.
        """
        if self._token is not None:
            check_token(self, self._token, self._present())

    def _present(self) -> bytes | None:
        try:
            return (self.path / TOKEN).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _take(self, opened: contextlib.ExitStack) -> tuple[int, int]:
        """Descriptors of the folder, which its user closes, and of the locked file within."""
        while True:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(WRITER, dir_fd=folder)
                file = lock_file(TOKEN, folder=folder)
                opened.callback(os.close, file)
                # Another process may have removed the folder before the lock was taken.
                if os.path.samestat(os.fstat(folder), os.stat(self.path)):
                    return folder, file
                os.close(folder)
            except OSError as error:
                os.close(folder)
                raise self._clear(error) from None

    def _clear(self, error: OSError) -> Exception:
        """The error for a lock that cannot be taken."""
        if isinstance(error, BlockingIOError):
            return in_use(self, self._present())
        if error.errno in _NO_LOCKS:
            return StoreError(
                f"{self}: the file system has no locks ({error.strerror}), so two processes could "
                "write this store. Mount it with locks (Lustre: -o flock), or choose another "
                "output.store."
            )
        return error

    def _remove_leftovers(self) -> None:
        """Remove the temporary files and folders of processes that were killed.

        Nobody needs them while this store exists and its lock is held.
        """
        # The names that `written_aside`, `remove` and Zarr give.
        hidden = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{32}}")
        within = re.compile(r"\.\w+\.[0-9a-f]{32}|.+\.[0-9a-f]{32}\.partial")
        with contextlib.suppress(OSError):  # what cannot be removed is ignored by all
            for path in self.path.parent.iterdir():
                if hidden.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)
        for parent, folders, files in os.walk(self._open):
            for name in filter(within.fullmatch, [*folders]):
                shutil.rmtree(Path(parent, name), ignore_errors=True)
                folders.remove(name)
            for name in filter(within.fullmatch, files):
                Path(parent, name).unlink(missing_ok=True)


def in_use(where: object, token: bytes | None) -> StoreError:
    """The error of the second writer of a store."""
    return StoreError(
        f"{where}: another process is writing this store{holder(token)}; wait for it, or choose "
        "another output.store."
    )
