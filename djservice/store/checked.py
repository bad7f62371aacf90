"""Groups of a store whose every byte is checked when it is read.

A group's attributes vouch for its arrays and for themselves; :mod:`djservice.store.fresh` describes
how. Rows count once the attributes do, so that they are written first and vouched for last.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from djservice.core.checksums import KEY, document_of, of_array, of_json, unsealed
from djservice.errors import DamagedStoreError, StoreError
from djservice.store.chunks import only_chunk, read_only_chunk

#: Attempts to read what a running process may be replacing, and seconds between them.
ATTEMPTS, PAUSE = 5, 0.1
#: Errors that Zarr raises for metadata and chunks that it cannot understand.
UNREADABLE = (ValueError, TypeError, KeyError, IndexError, RuntimeError, AttributeError)


class Readable(Protocol):
    """Where the files of a hierarchy are."""

    def group(self, mode: Any, name: str = "") -> zarr.Group:
        """A Zarr group."""

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if it is missing, none if it cannot be one of ours."""


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written.

    Attributes
    ----------
    array
        Name of the array or group.
    file
        Name of its file.
    reason
        What is wrong with it.
    rows
        First and last of the rows that are lost; empty for metadata.
    """

    array: str
    file: str
    reason: str
    rows: tuple[int, int] | tuple[()] = ()

    def __str__(self) -> str:
        rows = f", rows {self.rows[0]} to {self.rows[1]}" if self.rows else ""
        return f"{self.array or 'the root'}{rows}: {self.file} {self.reason}"


#: Largest number of damages in a message.
NAMED = 3


def damaged(where: object, damages: Sequence[Damage], named: int = NAMED) -> DamagedStoreError:
    """The error that names what is damaged, and what to do."""
    text = "; ".join(map(str, damages[:named]))
    if len(damages) > named:
        text += f"; and {len(damages) - named} more, which `djservice check` lists"
    advice = "The command that wrote it computes what is lost again, to the same bits."
    if any(damage.file == "zarr.json" for damage in damages):
        advice = (
            "Put a copy of this file back; or delete the store, and repeat the command that "
            "wrote it."
        )
    return DamagedStoreError(f"{where}: damaged: {text}. {advice}")


def attributes_of(where: Readable, name: str = "") -> dict[str, Any]:
    """The attributes of a group; the root by default.

    Raises
    ------
    DamagedStoreError
        If they are not as they were written.
    """
    key = f"{name}/zarr.json".lstrip("/")
    try:
        return _attributes(_parsed(where.read(key)))
    except ValueError as error:
        raise damaged(where, [Damage(name, key, str(error))]) from None


def need_format(where: Readable, marker: str, expected: int) -> None:
    """Refuse a hierarchy of another format, as of a version that wrote no checksums.

    Parameters
    ----------
    where
        Its files.
    marker
        Attribute of the root that holds the format.
    expected
        The format of this version.

    Raises
    ------
    StoreError
        If it has another format, or its root is damaged.
    """
    version = None
    with contextlib.suppress(ValueError, KeyError, TypeError):  # then it is damaged
        plain = document_of(where.read("zarr.json") or b"")["attributes"]
        version = plain[marker] if KEY not in plain else None
    if version is None or version == expected:
        version = attributes_of(where).get(marker)
    if version != expected:
        raise StoreError(
            f"{where}: written in format {version}, expected {expected}. Read it with the version "
            "that wrote it or with Zarr, or repeat what made it."
        )


class CheckedGroup:
    """A group of a hierarchy.

    Parameters
    ----------
    where
        Its files.
    root
        The root of the hierarchy; None for the attributes alone.
    name
        Name of the group; empty for the root.
    of
        Name of the run that the group must have, if it has one; empty to allow any.

    Raises
    ------
    DamagedStoreError
        By every method that reads, if a byte is not as it was written.
    """

    def __init__(
        self, where: Readable, root: zarr.Group | None, name: str = "", of: str = ""
    ) -> None:
        self.where, self.root, self.name, self.of = where, cast(zarr.Group, root), name, of

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes as they are now."""
        attributes = attributes_of(self.where, self.name)
        if stray := self._stray(attributes):
            raise damaged(self.where, [stray])
        return attributes

    def unreadable(self) -> Damage | None:
        """What is wrong with the metadata of the group; None if they are as written."""
        key = self.path("zarr.json")
        try:
            return self._stray(_attributes(_parsed(self.where.read(key))))
        except ValueError as error:
            return Damage(self.name, key, str(error))

    def _stray(self, attributes: Mapping[str, Any]) -> Damage | None:
        """The damage of a group that was copied from the store of another run."""
        if not self.of or attributes.get("of", self.of) == self.of:
            return None
        return Damage(self.name, self.path("zarr.json"), "is that of another run")

    def rows(self, name: str, counter: str | None = None) -> NDArray[Any]:
        """The rows of an array that are written, or those that an attribute counts."""
        for attempt in itertools.count(1):
            attributes = self.attributes
            entry = attributes["arrays"][name]
            count = entry["rows"] if counter is None else attributes[counter]
            try:
                if count > entry["rows"]:
                    raise damaged(self.where, [self._missing(name, entry["rows"], count)])
                return self._rows(name, entry)[:count]
            except DamagedStoreError:
                if attempt == ATTEMPTS or (
                    attributes == self.attributes and count <= entry["rows"]
                ):
                    raise
                time.sleep(PAUSE)  # a running process replaces these rows
        raise AssertionError

    def damages(self) -> list[Damage]:
        """Every file of the group's arrays that is damaged."""
        entries = self.attributes["arrays"]
        # What seems damaged is looked at again: a running process may have written it meanwhile.
        seeming = [name for name, entry in entries.items() if self._damages(name, entry)]
        return [damage for name in seeming for damage in self.damages_of(name)]

    def damages_of(self, name: str) -> list[Damage]:
        """Every file of an array that is damaged; the chunks only if its metadata are as written."""
        return self._damages(name, self.attributes["arrays"][name])

    def _damages(self, name: str, entry: Mapping[str, Any]) -> list[Damage]:
        try:
            metadata = self._metadata(name, entry)
        except ValueError as error:
            return [Damage(self.path(name), self.path(f"{name}/zarr.json"), str(error))]
        return self._lost(name, entry, metadata)

    def lost(self, name: str) -> list[Damage]:
        """The chunks of an array that are damaged, with the rows that are lost with them."""
        return self._lost(name, self.attributes["arrays"][name])

    def _lost(
        self, name: str, entry: Mapping[str, Any], metadata: dict[str, Any] | None = None
    ) -> list[Damage]:
        rows, axes = entry["rows"], entry.get("axes", 1)
        if (rows, entry["checksum"]) == (0, 0):  # nothing was written yet
            return []
        try:
            metadata = metadata or self._document(name)
            sound = of_array(self._values(name, metadata, None, axes)[:rows]) == entry["checksum"]
            if sound and only_chunk(metadata):
                return []
        except UNREADABLE:
            sound = False
        try:
            array = self.array(name)
        except UNREADABLE:  # removed since its metadata were read, or it needs a foreign codec
            return [Damage(self.path(name), self.path(f"{name}/zarr.json"), "cannot be read")]
        damages = []
        for index in itertools.product(*map(range, array.cdata_shape)):
            key = self.path(f"{name}/c/" + "/".join(map(str, index)))
            first = _first_row(array, index, axes)
            last = min(rows, first + math.prod(array.chunks[:axes])) - 1
            reason = "is missing" if first <= last and self.where.read(key) is None else ""
            if not sound and not reason:
                try:
                    array.get_block_selection(index)
                except UNREADABLE:
                    reason = "does not match its checksum"
            if reason:
                lost = (first, last) if first <= last else ()
                damages.append(Damage(self.path(name), key, reason, lost))
        return damages if sound or damages else [self._other_rows(name, rows)]

    def _rows(self, name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
        """The rows of an array, checked."""
        metadata = self.metadata(name, entry)
        try:
            values = self._values(name, metadata, entry["rows"], entry.get("axes", 1))
            if of_array(values) == entry["checksum"]:
                return values
        except UNREADABLE:
            pass
        raise self.unreadable_rows(name, entry)

    def unreadable_rows(self, name: str, entry: Mapping[str, Any]) -> DamagedStoreError:
        """The error of an array whose rows cannot be read, or cannot be written for that reason."""
        damages = self.damages_of(name) or [self._other_rows(name, entry["rows"])]
        return damaged(self.where, damages)

    def read(self, name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
        """Rows of an array, as many as ``entry`` says, checked only chunk by chunk."""
        return self._values(name, self._document(name), entry["rows"], entry.get("axes", 1))

    def _values(
        self, name: str, metadata: dict[str, Any], rows: int | None, axes: int
    ) -> NDArray[Any]:
        """The first rows of an array; all for None. Zarr reads many chunks at the same time."""
        if rows == 0:
            return np.empty((0, *metadata["shape"][axes:]), metadata["data_type"])
        if only_chunk(metadata):
            return _rows_of(read_only_chunk(self.where, self.path(name), metadata), rows, axes)
        return _rows_of(self._array(name, metadata), rows, axes)

    def array(self, name: str) -> Any:
        """An array as its metadata describe it, without the search that Zarr makes for it."""
        return self._array(name, self._document(name))

    def _array(self, name: str, metadata: dict[str, Any]) -> Any:
        if metadata["zarr_format"] != 3:
            raise ValueError("is not of Zarr 3")
        return zarr.Array.from_dict(self.root.store_path / self.path(name), metadata)

    def _document(self, name: str) -> dict[str, Any]:
        """The metadata of an array, unchecked."""
        document: dict[str, Any] = _parsed(self.where.read(self.path(f"{name}/zarr.json")))
        return document

    def metadata(self, name: str, entry: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The metadata of an array; ``entry`` is what the attributes say of it, if they were read."""
        try:
            return self._metadata(name, entry or self.attributes["arrays"][name])
        except ValueError as error:
            file = self.path(f"{name}/zarr.json")
            raise damaged(self.where, [Damage(self.path(name), file, str(error))]) from None

    def _metadata(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata of an array; ValueError if they are not those that were written."""
        metadata = self._document(name)
        if of_json(metadata) not in entry["metadata"]:
            raise ValueError("does not match its checksum")
        return metadata

    def _missing(self, name: str, rows: int, count: int) -> Damage:
        file = self.path(f"{name}/c")
        return Damage(self.path(name), file, "are not written yet", (rows, count - 1))

    def _other_rows(self, name: str, rows: int) -> Damage:
        file = self.path(f"{name}/c")
        return Damage(self.path(name), file, "holds other rows than were written", (0, rows - 1))

    def path(self, name: str) -> str:
        """Name of a file or an array of the group within the hierarchy."""
        return f"{self.name}/{name}".lstrip("/")


def _parsed(text: bytes | None) -> Any:
    """Metadata as plain data; ValueError if they are missing or no JSON."""
    if text is None:
        raise ValueError("is missing")
    if not text:
        raise ValueError("is empty, not a regular file, or larger than any of djservice")
    try:
        return document_of(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _attributes(document: Any) -> dict[str, Any]:
    """The attributes in the metadata of a group; ValueError if they are not as written."""
    expected = {"attributes", "zarr_format", "node_type"}
    if (
        not isinstance(document, dict)
        or document.keys() - {"consolidated_metadata"} != expected
        or (document["zarr_format"], document["node_type"]) != (3, "group")
    ):
        raise ValueError("does not describe a group of Zarr 3")
    return unsealed(document["attributes"])


def _rows_of(array: Any, rows: int | None, axes: int) -> NDArray[Any]:
    """The first rows of an array; all for None."""
    if axes == 1:
        return np.asarray(array[:rows])
    return np.asarray(array[...]).reshape(-1, *array.shape[axes:])[:rows]


def _first_row(array: Any, index: tuple[int, ...], axes: int) -> int:
    """The first row in a chunk."""
    starts = [number * length for number, length in zip(index, array.chunks, strict=True)][:axes]
    return int(np.ravel_multi_index(starts, array.shape[:axes]))
