"""Stores that are filled in order: rows that are counted once they are written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from djservice.store.access import clear_errors
from djservice.store.checked import Damage
from djservice.store.fresh import Create, packed
from djservice.store.location import Location
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

    def __init__(self, where: Location, mode: str) -> None:
        self.where = where
        self.group = WrittenGroup(where, where.group(mode))
        self.mended: list[Damage] = []
        self.changes: list[str] = []

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


@contextlib.contextmanager
def opened(
    kind: type[Filled],
    where: Location,
    fill: Create,
    check: Callable[[], None],
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
    check
        Refuses an existing store of another kind or content.
    versions
        Versions that its next rows are computed with.

    Raises
    ------
    StoreError
        If ``check`` refuses it, or it cannot be written or mended, or is in use.
    """
    with contextlib.ExitStack() as lock:
        with clear_errors(where):
            if not where.exists():
                where.create(fill, axes=axes)
            check()
            lock.enter_context(where.lock())
            check()  # another process may have replaced it
            store = kind(where, "r+")
            store.mended = mend(store.group, lambda: packed(fill, axes))
            store.continue_with(versions)
        yield store
