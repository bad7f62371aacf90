"""The Zarr store of one run: create, continue, write, read.

Layout (Zarr v3; every array has dimension names, so xarray opens every group)::

    /            attributes: format, run, versions, inputs, status, message, events, result
    history/     (iteration) radius, radius_average, loss, loss_error, gradient, gradient_error,
                 acceptance, learning_rate, seconds, trees, state_share; (iteration, parameter)
                 parameters, parameters_average, gradients, gradients_error, of all learned
                 parameters, R first
    scan/        (radius) loss, loss_error, gradient, gradient_error, mean, mean_error, sd,
    sd_error,
                 acceptance
    spectrum/    (radius) the columns of scan/, at the start, the optimum and further radii;
                 (radius, event) event_mean, event_error, event_accepted; (event) key, weight
    per_event/   of a run with task per-event: (event) key, radius, left, agree; (event, start)
                 ends; (trees) the columns of scan/, on fresh trees and on the trees of the choice;
                 (trees, event) event_mean
    radius_model/
                 of a run with task radius-model: the columns of history/ except the radii; a group
                 for each sample that the model is scored on: (event) key, weight, truth; (choice)
                 the columns of scan/ with the best fixed R and with the model; (choice, event)
                 event_mean, radius

Rows are written first, and the group's attribute ``n_complete`` is moved last, each file by an
atomic rename. Rows from ``n_complete`` on are invalid. The only writer is the process that drives
the run. It holds a lock, and every write looks for its token (:mod:`djservice.store.fence`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import ArrayLike

from djservice.core.redact import message_of, shareable
from djservice.errors import StoreError
from djservice.store.columns import (
    GROUPS,
    StoreColumns,
    create_groups,
    create_model,
    create_per_event,
)
from djservice.store.location import Location, locate
from djservice.store.stretches import continued, latest_change, rewound

STORE_FORMAT = 2
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
    changes
        A line about the versions, if they changed where the run is continued.
    """

    def __init__(self, where: Location, root: zarr.Group) -> None:
        self.where, self.path = where, str(where)
        self.root = root
        self.changes: list[str] = []

    @classmethod
    def read(cls, path: str | Path) -> Store:
        """Open a store for reading.

        Raises
        ------
        StoreError
            If there is no store of a run at ``path``.
        """
        where = locate(path)
        with _clear_errors(where, "read"):
            if not where.exists():
                raise StoreError(
                    f"{where}: there is no store here. Give the folder that `djservice run` wrote "
                    "(output.store)."
                )
            if not _is_store(where):
                raise StoreError(
                    f"{where}: not the store of a djservice run: zarr.json has no attribute "
                    "'djservice_format'."
                )
            root = where.group("r")
        if root.attrs["djservice_format"] != STORE_FORMAT:
            raise StoreError(
                f"{where}: written in format {root.attrs['djservice_format']}, expected "
                f"{STORE_FORMAT}. Read it with the version that wrote it, or repeat the run."
            )
        return cls(where, root)

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
        with _clear_errors(where):
            if not where.exists():
                _create(where, attributes, numbers, shape)
            elif (
                _is_store(where)
                and _is_empty(where)
                and where.group("r").attrs["numbers"] != dict(numbers)
            ):
                remove(path)  # the run failed before its first row, and its settings were corrected
                _create(where, attributes, numbers, shape)
            _need_store(where)
        with _locked(where):
            root = where.group("r+")
            _same_run(where, root, numbers)
            store = cls(where, root)
            requested = {"history": ("optimiser", shape.iterations)}
            if shape.model is not None and "radius_model" in root:
                requested["radius_model"] = ("radius_model", shape.model.iterations)
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
            if shape.starts and "per_event" not in root:  # the store of a global run, continued
                store._add("per_event", lambda group: create_per_event(group, shape))
            if shape.model is not None and "radius_model" not in root:
                model = shape.model
                store._add("radius_model", lambda group: create_model(group, model))
            store._continue_with(attributes.get("versions"))
            with _clear_errors(where):
                root.attrs.update(
                    {
                        **attributes,
                        "numbers": {**cast(dict[str, Any], root.attrs["numbers"]), **numbers},
                    }
                )
            yield store

    @property
    def groups(self) -> list[str]:
        """The groups of this run, including nested ones."""
        return [name for name in GROUPS if name in self.root] + [
            f"radius_model/{name}" for name in self.samples
        ]

    @property
    def samples(self) -> list[str]:
        """The samples that a radius model is scored on."""
        if "radius_model" not in self.root:
            return []
        group: Any = self.root["radius_model"]
        return [name for name, _ in group.groups()]

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the root: run, versions, inputs, status, message, events, result."""
        return dict(self.root.attrs)

    @property
    def written(self) -> float:
        """Time of the last write of rows, in seconds since 1970."""
        with _clear_errors(self.where, "read"):
            return max(map(self.where.written, self.groups))

    def n_complete(self, group: str) -> int:
        """Number of valid rows of a group."""
        with _clear_errors(self.where, "read"):
            complete: Any = self.root[group].attrs["n_complete"]
        return int(complete)

    def column(self, group: str, name: str) -> Any:
        """The valid rows of an array."""
        return self.array(group, name)[: self.n_complete(group)]

    def array(self, group: str, name: str) -> Any:
        """All rows of an array, as a NumPy array."""
        with _clear_errors(self.where, "read"):
            return self._array(group, name)[...]

    def write_rows(self, group: str, start: int, rows: Mapping[str, ArrayLike]) -> None:
        """Write rows of several arrays from ``start`` on, then move ``n_complete`` past them.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written. Complete rows are kept.
        """
        with _clear_errors(self.where):
            count = 0
            for name, values in rows.items():
                block = np.asarray(values)
                count = len(block)
                self._array(group, name)[start : start + count] = block
            self.root[group].attrs["n_complete"] = start + count

    def write_scores(self, row: int, values: Mapping[str, ArrayLike]) -> None:
        """Write one row of the scores of one radius per event.

        Row 0 is on fresh trees, row 1 on the trees of the choice.
        """
        with _clear_errors(self.where):
            for name, value in values.items():
                self._array("per_event", name)[row] = value
            self.root["per_event"].attrs["n_scored"] = row + 1

    def scores(self, name: str) -> Any:
        """The valid rows of the scores of one radius per event; empty without such a fit."""
        if "per_event" not in self.root:
            return np.empty(0)
        scored: Any = self.root["per_event"].attrs["n_scored"]
        return self.array("per_event", name)[: int(scored)]

    def rewind(self, group: str, rows: int) -> None:
        """Declare only the first ``rows`` rows of a group valid."""
        if self.n_complete(group) > rows:
            with _clear_errors(self.where):
                self.root[group].attrs["n_complete"] = rows
            self.set(stretches=rewound(self.attributes["stretches"], group, rows))

    def set(self, **attributes: Any) -> None:
        """Set attributes of the root, such as status and result."""
        with _clear_errors(self.where):
            self.root.attrs.update(attributes)

    def set_of(self, group: str, **attributes: Any) -> None:
        """Set attributes of a group."""
        # The group is opened anew: a group object writes back the attributes of its opening.
        with _clear_errors(self.where):
            self.root[group].attrs.update(attributes)

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group, or None."""
        with _clear_errors(self.where, "read"):
            return self.root[group].attrs.get(name)

    def consolidate(self) -> None:
        """Copy the metadata of every group's arrays into the group, once a run is finished.

        Without the copies xarray warns.
        """
        with _clear_errors(self.where), warnings.catch_warnings():
            # Zarr warns that consolidated metadata are not yet in the specification.
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
            for group in (*self.groups, None):
                self.where.consolidate(group)

    def _continue_with(self, versions: Any) -> None:
        """Note from which rows on the packages and the machine are others."""
        rows = {name: count for name in self.groups if (count := self.n_complete(name))}
        before: Any = self.attributes.get("stretches") or [
            {"from": {}, "versions": self.attributes.get("versions")}
        ]
        stretches = continued(before, rows, versions)
        self.changes = latest_change(stretches, rows)
        self.set(stretches=stretches)

    def _drop_consolidated(self) -> None:
        """Remove the consolidated metadata, which writing would make stale."""
        with _clear_errors(self.where):
            # Writing an attribute writes the metadata of the group without the copies.
            for group in self.groups:
                attributes = self.where.group("r+", group).attrs
                attributes["n_complete"] = attributes["n_complete"]
            self.root.attrs["djservice_format"] = STORE_FORMAT

    def _lengthen(self, group: str, iterations: int) -> None:
        """Lengthen the columns of iterations.

        The call may be repeated, so a process may die in the middle.
        """
        with _clear_errors(self.where):
            columns: Any = self.root[group]
            for _, array in columns.arrays():
                if array.shape[0] < iterations:
                    array.resize((iterations, *array.shape[1:]))
            number = self._array(group, "iteration")
            number[:] = np.arange(number.shape[0])

    def _add(self, group: str, create: Callable[[zarr.Group], None]) -> None:
        """Create a group, complete or not at all."""
        with _clear_errors(self.where):
            self.where.add(group, create)

    def _array(self, group: str, name: str) -> Any:
        return self.root[f"{group}/{name}"]


