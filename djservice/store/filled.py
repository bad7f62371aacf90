"""Stores that are filled in order: rows that are counted once they are written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from djservice.errors import StoreError
from djservice.store.access import clear_errors
from djservice.store.checked import Damage, attributes_of, need_format
from djservice.store.fresh import Create, packed
from djservice.store.location import Location, locate
from djservice.store.repair import mend
from djservice.store.stretches import continued, latest_change, rewound
from djservice.store.written import WrittenGroup


class FilledStore:
    """A store whose attribute ``n_complete`` counts the rows that are done.

    Attributes
    ----------
    mended
        What was damaged when it was opened for writing, and is computed again.
    changes
        A line about the versions, if they changed where it is continued.
    """

    #: What its rows are called.
    noun: ClassVar[str]
    #: Attribute of the root that holds the format, and the format of this version.
    marker: ClassVar[str]
    format: ClassVar[int]
    #: Messages: nothing is there, something else is there, or one with other contents.
    absent: ClassVar[str]
    foreign: ClassVar[str]
    another: ClassVar[str]

    def __init__(self, where: Location, mode: str) -> None:
        self.where = where
        self.group = WrittenGroup(where, where.group(mode))
        self.mended: list[Damage] = []
        self.changes: list[str] = []

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Open a store for reading.

        Raises
        ------
        StoreError
            If there is no such store at ``path``, or it is damaged.
        """
        where = locate(path)
        with clear_errors(where, "read"):
            cls._need(where)
            return cls(where, "r")

    @classmethod
    def need_same(cls, where: Location, contents: Contents) -> None:
        """Refuse a store that has other contents, naming what differs.

        Raises
        ------
        StoreError
            If it has others, or is no such store of this format.
        """
        cls._need(where)
        stored = attributes_of(where)
        differing = [
            key
            for name, requested in contents.items()
            for key in requested
            if stored[name].get(key) != requested[key]
        ]
        if differing:
            raise StoreError(f"{where}: {cls.another.format(', '.join(differing))}")

    @classmethod
    def _need(cls, where: Location) -> None:
        """Refuse what is no such store of this format."""
        text = where.read("zarr.json")
        if text is None:
            raise StoreError(f"{where}: {cls.absent}")
        if f'"{cls.marker}"'.encode() not in text:
            raise StoreError(f"{where}: {cls.foreign}")
        need_format(where, cls.marker, cls.format)

    @classmethod
    def attributes(
        cls, facts: Mapping[str, Any], versions: Mapping[str, str], **more: Any
    ) -> dict[str, Any]:
        """The attributes of a new store without rows."""
        new = {cls.marker: cls.format, "n_complete": 0, **more}
        return new | {"facts": dict(facts), "versions": dict(versions)}

    def need_rows(self, number: int) -> None:
        """Refuse a store with fewer rows.

        Raises
        ------
        StoreError
            If it has fewer.
        """
        if self.n_complete < number:
            raise StoreError(
                f"{self}: {self.n_complete:,} of {number:,} {self.noun} are done. Run the same "
                "command again to finish it."
            )

    def __str__(self) -> str:
        return str(self.where)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes: facts, versions, n_complete and others."""
        with clear_errors(self.where, "read"):
            return self.group.attributes

    @property
    def n_complete(self) -> int:
        """Number of rows that are complete."""
        return int(self.attrs["n_complete"])

    def continue_with(self, versions: Mapping[str, str]) -> None:
        """Note from which row on the packages and the machine are others."""
        attributes, done = self.attrs, self.n_complete
        before = attributes.get("stretches") or [
            {"from": {}, "versions": attributes.get("versions")}
        ]
        rows = {self.noun: done} if done else {}
        stretches = continued(rewound(before, self.noun, done), rows, versions)
        self.changes = latest_change(stretches, rows)
        self.group.update(stretches=stretches, versions=dict(versions))


Filled = TypeVar("Filled", bound=FilledStore)
#: Attributes of a store, by name, of which each key has to be the same where it is continued.
Contents = Mapping[str, Mapping[str, Any]]


@contextlib.contextmanager
def opened(
    kind: type[Filled],
    where: Location,
    fill: Create,
    contents: Contents,
    versions: Mapping[str, str],
    axes: int = 1,
) -> Iterator[Filled]:
    """Create a store, or open an existing one, and hold its lock.

    What is damaged in an existing one is computed again.

    Parameters
    ----------
    kind
        Class of the store.
    where, fill, axes
        Its location, what creates its groups and arrays, and see
        :func:`djservice.store.fresh.packed`.
    contents
        What an existing store must have (:meth:`FilledStore.need_same`).
    versions
        Versions that its next rows are computed with.

    Raises
    ------
    StoreError
        If it has other contents, cannot be written or mended, or is in use.
    """
    with contextlib.ExitStack() as lock:
        with clear_errors(where):
            if not where.exists():
                where.create(fill, axes=axes)
            kind.need_same(where, contents)
            lock.enter_context(where.lock())
            kind.need_same(where, contents)  # another process may have replaced it
            store = kind(where, "r+")
            store.mended = mend(store.group, lambda: packed(fill, axes))
            store.continue_with(versions)
        yield store
