"""numba's files of compiled kernels: nobody else's, checked before they are read, never needed.

They are pickles that hold machine code. One that another user wrote could do anything, and a
damaged one could compute other numbers.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numba.core.caching
from numba import config
from numba.core import event
from numba.core.caching import IndexDataCacheFile

from djservice.core.locks import lock_file
from djservice.core.regular import read_regular

_log = logging.getLogger("djservice")

#: The event of numba's kind that another process compiles, and for how many seconds it is waited for.
WAITING, PATIENCE = "djservice:waiting", 300.0

#: numba renews a cached function when its own file changes, but not when a callee changes.
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
).digest()


#: What a seal is put before: the class of files of numba, or that of numba-cuda.
_Files: Any = IndexDataCacheFile if TYPE_CHECKING else object


class Seal(_Files):
    """The files of one function. What is not as it was written, by these sources, is not read.

    Each file begins with a hash of its content, of the version of numba and of all kernel sources.
    """

    def save(self, key: Any, data: Any) -> None:
        """Called by numba. The code is kept with its signature, so no other code passes for it."""
        super().save(key, (key, data))

    def load(self, key: Any) -> Any:
        """Called by numba: the code of a signature, or None."""
        entry = super().load(key)
        return entry[1] if entry is not None and entry[0] == key else None

    def has(self, key: Any) -> bool:
        """Whether there is code of a signature."""
        return key in self._load_index()

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return self._seal(data) + data

    def _seal(self, data: bytes) -> bytes:
        return hashlib.sha256(_SOURCES + numba.__version__.encode() + data).digest()

    def _load_data(self, name: str) -> Any:
        return self._unsealed(self._data_path(name))

    def _load_index(self) -> dict[Any, str]:
        entry = None
        with contextlib.suppress(FileNotFoundError, ValueError):
            entry = self._unsealed(self._index_path)
        return entry[1] if entry is not None and entry[0] == self._source_stamp else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        with self._open_for_write(self._index_path) as file:
            file.write(self._dump((self._source_stamp, overloads)))

    def _unsealed(self, path: str) -> Any:
        content = read_regular(path)
        seal, data = content[:32], content[32:]
        return pickle.loads(data) if seal == self._seal(data) else None


@functools.cache
def sealed_files(kind: Any) -> Any:
    """A class of files with a seal, before numba's class or that of numba-cuda."""
    return type("SealedFiles", (Seal, kind), {})


def compiled(decorator: Callable[..., Any], function: Any, **options: Any) -> Any:
    """A function compiled by numba, with files on disk where they are safe.

    Elsewhere it is compiled in every process, and a log line says why.
    """
    problem = cache_problem()
    if not problem:
        try:
            kernel = decorator(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            problem = "no folder for compiled kernels can be written"
        else:
            if sealed(kernel):
                return kernel
            problem = "this version of numba keeps compiled kernels in another way"
    _say(problem)
    return decorator(**options)(function)


def sealed(kernel: Any) -> bool:
    """Seal the files of a compiled function; False if numba keeps them in another way."""
    cache: Any = getattr(kernel, "_cache", None)
    file: Any = getattr(cache, "_cache_file", None)
    kind: Any = type(file)
    for_gpus = sys.modules.get("numba.cuda.core.caching", numba.core.caching)
    kinds = (IndexDataCacheFile, for_gpus.IndexDataCacheFile)
    if not hasattr(cache, "_guard_against_spurious_io_errors") or kind not in kinds:
        return False
    cache._guard_against_spurious_io_errors = _without_disk_errors
    file.__class__ = sealed_files(kind)
    return True


@contextlib.contextmanager
def compiled_once(kernel: Any, signature: Any) -> Iterator[None]:
    """Wait while another process compiles the same code, which is then read from its files.

    Who waits for long, because the other process stands still, compiles it too.
    """
    cache, descriptor = kernel._cache, None
    file = getattr(cache, "_cache_file", None)
    if isinstance(file, Seal) and signature not in kernel.overloads:
        key = cache._index_key(signature, kernel.targetctx.codegen())
        descriptor = _turn(file, key, {"dispatcher": kernel})
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _turn(file: Seal, key: Any, data: dict[str, Any]) -> int | None:
    """The lock of the files of a function; None if the code is there, or there are no locks."""
    end = time.monotonic() + PATIENCE
    with contextlib.suppress(OSError):
        while not file.has(key) and time.monotonic() < end:
            with contextlib.suppress(BlockingIOError):
                descriptor = lock_file(f"{file._index_path}.lock", mode=0o600)
                if not file.has(key):
                    return descriptor
                os.close(descriptor)
            with event.trigger_event(WAITING, data):
                time.sleep(0.2)
    return None


@functools.cache
def cache_problem() -> str:
    """Why the folder in NUMBA_CACHE_DIR is not used; empty if it is, or none is set."""
    if not config.CACHE_DIR:
        return ""
    with contextlib.suppress(OSError):  # numba looks for another folder then
        os.makedirs(config.CACHE_DIR, mode=0o700, exist_ok=True)
        return _problem_of(config.CACHE_DIR)
    return ""


def _problem_of(folder: str) -> str:
    for path, status in ((folder, os.lstat(folder)), (folder, os.stat(folder))):
        if status.st_uid not in (os.getuid(), 0):
            return f"NUMBA_CACHE_DIR={path} belongs to another user ({status.st_uid})"
        if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022:
            return f"NUMBA_CACHE_DIR={path} can be written by others: chmod go-w it, once emptied"
    return ""


@functools.cache
def _say(problem: str) -> None:
    _log.warning(
        "%s: the kernels are compiled again in every process, which takes a minute. "
        "Set NUMBA_CACHE_DIR to a folder of your own.",
        problem,
    )


@contextlib.contextmanager
def _without_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _say(f"{error.filename or 'the folder of compiled kernels'}: {error.strerror}")
