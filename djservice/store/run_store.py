"""The Zarr store of one run: create, continue, write, read.

Its groups and arrays are those of :mod:`djservice.store.columns`.

Rows are written first, and the group's attribute ``n_complete`` is moved last, each file by an
atomic rename. Rows from ``n_complete`` on are invalid. The only writer is the process that drives
the run. It holds a lock, and every write looks for its token (:mod:`djservice.store.fence`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import ArrayLike

from djservice.core.checksums import of_json
from djservice.errors import DamagedStoreError, StoreError
from djservice.store.access import clear_errors
from djservice.store.checked import Damage, attributes_of, damaged
from djservice.store.columns import (
    GROUPS,
    MODELS,
    StoreColumns,
    create_groups,
    create_model,
    create_per_event,
)
from djservice.store.copies import write_copies
from djservice.store.fresh import Create, NewGroup
from djservice.store.location import Location, locate
from djservice.store.repair import mend_run
from djservice.store.same_run import STORE_FORMAT, is_store, need_same_run, need_store, open_root
from djservice.store.stretches import continued, latest_change, rewound
from djservice.store.written import WrittenGroup

#: Columns of times, the only numbers that differ between two executions of a run.
TIMINGS = ("seconds",)


class Store:
    """An open store of a run; :meth:`open` opens it for writing, :meth:`read` for reading.

    Attributes
    ----------
    path
        The folder or URL, as in messages.
    root
        The zarr group.
    mended
        What was damaged when the store was opened for writing, and is computed again.
    changes
        A line about the versions, if they changed where the run is continued.
    """

    def __init__(self, where: Location, root: zarr.Group) -> None:
        self.where, self.path = where, str(where)
        self.root, self._of = root, str(attributes_of(where).get("of", ""))
        self.mended: tuple[Damage, ...] = ()
        self.changes: list[str] = []

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Open a store for reading.

        Raises
        ------
        StoreError
            If there is no store of a run at ``path``.
        """
        where = locate(path)
        with clear_errors(where, "read"):
            if not where.exists():
                raise StoreError(
                    f"{where}: there is no store here. Give the folder that `djservice run` wrote "
                    "(output.store)."
                )
            if not is_store(where):
                raise StoreError(
                    f"{where}: not the store of a djservice run: zarr.json has no attribute "
                    "'djservice_format', or is damaged."
                )
            return cls(where, open_root(where, "r"))

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: str | Path,
        attributes: Mapping[str, Any],
        numbers: Mapping[str, Any],
        shape: StoreColumns,
    ) -> Iterator[Store]:
        """Create a store, or continue an existing one, and hold its lock.

        Parameters
        ----------
        path
            Folder or URL of the store.
        attributes
            Attributes of the root: run, versions, inputs.
        numbers
            Flat mapping of all settings that affect numbers. An existing store must have the same.
        shape
            Lengths of the arrays. An existing store is continued with a longer history.

        Raises
        ------
        StoreError
            If it cannot be written, belongs to another run (the message names the differing
            settings), or is in use.
        """
        where = locate(path)
        with clear_errors(where):
            if not where.exists():
                _create(where, attributes, numbers, shape)
            elif (
                is_store(where)
                and _is_empty(where)
                and attributes_of(where)["numbers"] != dict(numbers)
            ):
                remove(path)  # the run failed before its first row, and its settings were corrected
                _create(where, attributes, numbers, shape)
            need_store(where)
        with _locked(where):
            with clear_errors(where):
                need_store(where)  # another process may have replaced it
                store = cls(where, open_root(where, "r+"))
                need_same_run(where, numbers)
                shape = replace(shape, of=store._of)
                groups = [store.group(name) for name in store.attributes["groups"]]
                store.mended = mend_run(groups, shape)
            requested = {"history": ("optimiser", shape.iterations)}
            if shape.model is not None and shape.model.group in store.groups:
                requested[shape.model.group] = (shape.model.group, shape.model.iterations)
            for group, (section, iterations) in requested.items():
                if store.n_complete(group) > iterations:
                    raise StoreError(
                        f"{where}: holds {store.n_complete(group)} iterations and "
                        f"{section}.iterations is {iterations}; ask for at least as many, or "
                        "choose another output.store."
                    )
            store._drop_consolidated()
            for group, (_, iterations) in requested.items():
                store._lengthen(group, iterations)
            if shape.starts and "per_event" not in store.groups:  # a global run, continued
                store._add("per_event", lambda group: create_per_event(group, shape))
            if shape.model is not None and shape.model.group not in store.groups:
                model = shape.model
                store._add(model.group, lambda group: create_model(group, model, shape.units))
            store._continue_with(attributes.get("versions"))
            store.set(**attributes, numbers={**store.attributes["numbers"], **numbers})
            yield store

    def group(self, name: str = "") -> WrittenGroup:
        """A group whose bytes are checked; the root by default."""
        return WrittenGroup(self.where, self.root, name, self._of)

    @property
    def groups(self) -> list[str]:
        """The groups of this run, including nested ones."""
        names = self.attributes["groups"]
        return [name for name in GROUPS if name in names] + [
            f"{model}/{name}" for model in MODELS for name in self.samples(model)
        ]

    def samples(self, model: str) -> list[str]:
        """The samples that a model is scored on; ``model`` is the name of its group."""
        if model not in self.attributes["groups"]:
            return []
        return list(self.attribute(model, "groups"))

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the root: run, versions, inputs, status, message, events, result."""
        with clear_errors(self.where, "read"):
            return self.group().attributes

    @property
    def written(self) -> float:
        """Time of the last write of rows, in seconds since 1970."""
        with clear_errors(self.where, "read"):
            return max(map(self.where.written, self.groups))

    def n_complete(self, group: str) -> int:
        """Number of valid rows of a group."""
        return int(self.attribute(group, "n_complete"))

    def column(self, group: str, name: str) -> Any:
        """The valid rows of an array."""
        with clear_errors(self.where, "read"):
            return self.group(group).rows(name, "n_complete")

    def array(self, group: str, name: str) -> Any:
        """The rows of an array that are written, as a NumPy array."""
        with clear_errors(self.where, "read"):
            return self.group(group).rows(name)

    def write_rows(self, group: str, start: int, rows: Mapping[str, ArrayLike]) -> None:
        """Write rows of several arrays from ``start`` on, then move ``n_complete`` past them.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written. Complete rows are kept.
        """
        count = len(np.asarray(next(iter(rows.values()))))
        with clear_errors(self.where):
            self.group(group).append(start, rows, n_complete=start + count)

    def write_scores(self, row: int, values: Mapping[str, ArrayLike]) -> None:
        """Write one row of the scores of one radius per event.

        Row 0 is on fresh trees, row 1 on the trees of the choice.
        """
        with clear_errors(self.where):
            group = self.group("per_event")
            group.cut(row, list(values), n_scored=row)
            rows = {name: np.asarray(value)[np.newaxis] for name, value in values.items()}
            group.append(row, rows, n_scored=row + 1)

    def scores(self, name: str) -> Any:
        """The valid rows of the scores of one radius per event; empty without such a fit."""
        if "per_event" not in self.groups:
            return np.empty(0)
        with clear_errors(self.where, "read"):
            return self.group("per_event").rows(name, "n_scored")

    def rewind(self, group: str, rows: int) -> None:
        """Declare only the first ``rows`` rows of a group valid."""
        if self.n_complete(group) > rows:
            with clear_errors(self.where):
                self.group(group).rewind(rows)
            self.set(stretches=rewound(self.attributes["stretches"], group, rows))

    def set(self, **attributes: Any) -> None:
        """Set attributes of the root, such as status and result."""
        self.set_of("", **attributes)

    def set_of(self, group: str, **attributes: Any) -> None:
        """Set attributes of a group."""
        with clear_errors(self.where):
            self.group(group).update(**attributes)

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group, or None."""
        with clear_errors(self.where, "read"):
            return self.group(group).attributes.get(name)

    def consolidate(self) -> None:
        """Verify a store, and copy the metadata of every group's arrays into the group.

        It is called once a run is finished. Without the copies xarray warns.

        Raises
        ------
        DamagedStoreError
            If a file is not as it was written.
        """
        with clear_errors(self.where):
            damages = [damage for name in self.groups for damage in self.group(name).damages()]
            if damages:  # since the run read them
                raise damaged(self.where, damages)
            write_copies(self.where)

    def _continue_with(self, versions: Any) -> None:
        """Note from which rows on the packages and the machine are others."""
        before: Any = self.attributes.get("stretches") or [
            {"from": {}, "versions": self.attributes.get("versions")}
        ]
        rows = {}
        for name in self.groups:
            count = self.n_complete(name)
            before = rewound(before, name, count)  # fewer if some were damaged
            if count:
                rows[name] = count
        stretches = continued(before, rows, versions)
        self.changes = latest_change(stretches, rows)
        self.set(stretches=stretches)

    def _drop_consolidated(self) -> None:
        """Remove the consolidated metadata, which writing would make stale."""
        with clear_errors(self.where):
            for group in (*self.groups, ""):
                self.group(group).update()

    def _lengthen(self, group: str, iterations: int) -> None:
        """Lengthen the columns of iterations."""
        with clear_errors(self.where):
            columns = self.group(group)
            columns.lengthen(iterations)
            number = len(columns.rows("iteration"))
            if number < iterations:
                columns.append(number, {"iteration": np.arange(number, iterations)})

    def _add(self, group: str, create: Create) -> None:
        """Create a group, complete or not at all."""

        def fill(root: NewGroup) -> None:
            create(root)
            root.attrs["of"] = self._of

        with clear_errors(self.where):
            self.where.add(group, fill)
        self.set(groups=[*self.attributes["groups"], group])


