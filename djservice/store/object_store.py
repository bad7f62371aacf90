"""A store in an object store (S3), which can neither rename nor lock.

A group is written with its metadata last, so that it is complete or absent. The lock is an object
beside the store that its owner renews; a lock that was not renewed in time has expired. It is taken
and renewed by conditional writes where the server has them. Everything else is written after a look
for the token of this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import zarr
from zarr.abc.store import RangeByteRequest

from djservice.core.private import full_url, private_url
from djservice.core.redact import message_of
from djservice.core.regular import LARGEST
from djservice.errors import StoreError
from djservice.store.fence import NOBODY, TOKEN, Fenced, check_token, new_token
from djservice.store.fresh import Create, Files, packed
from djservice.store.local_folder import in_use

#: Bytes that are read of an object before its size is asked for, as few objects are larger.
PROBE = 1_000_000
#: Seconds between two renewals of a lock in an object store, and until a lock expires without one.
RENEW, EXPIRE = 4.0, 20.0


class BoundedObjects(zarr.storage.FsspecStore):
    """A Zarr store of objects that takes none into memory that is larger than any of ours."""

    async def get(
        self, key: str, prototype: Any, byte_range: Any = None
    ) -> zarr.core.buffer.Buffer | None:
        """The value of a key; ValueError if it is too large."""
        if byte_range is not None:
            return await super().get(key, prototype, byte_range)
        first = await super().get(key, prototype, RangeByteRequest(0, PROBE))
        if first is None or len(first) < PROBE:
            return first
        size = (await self.fs._info(f"{self.path}/{key}"))["size"]
        if size > LARGEST:
            raise ValueError(f"has {size:,} bytes, more than any file of djservice")
        return await super().get(key, prototype)


def _clock() -> float:
    """Seconds, with those in which the machine slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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
                f"{self}: no package for stores at such a URL: {message_of(error)}. For s3://: "
                "pip install 'djservice[s3]'."
            ) from None
        self._lease_owner, self._count = "", 0
        self._lost, self._renewed, self._renewing = False, 0.0, threading.Lock()
        self._token: bytes | None = None
        self._checked = 0.0

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
        options = {"use_listings_cache": False}
        store: Any = BoundedObjects.from_url(self.url, storage_options=options)
        if self._token is not None:
            store = Fenced(store, self._look)
        # Format 2 has codecs that unpickle.
        return zarr.open_group(store, path=name, mode=mode, use_consolidated=False, zarr_format=3)

    def read(self, key: str) -> bytes | None:
        """The bytes of an object; None if it is missing, none if it is larger than any of ours."""
        return self._content(f"{self.root}/{key}")

    def write(self, key: str, data: bytes) -> None:
        """Write an object, completely or not at all."""
        self._look()
        self.fs.pipe_file(f"{self.root}/{key}", data)

    def delete(self, key: str) -> None:
        """Delete an object, which may be missing, or all objects of a folder."""
        self._look()
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm(f"{self.root}/{key}", recursive=True)

    def written(self, group: str) -> float:
        """When the metadata of a group were last written, in seconds since 1970."""
        return float(self.fs.modified(f"{self.root}/{group}/zarr.json").timestamp())

    def create(self, fill: Create, axes: int = 1) -> bool:
        """Create the store. Returns False if another process was faster."""
        with self._lease():
            return not self.exists() and self._upload("", {**packed(fill, axes), TOKEN: NOBODY})

    def add(self, name: str, fill: Create) -> None:
        """Create a group of the store."""
        self.delete(name)  # nothing vouches for what a killed process left
        self._upload(f"{name}/", packed(fill))

    def _upload(self, name: str, files: Files) -> bool:
        """Write a group that does not exist; False if another process was faster."""
        objects = {f"{self.root}/{name}{key}": data for key, data in files.items()}
        metadata = f"{self.root}/{name}zarr.json"
        last = objects.pop(metadata)  # the group exists once this is written
        self.check()
        leftovers = [path for path in self.fs.find(f"{self.root}/{name}") if path in objects]
        if leftovers:  # of a process that was killed here
            self.fs.rm(leftovers)
        self._new_objects(objects)
        self.check()
        return self._put(metadata, last, None)

    def _new_objects(self, objects: dict[str, bytes]) -> None:
        try:
            self.fs.pipe(objects, mode="create")
        except OSError as error:
            if not _has_no_conditions(error):
                raise
            self.fs.pipe(objects)

    def remove(self) -> None:
        """Delete the store: the root metadata first, so that no incomplete store is left."""
        self.check()
        self.fs.rm_file(f"{self.root}/zarr.json")
        self.fs.rm(self.root, recursive=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the store, with a token of this process in it.

        Waits until an existing lock is released or expires.

        Raises
        ------
        StoreError
            If another process renews the lock.
        """
        with self._lease():
            if not self.exists():
                raise FileNotFoundError(errno.ENOENT, "the store was removed")
            token = new_token()
            self.fs.pipe_file(f"{self.root}/{TOKEN}", token)
            self._token = token
            try:
                yield
            finally:
                with contextlib.suppress(*self.errors):
                    if self._content(f"{self.root}/{TOKEN}") == token:
                        self.fs.pipe_file(f"{self.root}/{TOKEN}", NOBODY)
                self._token = None

    def check(self) -> None:
        """Refuse to go on if this process lost the lock or its token, as after a suspension.

        Raises
        ------
        StoreError
            If the store was removed, or another process writes it now.
        """
        if self._lease_owner and not self._lost and _clock() - self._renewed > EXPIRE / 2:
            self._renew()  # the thread that does it was suspended too
        if self._lost:
            raise StoreError(
                f"{self}: another process took the lock of this store, as it was not renewed for "
                f"{EXPIRE:g} s. What was complete is kept: run the same command again when "
                "that process has ended."
            )
        if self._token is not None:
            began = _clock()
            check_token(self, self._token, self._content(f"{self.root}/{TOKEN}"))
            self._checked = began

    def _look(self) -> None:
        """Check again before a single object, if the last check is too old to be relied on."""
        if _clock() - self._checked > RENEW:
            self.check()

    @contextlib.contextmanager
    def _lease(self) -> Iterator[None]:
        """Hold the object that is the lock, and renew it in a thread."""
        self._lease_owner = f"{os.uname().nodename} {os.getpid()} {uuid.uuid4().hex}"
        self._take()
        self._lost, ended = False, threading.Event()
        renewing = threading.Thread(
            target=self._keep_renewing, args=(ended,), name="djservice lock", daemon=True
        )
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(*self.errors):  # then it expires
                if not self._lost and self._lock_content()[1].startswith(self._line(None)):
                    self.fs.rm_file(self._lock_path)
            self._lease_owner = ""

    def _take(self) -> None:
        first, since = b"", _clock()
        while True:
            self._renewed = _clock()
            if self._put(self._lock_path, self._line(0), None):
                return
            etag, content = self._lock_content()
            if content and not first:
                first, since = content, _clock()
            elif content and content != first:
                raise in_use(self, self._content(f"{self.root}/{TOKEN}"))
            elif content and _clock() - since > EXPIRE:  # of a process that was killed
                self._renewed = _clock()
                if self._put(self._lock_path, self._line(0), etag):
                    return
            time.sleep(RENEW / 8)

    def _keep_renewing(self, ended: threading.Event) -> None:
        while not ended.wait(RENEW):
            try:
                self._renew()
            except self.errors:
                # Without contact for this long, another process may have taken the lock.
                self._lost = self._lost or _clock() - self._renewed > EXPIRE
            if self._lost:
                return

    def _renew(self) -> None:
        """Renew the lock, or find that it is lost."""
        with self._renewing:
            began = _clock()
            etag, content = self._lock_content()
            self._count += 1
            self._lost = not (
                content.startswith(self._line(None))
                and self._put(self._lock_path, self._line(self._count), etag)
            )
            if not self._lost:
                self._renewed = began

    def _line(self, count: int | None) -> bytes:
        """Content of the lock: its owner, and how often it was renewed."""
        return f"{self._lease_owner} {'' if count is None else count}".encode()

    @property
    def _lock_path(self) -> str:
        return f"{self.root}.lock"  # beside the store: it outlives a store that is replaced

    def _lock_content(self) -> tuple[str, bytes]:
        """Version and content of the lock, both empty if there is none or no version."""
        try:
            etag = self.fs.info(self._lock_path).get("ETag", "")
            return str(etag), self._content(self._lock_path) or b""
        except FileNotFoundError:
            return "", b""

    def _content(self, path: str) -> bytes | None:
        """The bytes of an object; None if it is missing, none if it is larger than any of ours."""
        try:
            first = bytes(self.fs.cat_file(path, start=0, end=PROBE))
            if len(first) < PROBE:
                return first
            size = int(self.fs.info(path)["size"])
            return b"" if size > LARGEST else bytes(self.fs.cat_file(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            if "not satisfiable" in str(error):  # S3 has no first byte of an empty object
                return b""
            raise

    def _put(self, path: str, content: bytes, etag: str | None) -> bool:
        """Write an object if its version is ``etag``; if that is None, if there is no such object.

        The server decides, if it can. Returns whether it was written.
        """
        condition = {"mode": "create"} if etag is None else {"IfMatch": etag} if etag else {}
        try:
            self.fs.pipe_file(path, content, **condition)
        except OSError as error:
            if isinstance(error, FileNotFoundError if etag else FileExistsError):
                return False
            if "pre-condition" in str(error):
                return False
            if not _has_no_conditions(error):
                raise
            if etag is None and self.fs.exists(path):
                return False
            self.fs.pipe_file(path, content)
        return True


def _has_no_conditions(error: OSError) -> bool:
    """True if a server refused a write because it knows no conditions."""
    return "not implemented" in str(error) or "NotImplemented" in str(error)
