"""The Zarr store of one run: create, continue, write, read.

Layout (Zarr v3, every array with dimension names, so xarray opens every group)::

    /            attributes: format, run, versions, inputs, status, message, events, result
    history/     (iteration) radius, radius_average, loss, loss_error, gradient, gradient_error, acceptance,
                 learning_rate, seconds, trees, state_share; (iteration, parameter) parameters, parameters_average, gradients,
                 gradients_error, of everything that is learned, R first
    scan/        (radius) loss, loss_error, gradient, gradient_error, mean, mean_error, sd, sd_error, acceptance
    spectrum/    the same, at the start, the optimum and further radii; (radius, event) event_mean, event_error,
                 event_accepted; (event) key
    per_event/   of a run with task per-event: (event) key, radius, left, agree; (event, start) ends; (trees) the columns of
                 scan/, on fresh trees and on those that the radii were chosen on; (trees, event) event_mean
    radius_model/
                 of a run with task radius-model: the columns of history/ but the radii; a group for each sample that the model
                 is scored on: (event) key, truth; (choice) the columns of scan/ with the best fixed R and with the model;
                 (choice, event) event_mean, radius

Rows are written first and the group's attribute ``n_complete`` is moved last, each file by an atomic rename; rows from
``n_complete`` on mean nothing. There is one writer, the process that drives the run, and it holds a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import ArrayLike

from djservice.errors import StoreError
from djservice.store_shape import (
    GROUPS,
    Shape,
    create_groups,
    create_model,
    create_per_event,
)

FORMAT = 1
#: Columns that hold times, the only numbers that differ between two executions of a run.
TIMINGS = ("seconds",)


class Store:
    """An open store of a run; use :meth:`open` to write and :meth:`read` to look.

    Attributes
    ----------
    path
        The folder.
    root
        The zarr group.
    """

    def __init__(self, path: str | Path, root: zarr.Group) -> None:
        self.path = Path(path)
        self.root = root

    @classmethod
    def read(cls, path: str | Path) -> Store:
        """Open a store for reading.

        Raises
        ------
        StoreError
            If there is no store of a run at ``path``.
        """
        if not Path(path).is_dir():
            raise StoreError(
                f"{path}: there is no store here. Give the folder that `djservice run` wrote (output.store)."
            )
        if not _is_store(path):
            raise StoreError(
                f"{path}: not the store of a djservice run: zarr.json has no attribute 'djservice_format'."
            )
        root = _group(path, "r")
        if root.attrs["djservice_format"] != FORMAT:
            raise StoreError(
                f"{path}: written in format {root.attrs['djservice_format']}, this version reads {FORMAT}."
            )
        return cls(path, root)

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        path: str | Path,
        attributes: Mapping[str, Any],
        numbers: Mapping[str, Any],
        shape: Shape,
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
        path = Path(path)
        if not path.exists():
            _create(path, attributes, numbers, shape)
        elif _is_store(path) and _is_empty(path) and _group(path, "r").attrs["numbers"] != dict(numbers):
            remove(path)  # of a run that failed before its first row, and was mended
            _create(path, attributes, numbers, shape)
        elif not _is_store(path):
            raise StoreError(f"{path}: is there and is not the store of a djservice run; choose another output.store.")
        with _lock(path):
            root = _group(path, "r+")
            _same_run(path, root, numbers)
            store = cls(path, root)
            asked = {"history": ("optimiser", shape.iterations)}
            if shape.model is not None and "radius_model" in root:
                asked["radius_model"] = ("radius_model", shape.model.iterations)
            for group, (section, iterations) in asked.items():
                if store.n_complete(group) > iterations:
                    raise StoreError(
                        f"{path}: holds {store.n_complete(group)} iterations and {section}.iterations is {iterations}; ask for "
                        "at least as many, or choose another output.store."
                    )
            store._drop_consolidated()
            for group, (_, iterations) in asked.items():
                store._lengthen(group, iterations)
            if shape.starts and "per_event" not in root:  # of a global run, which goes on
                store._add("per_event", lambda parent: create_per_event(parent, shape))
            if shape.model is not None and "radius_model" not in root:
                model = shape.model
                store._add("radius_model", lambda parent: create_model(parent, model))
            with _clear_errors(path):
                root.attrs.update({**attributes, "numbers": {**cast(dict[str, Any], root.attrs["numbers"]), **numbers}})
            yield store

    @property
    def groups(self) -> list[str]:
        """The groups that this run has, those within others too."""
        return [name for name in GROUPS if name in self.root] + [f"radius_model/{name}" for name in self.samples]

    @property
    def samples(self) -> list[str]:
        """The samples that a radius model is scored on."""
        return [name for name, _ in self.root["radius_model"].groups()] if "radius_model" in self.root else []  # type: ignore[union-attr]

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the root: run, versions, inputs, status, message, events, result."""
        return dict(self.root.attrs)

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
        with _clear_errors(self.path):
            count = 0
            for name, values in rows.items():
                block = np.asarray(values)
                count = len(block)
                self._array(group, name)[start : start + count] = block
            self.root[group].attrs["n_complete"] = start + count

    def write_scores(self, row: int, values: Mapping[str, ArrayLike]) -> None:
        """Write one row of the scores of the radii per event: 0 on fresh trees, 1 on those they were chosen on."""
        with _clear_errors(self.path):
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
            with _clear_errors(self.path):
                self.root[group].attrs["n_complete"] = rows

    def set(self, **attributes: Any) -> None:
        """Set attributes of the root, such as status and result."""
        with _clear_errors(self.path):
            self.root.attrs.update(attributes)

    def set_of(self, group: str, **attributes: Any) -> None:
        """Set attributes of a group."""
        with _clear_errors(self.path):  # opened anew: a group that is kept writes its old attributes again
            self.root[group].attrs.update(attributes)

    def attribute(self, group: str, name: str) -> Any:
        """An attribute of a group, or None."""
        return self.root[group].attrs.get(name)

    def consolidate(self) -> None:
        """Copy the metadata of every group's arrays into the group, which spares xarray a warning; of a finished run."""
        with _clear_errors(self.path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)  # not yet in the specification
            for group in (*self.groups, None):
                zarr.consolidate_metadata(str(self.path), path=group)

    def _drop_consolidated(self) -> None:
        """Remove the copies, which go stale when the store is written."""
        with _clear_errors(self.path):
            for group in self.groups:  # writing an attribute writes the group's metadata, without the copies
                attributes = _group(self.path / group, "r+").attrs
                attributes["n_complete"] = attributes["n_complete"]
            self.root.attrs["djservice_format"] = FORMAT

    def _lengthen(self, group: str, iterations: int) -> None:
        """Make the columns of iterations long enough; repeated harmlessly if a process died in the middle."""
        with _clear_errors(self.path):
            for _, array in self.root[group].arrays():  # type: ignore[union-attr]
                if array.shape[0] < iterations:
                    array.resize((iterations, *array.shape[1:]))
            number = self._array(group, "iteration")
            number[:] = np.arange(number.shape[0])

    def _add(self, group: str, create: Callable[[zarr.Group], None]) -> None:
        """Build a group aside and rename it into place."""
        building = self.path / f".{group}.{os.getpid()}"
        with _clear_errors(self.path), contextlib.ExitStack() as leftovers:
            leftovers.callback(shutil.rmtree, building, ignore_errors=True)
            create(zarr.open_group(str(building), mode="w"))
            os.rename(building / group, self.path / group)

    def _array(self, group: str, name: str) -> Any:
        return self.root[f"{group}/{name}"]


