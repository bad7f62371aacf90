"""Locations of a store: a local folder, or a URL of an object store (S3).

A folder is created aside and renamed, and locked by the operating system. An object store can
neither rename nor lock. There, a group is written with its metadata last, so that it is complete or
absent. The lock is an object that its owner renews; a lock that was not renewed in time has
expired.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import zarr

from djservice.core.atomic import written_aside
from djservice.core.private import full_url, private_url
from djservice.core.redact import message_of
from djservice.core.urls import is_url
from djservice.errors import StoreError

Create = Callable[[zarr.Group], None]
#: Seconds between two renewals of a lock in an object store, and until a lock expires without one.
RENEW, EXPIRE = 4.0, 20.0


def locate(path: str | Path) -> LocalFolder | ObjectStore:
    """The location of a store. A file URL is a local folder."""
    text = path if isinstance(path, str) else str(path)
    text = text.removeprefix("file://") if text.startswith("file://") else text
    return ObjectStore(text) if is_url(text) else LocalFolder(text)


class LocalFolder:
    """A store in a local folder."""

    #: Errors that access to it may raise.
    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """True if anything exists at the path."""
        return self.path.exists()

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within, without the copies of consolidated metadata."""
        # Format 2 has codecs that unpickle.
        path = str(self.path / name)
        return zarr.open_group(path, mode=mode, use_consolidated=False, zarr_format=3)

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return (self.path / group / "zarr.json").stat().st_mtime

    def consolidate(self, group: str | None) -> None:
        """Copy the metadata of the arrays of a group into it."""
        zarr.consolidate_metadata(str(self.path), path=group)

    def create(self, fill: Create) -> bool:
        """Create the store. Returns False if another process was faster."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self.path) as aside:
                fill(zarr.open_group(str(aside), mode="w"))
        except OSError:
            if not self.exists():
                raise
            return False
        return True

    def add(self, name: str, fill: Create) -> None:
        """Create a group of the store."""
        with written_aside(self.path / name) as aside:
            fill(zarr.open_group(str(aside), mode="w"))

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock, which the operating system releases when the process dies."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _in_use(self) from None
            yield
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Do nothing: a lock of the operating system cannot be lost."""


class ObjectStore:
    """A store in an object store, by its URL."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = full_url(url).rstrip("/")
        self.shown = str(private_url(self.url))
        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{self}: no package for stores at such a URL: {message_of(error)}. For s3://: pip install "
                "'djservice[s3]'."
            ) from None
        self._lost = False

    def __str__(self) -> str:
        return self.shown

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Errors that access to it may raise."""
        errors: list[type[Exception]] = [OSError]
        with contextlib.suppress(ImportError):
            from botocore.exceptions import BotoCoreError, ClientError

            errors += [BotoCoreError, ClientError]
        return tuple(errors)

    def exists(self) -> bool:
        """True if there is a Zarr group. Other objects do not count."""
        return bool(self.fs.exists(f"{self.root}/zarr.json"))

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within, without the copies of consolidated metadata."""
        return zarr.open_group(
            f"{self.url}/{name}".rstrip("/"),
            mode=mode,
            use_consolidated=False,
            zarr_format=3,
            **self._options,
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {"storage_options": {"use_listings_cache": False}}

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return float(self.fs.modified(f"{self.root}/{group}/zarr.json").timestamp())

    def consolidate(self, group: str | None) -> None:
        """Copy the metadata of the arrays of a group into it."""
        root = self.group("r+")
        zarr.consolidate_metadata(root.store, path=group)

    def create(self, fill: Create) -> bool:
        """Create the store. Returns False if another process was faster."""
        with self.lock():
            if self.exists():
                return False
            self._upload("", fill)
        return True

    def add(self, name: str, fill: Create) -> None:
        """Create a group of the store."""
        self._upload(name, lambda root: fill(root.create_group(name)))

    def _upload(self, name: str, fill: Create) -> None:
        memory: dict[str, Any] = {}
        fill(zarr.open_group(zarr.storage.MemoryStore(memory), mode="w"))
        objects = {key: cast(Any, value).to_bytes() for key, value in memory.items()}
        last = f"{name}/zarr.json".lstrip("/")  # the group exists once this is written
        self.fs.pipe(
            {
                f"{self.root}/{key}": value
                for key, value in objects.items()
                if key.startswith(name) and key != last
            }
        )
        self.fs.pipe_file(f"{self.root}/{last}", objects[last])

    def remove(self) -> None:
        """Delete the store: the root metadata first, so that no incomplete store is left."""
        self.fs.rm_file(f"{self.root}/zarr.json")
        self.fs.rm(self.root, recursive=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the store.

        Waits until an existing lock is released or expires.

        Raises
        ------
        StoreError
            If another process renews the lock.
        """
        owner = f"{os.uname().nodename} {os.getpid()} {uuid.uuid4().hex}"
        self._take(owner)
        self._lost, ended = False, threading.Event()
        renewing = threading.Thread(
            target=self._renew, args=(owner, ended), name="djservice lock", daemon=True
        )
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            if not self._lost:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._lock_path)

    def check(self) -> None:
        """Refuse to go on if another process took the lock, as after a suspension.

        Raises
        ------
        StoreError
            If the lock is lost, because the other process now writes the store.
        """
        if self._lost:
            raise StoreError(
                f"{self}: another process took the lock of this store, as it was not renewed for "
                f"{EXPIRE:g} s. What was complete is kept: run the same command again when "
                "that process has ended."
            )

    @property
    def _lock_path(self) -> str:
        return f"{self.root}.lock"  # beside the store: Zarr warns of unknown objects within

    def _take(self, owner: str) -> None:
        seen, since = None, time.monotonic()
        while not self._put_new(f"{owner} 0".encode()):
            content = self._lock_content()
            if seen is None:
                seen, since = content, time.monotonic()
            elif content is not None and content != seen:
                raise _in_use(self)
            elif time.monotonic() - since > EXPIRE:  # of a process that was killed
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._lock_path)
            time.sleep(RENEW / 8)

    def _put_new(self, content: bytes) -> bool:
        """Write the lock unless one exists; the server decides. Returns whether it was written."""
        try:
            self.fs.pipe_file(self._lock_path, content, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or "pre-condition" in str(error):
                return False
            raise
        return True

    def _lock_content(self) -> bytes | None:
        try:
            return bytes(self.fs.cat_file(self._lock_path))
        except FileNotFoundError:
            return None

    def _renew(self, owner: str, ended: threading.Event) -> None:
        count = 0
        renewed = time.monotonic()
        while not ended.wait(RENEW):
            try:
                content = self._lock_content()
                if content is None or not content.startswith(owner.encode()):
                    self._lost = True
                    return
                count += 1
                self.fs.pipe_file(self._lock_path, f"{owner} {count}".encode())
                renewed = time.monotonic()
            except self.errors:
                # Without contact for this long, another process may have taken the lock.
                self._lost = time.monotonic() - renewed > EXPIRE
                if self._lost:
                    return


def _in_use(where: LocalFolder | ObjectStore) -> StoreError:
    return StoreError(
        f"{where}: another process is writing this store; wait for it, or choose another "
        "output.store."
    )


def store_path(store: str) -> Path | str:
    """A folder as a path; a URL stays unchanged."""
    return store if is_url(store) else Path(store)
