"""A file or a folder is written aside and renamed into place: it is there wholly or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A new path beside ``path``, which is renamed to it at the end and removed after an error.

    Raises
    ------
    OSError
        If the folder is not there or cannot be written, or ``path`` is a folder with something in it.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # leaves files alone
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a text, which is on the disk before it is in its place.

    Parameters
    ----------
    mode
        Who may read it, as of ``os.open``.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with written_aside(path) as aside, open(os.open(aside, flags, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