def check_it_continues(path: str | Path, numbers: Mapping[str, Any]) -> None:
    """Refuse a path that is not a store, or the store of a run with other settings.

    A path where nothing exists is accepted.

    Raises
    ------
    StoreError
        If ``path`` is not a store, or belongs to another run.
    """
    where = locate(path)
    with clear_errors(where):
        if not where.exists():
            return
        need_store(where)
        if _is_empty(where):
            return
    need_same_run(where, {**attributes_of(where)["numbers"], **numbers})


def remove(path: str | Path) -> None:
    """Delete a store, and only a store.

    Raises
    ------
    StoreError
        If ``path`` holds anything else, or the store is in use.
    """
    where = locate(path)
    with clear_errors(where):
        if not where.exists():
            return
        if not is_store(where):
            raise StoreError(
                f"{where}: not the store of a djservice run, so --overwrite leaves it alone; "
                "choose another output.store."
            )
    with _locked(where), clear_errors(where):
        where.remove()


def _is_empty(where: Location) -> bool:
    store = Store(where, open_root(where, "r"))
    try:
        return all(store.n_complete(name) == 0 for name in store.groups)
    except DamagedStoreError:
        return False


def _create(
    where: Location,
    attributes: Mapping[str, Any],
    numbers: Mapping[str, Any],
    shape: StoreColumns,
) -> None:
    """Create a store with its entire layout, complete or not at all.

    Another process may be faster.
    """

    facts = {**attributes, "numbers": dict(numbers)}

    def fill(root: NewGroup) -> None:
        create_groups(root, replace(shape, of=f"{of_json(facts):08x}"))
        root.attrs.update({**facts, "djservice_format": STORE_FORMAT})

    where.create(fill)


@contextlib.contextmanager
def _locked(where: Location) -> Iterator[None]:
    """Hold the lock of a store, and raise its errors as errors of the store."""
    with contextlib.ExitStack() as lock:
        with clear_errors(where):
            lock.enter_context(where.lock())
        yield
