"""Groups of a store that are written: rows first, and what vouches for them last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray

from djservice.core.checksums import of_array, of_json
from djservice.store.checked import UNREADABLE, CheckedGroup, Readable
from djservice.store.chunks import write_block
from djservice.store.fresh import group_text

#: Attributes that count rows.
COUNTERS = ("n_complete", "n_scored")


class Writable(Readable, Protocol):
    """Files that can be changed."""

    def write(self, key: str, data: bytes) -> None:
        """Write a file, completely or not at all."""

    def delete(self, key: str) -> None:
        """Delete a file, which may be missing, or a folder."""


class WrittenGroup(CheckedGroup):
    """A group of a hierarchy that is open for writing. This process is its only writer.

    Parameters
    ----------
    where
        Its files.
    root
        The root of the hierarchy, open for writing.
    name, of
        Name of the group, and of its run; see :class:`~djservice.store.checked.CheckedGroup`.
    """

    def __init__(self, where: Writable, root: zarr.Group, name: str = "", of: str = "") -> None:
        super().__init__(where, root, name, of)
        self.files = where

    def update(self, **changes: Any) -> None:
        """Change attributes. Copies of the metadata of arrays, if any, are dropped."""
        self.files.write(self.path("zarr.json"), group_text(self.attributes | changes))

    def append(self, start: int, rows: Mapping[str, ArrayLike], **counters: int) -> None:
        """Write rows of several arrays from ``start`` on, then set attributes that count them."""
        entries = self.cut(start, list(rows))
        for name, values in rows.items():
            try:
                block = self._write(name, start, values, entries[name])
            except UNREADABLE as error:  # the chunk that the rows are put into, or its metadata
                raise self.unreadable_rows(name, entries[name]) from error
            crc = of_array(block, entries[name]["checksum"])
            entries[name] |= {"rows": start + len(block), "checksum": crc}
        self.update(arrays=entries, **counters)

    def _write(
        self, name: str, start: int, values: ArrayLike, entry: Mapping[str, Any]
    ) -> NDArray[Any]:
        """Write rows of an array, and return them as they are stored."""
        metadata, axes = self.metadata(name, entry), entry.get("axes", 1)
        shape, rows = metadata["shape"], np.asarray(values, dtype=metadata["data_type"])
        first = (start,) if axes == 1 else np.unravel_index(start, shape[:axes])
        corner = (*map(int, first), *(0 for _ in shape[axes:]))
        # Of several axes one row is a cell, and one is written at a time.
        block = rows if axes == 1 else rows.reshape(*(1 for _ in first), *shape[axes:])
        write_block(self.files, self.path(name), metadata, corner, block)
        return rows

    def cut(self, rows: int, names: Sequence[str], **counters: int) -> dict[str, Any]:
        """Keep only the first rows of arrays, and set attributes that count them.

        Returns what the attributes then say of every array.
        """
        entries: dict[str, Any] = self.attributes["arrays"]
        longer = False
        for name in names:
            if entries[name]["rows"] > rows and "fixed" not in entries[name]:
                entries[name]["rows"] = rows
                try:
                    entries[name]["checksum"] = of_array(self.read(name, entries[name]))
                except UNREADABLE as error:
                    raise self.unreadable_rows(name, entries[name]) from error
                longer = True
        if longer or counters:
            self.update(arrays=entries, **counters)
        return entries

    def rewind(self, rows: int) -> None:
        """Keep only the first rows of all arrays."""
        attributes = self.attributes
        counters = {name: min(attributes[name], rows) for name in COUNTERS if name in attributes}
        self.cut(rows, list(attributes["arrays"]), **counters)

    def lengthen(self, rows: int) -> None:
        """Lengthen the arrays along their first axis. The call may be repeated after a kill."""
        attributes = self.attributes
        entries, files = attributes["arrays"], {}
        for name, entry in entries.items():
            metadata = self.metadata(name, entry)
            if metadata["shape"][0] < rows:
                before = of_json(metadata)
                metadata["shape"][0] = rows
                files[name] = metadata
                entry["metadata"] = [before, of_json(metadata)]
        if files:
            self.update(arrays=entries)
            for name, metadata in files.items():
                self.files.write(self.path(f"{name}/zarr.json"), json.dumps(metadata).encode())
        for name, entry in entries.items():
            entry["metadata"] = [of_json(self.metadata(name, entry))]
        if attributes["arrays"] != self.attributes["arrays"]:
            self.update(arrays=entries)
