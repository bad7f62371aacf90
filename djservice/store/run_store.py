"""The Zarr store of one run: create, continue, write, read.

Layout (Zarr v3, every array with dimension names, so xarray opens every group)::

    /            attributes: format, run, versions, inputs, status, message, events, result
    history/     (iteration) radius, radius_average, loss, loss_error, gradient, gradient_error, acceptance,
                 learning_rate, seconds, trees, state_share; (iteration, parameter) parameters, parameters_average, gradients,
                 gradients_error, of everything that is learned, R first
    scan/        (radius) loss, loss_error, gradient, gradient_error, mean, mean_error, sd, sd_error, acceptance
    spectrum/    the same, at the start, the optimum and further radii; (radius, event) event_mean, event_error,
                 event_accepted; (event) key, weight
    per_event/   of a run with task per-event: (event) key, radius, left, agree; (event, start) ends; (trees) the columns of
                 scan/, on fresh trees and on those that the radii were chosen on; (trees, event) event_mean
    radius_model/
                 of a run with task radius-model: the columns of history/ but the radii; a group for each sample that the model
                 is scored on: (event) key, weight, truth; (choice) the columns of scan/ with the best fixed R and with the model;
                 (choice, event) event_mean, radius

Rows are written first and the group's attribute ``n_complete`` is moved last, each file by an atomic rename; rows from
``n_complete`` on mean nothing. There is one writer, the process that drives the run, and it holds a lock.
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

from djservice.core.redact import redacted
from djservice.errors import StoreError
from djservice.store.columns import (
    GROUPS,
    StoreColumns,
    create_groups,
    create_model,
    create_per_event,
)
from djservice.store.location import LocalFolder, ObjectStore, locate

STORE_FORMAT = 2
#: Columns that hold times, the only numbers that differ between two executions of a run.
TIMINGS = ("seconds",)


class Store:
    """An open store of a run; use :meth:`open` to write and :meth:`read` to look.

    Attributes
    ----------
    path
        The folder or URL, as messages call it.
    root
        The zarr group.
    """

    def __init__(self, where: LocalFolder | ObjectStore, root: zarr.Group) -> None:
        self.where, self.path = where, str(where)
        self.root = root

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
                    f"{where}: there is no store here. Give the folder that `djservice run` wrote (output.store)."
                )
            if not _is_store(where):
                raise StoreError(
                    f"{where}: not the store of a djservice run: zarr.json has no attribute 'djservice_format'."
                )
            root = where.group("r")
        if root.attrs["djservice_format"] != STORE_FORMAT:
            raise StoreError(
                f"{where}: written in format {root.attrs['djservice_format']}, this version reads {STORE_FORMAT}."
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
        """Create the store, or continue the one that is there, holding its lock meanwhile.

        Parameters
        ----------
        path
            The folder.
        attributes
            What is remembered of the run: run, versions, inputs.
        numbers
            Flat mapping of everything that affects numbers; must equal that of a store that is there.
        shape
            How much room there is to be; a longer history continues a store that is there.

        Raises
        ------
        StoreError
            If it cannot be written, belongs to another run (naming what differs), or is in use.
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
                remove(path)  # of a run that failed before its first row, and was mended
                _create(where, attributes, numbers, shape)
            _need_store(where)
        with _locked(where):
            root = where.group("r+")
            _same_run(where, root, numbers)
            store = cls(where, root)
            asked = {"history": ("optimiser", shape.iterations)}
            if shape.model is not None and "radius_model" in root:
                asked["radius_model"] = ("radius_model", shape.model.iterations)
            for group, (section, iterations) in asked.items():
                if store.n_complete(group) > iterations:
                    raise StoreError(
                        f"{where}: holds {store.n_complete(group)} iterations and {section}.iterations is {iterations}; ask for "
                        "at least as many, or choose another output.store."
                    )
            store._drop_consolidated()
            for group, (_, iterations) in asked.items():
                store._lengthen(group, iterations)
            if shape.starts and "per_event" not in root:  # of a global run, which goes on
                store._add("per_event", lambda group: create_per_event(group, shape))
            if shape.model is not None and "radius_model" not in root:
                model = shape.model
                store._add("radius_model", lambda group: create_model(group, model))
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
        """The groups that this run has, those within others too."""
        return [name for name in GROUPS if name in self.root] + [
            f"radius_model/{name}" for name in self.samples
        ]

    @property
    def samples(self) -> list[str]:
        """The samples that a radius model is scored on."""
        return (
            [name for name, _ in self.root["radius_model"].groups()]
            if "radius_model" in self.root
            else []
        )  # type: ignore[union-attr]

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the root: run, versions, inputs, status, message, events, result."""
        return dict(self.root.attrs)

    @property
    def written(self) -> float:
        """When rows were last written, in seconds since 1970."""
        with _clear_errors(self.where, "read"):
            return max(map(self.where.written, self.groups))

    def n_complete(self, group: str) -> int:
        """How many rows of a group are valid."""
        complete: Any = self.root[group].attrs["n_complete"]
        return int(complete)

    def column(self, group: str, name: str) -> Any:
        """The valid rows of an array."""
        return self.array(group, name)[: self.n_complete(group)]

    def array(self, group: str, name: str) -> Any:
        """A whole array as numpy."""
        return self._array(group, name)[...]

    def write_rows(self, group: str, start: int, rows: Mapping[str, ArrayLike]) -> None:
        """Write rows ``start`` on of several arrays, then move ``n_complete`` to behind them.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written; what was complete stays so.
        """
        with _clear_errors(self.where):
            count = 0
            for name, values in rows.items():
                block = np.asarray(values)
                count = len(block)
                self._array(group, name)[start : start + count] = block
            self.root[group].attrs["n_complete"] = start + count

    def write_scores(self, row: int, values: Mapping[str, ArrayLike]) -> None:
        """Write one row of the scores of the radii per event: 0 on fresh trees, 1 on those they were chosen on."""
        with _clear_errors(self.where):
            for name, value in values.items():
                self._array("per_event", name)[row] = value
            self.root["per_event"].attrs["n_scored"] = row + 1

    def scores(self, name: str) -> Any:
        """The valid rows of such an array; none where there is no radius per event."""
        if "per_event" not in self.root:
            return np.empty(0)
        scored: Any = self.root["per_event"].attrs["n_scored"]
        return self.array("per_event", name)[: int(scored)]

    def rewind(self, group: str, rows: int) -> None:
        """Declare only the first ``rows`` rows of a group valid."""
        if self.n_complete(group) > rows:
            with _clear_errors(self.where):
                self.root[group].attrs["n_complete"] = rows

    def set(self, **attributes: Any) -> None:
        """Set attributes of the root, such as status and result."""
        with _clear_errors(self.where):
            self.root.attrs.update(attributes)

    def set_of(self, group: str, **attributes: Any) -> None:
        """Set attributes of a group."""
        with _clear_errors(
            self.where
        ):  # opened anew: a group that is kept writes its old attributes again
            self.root[group].attrs.update(attributes)

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group, or None."""
        return self.root[group].attrs.get(name)

    def consolidate(self) -> None:
        """Copy the metadata of every group's arrays into the group, which spares xarray a warning; of a finished run."""
        with _clear_errors(self.where), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Consolidated metadata", UserWarning
            )  # not yet in the specification
            for group in (*self.groups, None):
                self.where.consolidate(group)

    def _drop_consolidated(self) -> None:
        """Remove the copies, which go stale when the store is written."""
        with _clear_errors(self.where):
            for group in (
                self.groups
            ):  # writing an attribute writes the group's metadata, without the copies
                attributes = self.where.group("r+", group).attrs
                attributes["n_complete"] = attributes["n_complete"]
            self.root.attrs["djservice_format"] = STORE_FORMAT

    def _lengthen(self, group: str, iterations: int) -> None:
        """Make the columns of iterations long enough; repeated harmlessly if a process died in the middle."""
        with _clear_errors(self.where):
            for _, array in self.root[group].arrays():  # type: ignore[union-attr]
                if array.shape[0] < iterations:
                    array.resize((iterations, *array.shape[1:]))
            number = self._array(group, "iteration")
            number[:] = np.arange(number.shape[0])

    def _add(self, group: str, create: Callable[[zarr.Group], None]) -> None:
        """Make a group that is there complete or not at all."""
        with _clear_errors(self.where):
            self.where.add(group, create)

    def _array(self, group: str, name: str) -> Any:
        return self.root[f"{group}/{name}"]


