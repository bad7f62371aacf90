"""Where a store is: a local folder, or a URL of an object store (S3). What differs between the two, and nothing else.

A folder is created aside and renamed, and locked by the operating system. An object store renames nothing and locks nothing: a
group is written with its own metadata last, so that it is there complete or not at all, and the lock is an object
that its owner renews; it belongs to nobody after it was not renewed for a while.
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
from djservice.core.redact import redacted
from djservice.core.urls import is_url
from djservice.errors import StoreError

Create = Callable[[zarr.Group], None]
#: Seconds between two renewals of a lock in an object store, and without one until it is nobody's.
RENEW, EXPIRE = 4.0, 20.0


def locate(path: str | Path) -> LocalFolder | ObjectStore:
    """The place of a store; file URLs are folders."""
    text = str(path)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    return ObjectStore(text) if is_url(text) else LocalFolder(text)


class LocalFolder:
    """A local folder."""

    #: What goes wrong with it.
    errors: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.path.exists()

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within, without the copies of consolidated metadata."""
        return zarr.open_group(str(self.path / name), mode=mode, use_consolidated=False)

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return (self.path / group / "zarr.json").stat().st_mtime

    def consolidate(self, group: str | None) -> None:
        """Copy the metadata of the arrays of a group into it."""
        zarr.consolidate_metadata(str(self.path), path=group)

    def create(self, fill: Create) -> bool:
        """Make the whole store; False where another process was faster."""
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
        """Make a group of the store."""
        with written_aside(self.path / name) as aside:
            fill(zarr.open_group(str(aside), mode="w"))

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock, which the operating system gives back when the process dies."""
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
        """Nothing: a lock of the operating system does not get lost."""


class ObjectStore:
    """A place in an object store, by its URL."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url.rstrip("/")
        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"{self}: no package for stores in such a place: {error}. For s3://: pip install 'djservice[s3]'."
            ) from None
        self._lost = False

    def __str__(self) -> str:
        return redacted(self.url)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What goes wrong with it."""
        found: list[type[Exception]] = [OSError]
        with contextlib.suppress(ImportError):
            from botocore.exceptions import BotoCoreError, ClientError

            found += [BotoCoreError, ClientError]
        return tuple(found)

    def exists(self) -> bool:
        """Whether there is a Zarr group; other objects are left alone."""
        return bool(self.fs.exists(f"{self.root}/zarr.json"))

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within, without the copies of consolidated metadata."""
        return zarr.open_group(
            f"{self.url}/{name}".rstrip("/"), mode=mode, use_consolidated=False, **self._options
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
        """Make the whole store; False where another process was faster."""
        with self.lock():
            if self.exists():
                return False
            self._upload("", fill)
        return True

    def add(self, name: str, fill: Create) -> None:
        """Make a group of the store."""
        self._upload(name, lambda root: fill(root.create_group(name)))

    def _upload(self, name: str, fill: Create) -> None:
        made: dict[str, Any] = {}
        fill(zarr.open_group(zarr.storage.MemoryStore(made), mode="w"))
        objects = {key: cast(Any, value).to_bytes() for key, value in made.items()}
        last = f"{name}/zarr.json".lstrip("/")  # until this is there, there is no group
        self.fs.pipe(
            {
                f"{self.root}/{key}": value
                for key, value in objects.items()
                if key.startswith(name) and key != last
            }
        )
        self.fs.pipe_file(f"{self.root}/{last}", objects[last])

    def remove(self) -> None:
        """Delete it: the group first, so that there is none that is half there."""
        self.fs.rm_file(f"{self.root}/zarr.json")
        self.fs.rm(self.root, recursive=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock: wait until one that is there is given back or not renewed any more; refuse where it is renewed."""
        own = f"{os.uname().nodename} {os.getpid()} {uuid.uuid4().hex}"
        self._take(own)
        self._lost, over = False, threading.Event()
        renewing = threading.Thread(
            target=self._renew, args=(own, over), name="djservice lock", daemon=True
        )
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            if not self._lost:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._lock_path)

    def check(self) -> None:
        """Raise where the lock went to another process, as after a suspension: it writes the store now."""
        if self._lost:
            raise StoreError(
                f"{self}: another process took the lock of this store, as it was not renewed for {EXPIRE:g} s. What was "
                "complete is kept; the same command goes on when that process has ended."
            )

    @property
    def _lock_path(self) -> str:
        return f"{self.root}.lock"  # beside it, for within Zarr would wonder

    def _take(self, own: str) -> None:
        seen, since = None, time.monotonic()
        while not self._put_new(f"{own} 0".encode()):
            there = self._seen()
            if seen is None:
                seen, since = there, time.monotonic()
            elif there is not None and there != seen:
                raise _in_use(self)
            elif time.monotonic() - since > EXPIRE:  # of a process that was killed
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._lock_path)
            time.sleep(RENEW / 8)

    def _put_new(self, content: bytes) -> bool:
        """Write the lock if there is none, which the server decides."""
        try:
            self.fs.pipe_file(self._lock_path, content, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or "pre-condition" in str(error):
                return False
            raise
        return True

    def _seen(self) -> bytes | None:
        try:
            return bytes(self.fs.cat_file(self._lock_path))
        except FileNotFoundError:
            return None

    def _renew(self, own: str, over: threading.Event) -> None:
        count = 0
        renewed = time.monotonic()
        while not over.wait(RENEW):
            try:
                seen = self._seen()
                if seen is None or not seen.startswith(own.encode()):
                    self._lost = True
                    return
                count += 1
                self.fs.pipe_file(self._lock_path, f"{own} {count}".encode())
                renewed = time.monotonic()
            except self.errors:
                self._lost = (
                    time.monotonic() - renewed > EXPIRE
                )  # out of reach for too long: it may be another's
                if self._lost:
                    return


def _in_use(where: LocalFolder | ObjectStore) -> StoreError:
    return StoreError(
        f"{where}: another process is writing this store; wait for it, or choose another output.store."
    )


def store_path(store: str) -> Path | str:
    """A folder as a path, a URL as it is."""
    return store if is_url(store) else Path(store)
