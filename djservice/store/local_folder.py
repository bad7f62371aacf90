"""A store in a local folder: created aside and renamed, locked by a file, and fenced."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr

from djservice.core.atomic import written_aside
from djservice.core.locks import lock_file
from djservice.core.regular import read_regular, unusable
from djservice.errors import StoreError
from djservice.store.fence import NOBODY, TOKEN, WRITER, Fenced, check_token, holder, new_token
from djservice.store.fresh import Create, packed, write_files

#: Errors of file systems that have no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RegularFiles(zarr.storage.LocalStore):
    """A Zarr store in a folder that opens regular files only: a pipe would block it for ever."""

    async def get(
        self, key: str, prototype: Any = None, byte_range: Any = None
    ) -> zarr.core.buffer.Buffer | None:
        """The value of a key; ValueError if it is not a regular file."""
        if problem := unusable(self.root / key):
            raise ValueError(problem)
        return await super().get(key, prototype, byte_range)


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
            files = RegularFiles(self.path / name)
            return zarr.open_group(files, mode=mode, use_consolidated=False, zarr_format=3)
        store = Fenced(RegularFiles(self._open), self.check)
        return zarr.open_group(store, path=name, mode=mode, use_consolidated=False, zarr_format=3)

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if it is missing."""
        return _read(self._open / key)

    def write(self, key: str, data: bytes) -> None:
        """Write a file, completely or not at all."""
        self.delete(key, only_folders=True)
        (self._open / key).parent.mkdir(parents=True, exist_ok=True)
        with written_aside(self._open / key) as aside:
            aside.write_bytes(data)

    def delete(self, key: str, only_folders: bool = False) -> None:
        """Delete a file, which may be missing, or a folder; and a file in the place of a folder."""
        self.check()
        place, *parents = (self._open / key, *(self._open / key).parents)
        for parent in parents[: parents.index(self._open)]:
            if os.path.lexists(parent) and not parent.is_dir():
                parent.unlink()
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif not only_folders:
            place.unlink(missing_ok=True)

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return (self.path / group / "zarr.json").stat().st_mtime

    def create(self, fill: Create, axes: int = 1) -> bool:
        """Create the store. Returns False if another process was faster."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self.path) as aside:
                write_files(aside, {**packed(fill, axes), TOKEN: NOBODY})
        except OSError:
            if not self.exists():
                raise
            return False
        return True

    def add(self, name: str, fill: Create) -> None:
        """Create a group of the store."""
        self.delete(name)  # nothing vouches for what a killed process left
        with written_aside(self._open / name) as aside:
            write_files(aside, packed(fill))

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
        return _read(self.path / TOKEN)

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


def _read(path: Path) -> bytes | None:
    """The bytes of a file; None if it is missing, none if it is not one of ours."""
    try:
        return read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return b""


def in_use(where: object, token: bytes | None) -> StoreError:
    """The error of the second writer of a store."""
    return StoreError(
        f"{where}: another process is writing this store{holder(token)}; wait for it, or choose "
        "another output.store."
    )
