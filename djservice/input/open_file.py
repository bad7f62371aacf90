"""What a reader of a format gives, so that all else is the same for files of every format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any


class OpenFile(ABC):
    """The events of an open file, by the names of their columns.

    Attributes
    ----------
    text
        What has the columns, in messages: "the tree 'Events'".
    size
        Bytes of the file; 0 if a server does not report them.
    uuid
        What changes with the content of the file.
    entries
        Number of events.
    pt_min
        GeV; softer particles were removed when ``djservice skim`` made the file.
    """

    text: str = "the file"
    size: int = 0
    uuid: str = ""
    entries: int = 0
    pt_min: float = 0.0

    @property
    @abstractmethod
    def names(self) -> Collection[str]:
        """The columns; a field of the records of a column is "column.field"."""

    def has(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self.names

    def hint(self, collection: str) -> str:
        """What to do if columns of a collection are missing; empty if nothing is known."""
        return ""

    @property
    @abstractmethod
    def bytes_read(self) -> int:
        """Bytes read since the file was opened."""

    @abstractmethod
    def arrays(self, names: Collection[str], start: int, stop: int) -> dict[str, Any]:
        """The awkward arrays of columns in a range of entries."""

    @abstractmethod
    def bounds(self, names: Collection[str] | None) -> Iterable[int]:
        """Entries at which a piece begins that is stored as a whole, of these columns or all."""


def field_of(columns: Mapping[str, Any], name: str) -> Any:
    """A column among those that were read, or a field of the records of one."""
    if name in columns:
        return columns[name]
    head, *path = name.split(".")
    array = columns[head]
    for part in path:
        array = array[part]
    return array
