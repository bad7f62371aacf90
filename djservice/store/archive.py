"""A Zarr hierarchy in one zip file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import zarr
from zarr.core.buffer import default_buffer_prototype

from djservice.core.regular import unusable
from djservice.store.fresh import Create, packed

#: Errors that truncated or corrupted zip files raise.
DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Archive:
    """The files of a hierarchy in a zip file, for reading.

    Raises
    ------
    OSError, zipfile.BadZipFile, ...
        If the file cannot be read, is damaged, or holds more bytes than its size: any of DAMAGE.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if problem := unusable(path):
            raise ValueError(problem)
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("is compressed")  # ours are not, and a bomb is
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("has files that overlap")
            self._files = {name: file.read(name) for name in file.namelist()}

    def __str__(self) -> str:
        return str(self.path)

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """The root group or one within."""
        values = {
            key: default_buffer_prototype().buffer.from_bytes(data)
            for key, data in self._files.items()
        }
        return zarr.open_group(
            zarr.storage.MemoryStore(values), path=name, mode=mode, zarr_format=3
        )

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if it is missing."""
        return self._files.get(key)


def write_archive(path: Path, fill: Create) -> None:
    """Write a new hierarchy into a zip file."""
    with zipfile.ZipFile(path, "w") as file:
        for key, data in packed(fill).items():
            file.writestr(key, data)