def remove(path: str | Path) -> None:
    """Delete a store, and nothing that is not one.

    Raises
    ------
    StoreError
        If ``path`` holds anything else, or the store is in use.
    """
    if not Path(path).exists():
        return
    if not _is_store(path):
        raise StoreError(
            f"{path}: not the store of a djservice run, so --overwrite leaves it alone; choose another output.store."
        )
    with _lock(Path(path)):
        shutil.rmtree(path)


def _group(path: str | Path, mode: Any) -> zarr.Group:
    """A group as it is on disk, without the copies of :meth:`Store.consolidate`."""
    return zarr.open_group(str(path), mode=mode, use_consolidated=False)


def _is_empty(path: str | Path) -> bool:
    root = _group(path, "r")
    return all(root[name].attrs["n_complete"] == 0 for name in GROUPS if name in root)


def _is_store(path: str | Path) -> bool:
    try:
        return "djservice_format" in _group(path, "r").attrs
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _create(path: Path, attributes: Mapping[str, Any], numbers: Mapping[str, Any], shape: Shape) -> None:
    """Build the whole layout beside ``path`` and rename it into place, so that a store is there complete or not at all."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    with _clear_errors(path), contextlib.ExitStack() as leftovers:
        leftovers.callback(shutil.rmtree, building, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(str(building), mode="w")
        create_groups(root, shape)
        root.attrs.update({**attributes, "numbers": dict(numbers), "djservice_format": FORMAT})
        try:
            os.rename(building, path)
        except OSError:
            if not _is_store(path):  # else another process was faster, and holds or held the lock
                raise


def _same_run(path: Path, root: zarr.Group, numbers: Mapping[str, Any]) -> None:
    """Refuse the store of another run, naming every key that differs."""
    there: Any = root.attrs["numbers"]
    differing = [key for key in {**there, **numbers} if there.get(key, _MISSING) != numbers.get(key, _MISSING)]
    if (
        "task" not in there or "task" not in numbers
    ):  # more than a global R can be added, and need not be asked for again
        differing = [key for key in differing if key != "task" and not key.startswith(("per_event.", "radius_model."))]
    if "task" in differing:  # the keys of its section differ too, of course
        differing = [key for key in differing if not key.startswith(("per_event.", "radius_model."))]
    if differing:
        lines = "; ".join(
            f"{key} is {there.get(key, 'absent')!r} there and {numbers.get(key, 'absent')!r} now"
            for key in differing[:_NAMED]
        )
        if len(differing) > _NAMED:
            lines += f"; and {len(differing) - _NAMED} more keys"
        raise StoreError(
            f"{path}: the store of another run: {lines}. Choose another output.store, or pass --overwrite to delete it."
        )


_MISSING = object()
#: How many differing keys a message names.
_NAMED = 5


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the folder's lock, which the operating system gives back when the process dies."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{path}: another process is writing this store; wait for it, or choose another output.store."
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Say what an operating-system error means for the store."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}. What was complete is kept: free space or mend the "
            "permissions, and run the same command to go on."
        ) from error
