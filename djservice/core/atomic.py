"""A file is written aside and renamed into place."""

from __future__ import annotations

import os
from pathlib import Path

from djservice.errors import StoreError


def write_whole(path: Path, text: str) -> None:
    """Write a file aside and rename it into place: it is there wholly or not at all.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    building = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(building, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(building, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}.") from error
