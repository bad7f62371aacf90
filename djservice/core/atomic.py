"""Atomic writes: a file or folder is written aside and renamed, so it is complete or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to ``path`` at the end and removed after an error.

    Raises
    ------
    OSError
        If the parent folder is missing or cannot be written, or ``path`` is a folder that is not
        empty.
    """
    if not path.name:  # "." or "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # rmtree ignores files
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text file atomically, synced to the disk before the rename.

    Parameters
    ----------
    mode
        Permissions, as in ``os.open``.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with (
        written_aside(path) as aside,
        open(os.open(aside, flags, mode), "w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
