"""A Zarr hierarchy in one zip file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import zarr

from djservice.store.fresh import Create, packed

#: Errors that truncated or corrupted zip files raise.
DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Archive:
    """The files of a hierarchy in a zip file, for reading.

    Raises
    ------
    OSError, zipfile.BadZipFile, ...
        If the file cannot be read or is damaged: any of DAMAGE.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with zipfile.ZipFile(path) as file:
            self._files = {name: file.read(name) for name in file.namelist()}
        self._store = zarr.storage.ZipStore(path, mode="r")

    def __str__(self) -> str:
        return str(self.path)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._store.close()

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within."""
        return zarr.open_group(self._store, path=name, mode=mode, zarr_format=3)

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if it is missing."""
        return self._files.get(key)


def write_archive(path: Path, fill: Create) -> None:
    """Write a new hierarchy into a zip file."""
    with zipfile.ZipFile(path, "w") as file:
        for key, data in packed(fill).items():
            file.writestr(key, data)