def check_it_continues(path: str | Path, numbers: Mapping[str, Any]) -> None:
    """Refuse a path that is not a store, or the store of a run with other settings.

    A path where nothing exists is accepted.

    Raises
    ------
    StoreError
        If ``path`` is not a store, or belongs to another run.
    """
    where = locate(path)
    with _clear_errors(where):
        if not where.exists():
            return
        _need_store(where)
        if _is_empty(where):
            return
        root = where.group("r")
    stored: Any = root.attrs["numbers"]
    _same_run(where, root, {**stored, **numbers})


def remove(path: str | Path) -> None:
    """Delete a store, and only a store.

    Raises
    ------
    StoreError
        If ``path`` holds anything else, or the store is in use.
    """
    where = locate(path)
    with _clear_errors(where):
        if not where.exists():
            return
        if not _is_store(where):
            raise StoreError(
                f"{where}: not the store of a djservice run, so --overwrite leaves it alone; "
                "choose another output.store."
            )
    with _locked(where), _clear_errors(where):
        where.remove()


def _need_store(where: Location) -> None:
    if not _is_store(where):
        raise StoreError(
            f"{where}: expected no files or a store, found something that is not the store of a "
            "djservice run. Choose another output.store."
        )


def _is_empty(where: Location) -> bool:
    root = where.group("r")
    return all(root[name].attrs["n_complete"] == 0 for name in GROUPS if name in root)