def check_it_continues(path: str | Path, numbers: Mapping[str, Any]) -> None:
    """Refuse what is no store, or one of another run, as far as the settings alone tell; nothing there is well.

    Raises
    ------
    StoreError
        As :meth:`Store.open`.
    """
    where = locate(path)
    with _clear_errors(where):
        if not where.exists():
            return
        _need_store(where)
        if _is_empty(where):
            return
        root = where.group("r")
    there: Any = root.attrs["numbers"]
    _same_run(where, root, {**there, **numbers})


def remove(path: str | Path) -> None:
    """Delete a store, and nothing that is not one.

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
                f"{where}: not the store of a djservice run, so --overwrite leaves it alone; choose another output.store."
            )
    with _locked(where), _clear_errors(where):
        where.remove()


def _need_store(where: LocalFolder | ObjectStore) -> None:
    if not _is_store(where):
        raise StoreError(
            f"{where}: is there and is not the store of a djservice run; choose another output.store."
        )


def _is_empty(where: LocalFolder | ObjectStore) -> bool:
    root = where.group("r")
    return all(root[name].attrs["n_complete"] == 0 for name in GROUPS if name in root)


def _is_store(where: LocalFolder | ObjectStore) -> bool:
    try:
        return "djservice_format" in where.group("r").attrs
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _create(
    where: LocalFolder | ObjectStore,
    attributes: Mapping[str, Any],
    numbers: Mapping[str, Any],
    shape: StoreColumns,
) -> None:
    """Make the whole layout, so that a store is there complete or not at all; another process may be faster."""

    def fill(root: zarr.Group) -> None:
        create_groups(root, shape)
        root.attrs.update(
            {**attributes, "numbers": dict(numbers), "djservice_format": STORE_FORMAT}
        )

    where.create(fill)


def _same_run(
    where: LocalFolder | ObjectStore, root: zarr.Group, numbers: Mapping[str, Any]
) -> None:
    """Refuse the store of another run, naming every key that differs."""
    there: Any = root.attrs["numbers"]
    differing = [
        key
        for key in {**there, **numbers}
        if there.get(key, _MISSING) != numbers.get(key, _MISSING)
    ]
    if (
        "task" not in there or "task" not in numbers
    ):  # more than a global R can be added, and need not be asked for again
        differing = [
            key
            for key in differing
            if key != "task" and not key.startswith(("per_event.", "radius_model."))
        ]
    if "task" in differing:  # the keys of its section differ too, of course
        differing = [
            key for key in differing if not key.startswith(("per_event.", "radius_model."))
        ]
    if differing:
        lines = "; ".join(
            f"{key} is {there.get(key, 'absent')!r} there and {numbers.get(key, 'absent')!r} now"
            for key in differing[:_NAMED]
        )
        if len(differing) > _NAMED:
            lines += f"; and {len(differing) - _NAMED} more keys"
        raise StoreError(
            f"{where}: the store of another run: {lines}. Choose another output.store, or pass --overwrite to delete it."
        )


_MISSING = object()
#: How many differing keys a message names.
_NAMED = 5


@contextlib.contextmanager
def _locked(where: LocalFolder | ObjectStore) -> Iterator[None]:
    """Hold the lock of a store; what goes wrong in taking or giving it back is an error of the store."""
    with contextlib.ExitStack() as lock:
        with _clear_errors(where):
            lock.enter_context(where.lock())
        yield


@contextlib.contextmanager
def _clear_errors(where: LocalFolder | ObjectStore, what: str = "written") -> Iterator[None]:
    """Say what an error of the operating system or of the server means for the store."""
    try:
        where.check()
        yield
    except where.errors as error:
        found = getattr(error, "strerror", None) or redacted(" ".join(str(error).split()))
        advice = "What was complete is kept: free space or mend the permissions, and run the same command to go on."
        if what == "read":
            advice = "See that you may read it, and for a URL that its server answers and that its keys are in the environment."
        raise StoreError(f"{where}: cannot be {what}: {found}. {advice}") from error