def _is_store(where: Location) -> bool:
    try:
        return "djservice_format" in where.group("r").attrs
    except (FileNotFoundError, NotADirectoryError, ValueError):
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

    def fill(root: zarr.Group) -> None:
        create_groups(root, shape)
        root.attrs.update(
            {**attributes, "numbers": dict(numbers), "djservice_format": STORE_FORMAT}
        )

    where.create(fill)


def _same_run(where: Location, root: zarr.Group, numbers: Mapping[str, Any]) -> None:
    """Refuse the store of another run, naming every key that differs."""
    stored: Any = root.attrs["numbers"]
    differing = [
        key
        for key in {**stored, **numbers}
        if stored.get(key, _MISSING) != numbers.get(key, _MISSING)
    ]
    # A global run can be extended by another task, and continued without that task.
    if "task" not in stored or "task" not in numbers:
        differing = [
            key
            for key in differing
            if key != "task" and not key.startswith(("per_event.", "radius_model."))
        ]
    if "task" in differing:  # then the keys of its section differ too
        differing = [
            key for key in differing if not key.startswith(("per_event.", "radius_model."))
        ]
    if differing:
        lines = "; ".join(
            f"{key} is {stored.get(key, 'absent')!r} there and {numbers.get(key, 'absent')!r} now"
            for key in differing[:_NAMED]
        )
        if len(differing) > _NAMED:
            lines += f"; and {len(differing) - _NAMED} more keys"
        raise StoreError(
            f"{where}: the store of another run: {lines}. Choose another output.store, or pass "
            "--overwrite to delete it."
        )


_MISSING = object()
#: Largest number of differing keys in a message.
_NAMED = 5


@contextlib.contextmanager
def _locked(where: Location) -> Iterator[None]:
    """Hold the lock of a store, and raise its errors as errors of the store."""
    with contextlib.ExitStack() as lock:
        with _clear_errors(where):
            lock.enter_context(where.lock())
        yield


def _missing(where: Location, error: KeyError) -> StoreError:
    """The error of a store that lacks a group or an array, as while it is being removed."""
    return StoreError(
        f"{where}: {error} is missing: the store was damaged, or somebody is removing it. Run the "
        "same command once it is removed, or choose another output.store."
    )


@contextlib.contextmanager
def _clear_errors(where: Location, action: str = "written") -> Iterator[None]:
    """Turn errors of the operating system or the server into errors of the store.

    A writer is stopped if the store is not its own any more.
    """
    try:
        if action == "written":
            where.check()
        yield
    except KeyError as error:
        where.check()
        raise _missing(where, error) from error
    except where.errors as error:
        where.check()
        reason = getattr(error, "strerror", None) or message_of(error)
        advice = (
            "What was complete is kept: free space or mend the permissions, and run the same "
            "command to go on."
        )
        if action == "read":
            advice = (
                "See that you may read it, and for a URL that its server answers and that its keys "
                "are in the environment."
            )
        raise StoreError(f"{where}: cannot be {action}: {reason}. {advice}") from shareable(error)
