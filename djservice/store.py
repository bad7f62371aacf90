"""The Zarr store of one run: create, continue, write, read.

Layout (Zarr v3, every array with dimension names, so xarray opens every group)::

    /            attributes: format, run, versions, inputs, status, message, events, result
    history/     (iteration) radius, radius_average, loss, loss_error, gradient, gradient_error, acceptance,
                 learning_rate, seconds, trees, state_share; (iteration, parameter) parameters
    scan/        (radius) loss, loss_error, gradient, gradient_error, mean, mean_error, sd, sd_error, acceptance
    spectrum/    the same, at the start, the optimum and further radii; (radius, event) event_mean, event_error,
                 event_accepted; (event) key
    per_event/   of a run with task per-event: (event) key, radius, left, agree; (event, start) ends; (trees) the columns of
                 scan/, on fresh trees and on those that the radii were chosen on; (trees, event) event_mean

Rows are written first and the group's attribute ``n_complete`` is moved last, each file by an atomic rename; rows from
``n_complete`` on mean nothing. There is one writer, the process that drives the run, and it holds a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import ArrayLike

from djservice.errors import StoreError

FORMAT = 1
GROUPS = ("history", "scan", "spectrum", "per_event")

HISTORY = (
    "radius",
    "radius_average",
    "loss",
    "loss_error",
    "gradient",
    "gradient_error",
    "acceptance",
    "learning_rate",
    "seconds",
    "trees",
    "state_share",
)
SCAN = ("loss", "loss_error", "gradient", "gradient_error", "mean", "mean_error", "sd", "sd_error", "acceptance")
SPECTRUM = SCAN
#: Per event, with the kind of number.
PER_EVENT = {"radius": "f8", "left": "i8", "agree": "i8"}
SPECTRUM_EVENT = ("event_mean", "event_error", "event_accepted")

#: Rows of a history in one file: one write touches one file per array.
ROWS_PER_CHUNK = 512
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
        iterations: int,
        scan_radii: Sequence[float],
        spectrum_radii: int,
        keys: ArrayLike,
        parameters: Sequence[str] = ("radius",),
        starts: Sequence[float] = (),
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
        iterations
            Length of the history; a longer one continues a store that is there.
        scan_radii, spectrum_radii
            Radii of the scan, and number of radii of the spectrum.
        keys
            Identities of all events, shape (event,), in the order of the input.
        parameters
            Names of what is learned.
        starts
            Radii from which the radius of each event is looked for; none for a global radius alone.

        Raises
        ------
        StoreError
            If it cannot be written, belongs to another run (naming what differs), or is in use.
        """
        path = Path(path)
        if not path.exists():
            _create(
                path, attributes, numbers, iterations, scan_radii, spectrum_radii, np.asarray(keys), parameters, starts
            )
        elif _is_store(path) and _is_empty(path) and _group(path, "r").attrs["numbers"] != dict(numbers):
            remove(path)  # of a run that failed before its first row, and was mended
            _create(
                path, attributes, numbers, iterations, scan_radii, spectrum_radii, np.asarray(keys), parameters, starts
            )
        elif not _is_store(path):
            raise StoreError(f"{path}: is there and is not the store of a djservice run; choose another output.store.")
        with _lock(path):
            root = _group(path, "r+")
            _same_run(path, root, numbers)
            store = cls(path, root)
            if store.n_complete("history") > iterations:
                raise StoreError(
                    f"{path}: holds {store.n_complete('history')} iterations and optimiser.iterations is {iterations}; ask for "
                    "at least as many, or choose another output.store."
                )
            store._drop_consolidated()
            store._lengthen(iterations)
            if starts and "per_event" not in root:  # of a global run, which goes on
                store._add_per_event(np.asarray(keys), starts)
            with _clear_errors(path):
                root.attrs.update({**attributes, "numbers": {**cast(dict[str, Any], root.attrs["numbers"]), **numbers}})
            yield store

    @property
    def groups(self) -> list[str]:
        """The groups that this run has."""
        return [name for name in GROUPS if name in self.root]

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

    def _lengthen(self, iterations: int) -> None:
        """Make the history long enough; repeated harmlessly if a process died in the middle."""
        with _clear_errors(self.path):
            for name in (*HISTORY, "iteration", "parameters"):
                array = self._array("history", name)
                if array.shape[0] < iterations:
                    array.resize((iterations, *array.shape[1:]))
            number = self._array("history", "iteration")
            number[:] = np.arange(number.shape[0])

    def _add_per_event(self, keys: Any, starts: Sequence[float]) -> None:
        """Build the group aside and rename it into place."""
        building = self.path / f".per_event.{os.getpid()}"
        with _clear_errors(self.path), contextlib.ExitStack() as leftovers:
            leftovers.callback(shutil.rmtree, building, ignore_errors=True)
            _create_per_event(zarr.open_group(str(building), mode="w"), keys, starts)
            os.rename(building / "per_event", self.path / "per_event")

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


def _create(
    path: Path,
    attributes: Mapping[str, Any],
    numbers: Mapping[str, Any],
    iterations: int,
    scan_radii: Sequence[float],
    spectrum_radii: int,
    keys: Any,
    parameters: Sequence[str],
    starts: Sequence[float],
) -> None:
    """Build the whole layout beside ``path`` and rename it into place, so that a store is there complete or not at all."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    with _clear_errors(path), contextlib.ExitStack() as leftovers:
        leftovers.callback(shutil.rmtree, building, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(str(building), mode="w")
        rows = {"iteration": (iterations, ROWS_PER_CHUNK)}
        history = root.create_group("history", attributes={"n_complete": 0, "parameters": list(parameters)})
        for name in HISTORY:
            _array(history, name, "f8", rows)
        _array(history, "parameters", "f8", {**rows, "parameter": (len(parameters), len(parameters))})
        _array(history, "iteration", "i8", rows)[:] = np.arange(iterations)
        radii = len(scan_radii)
        scan = root.create_group("scan", attributes={"n_complete": 0})
        _array(scan, "radius", "f8", {"radius": (radii, radii)})[:] = np.asarray(scan_radii)
        for name in SCAN:
            _array(scan, name, "f8", {"radius": (radii, radii)})
        spectrum = root.create_group("spectrum", attributes={"n_complete": 0})
        for name in ("radius", *SPECTRUM):
            _array(spectrum, name, "f8", {"radius": (spectrum_radii, spectrum_radii)})
        event = {"event": (len(keys), 65536)}
        for name in SPECTRUM_EVENT:
            kind = "i8" if name == "event_accepted" else "f8"
            _array(spectrum, name, kind, {"radius": (spectrum_radii, 1), **event})
        _array(spectrum, "key", "u8", event)[:] = keys
        if starts:
            _create_per_event(root, keys, starts)
        root.attrs.update({**attributes, "numbers": dict(numbers), "djservice_format": FORMAT})
        try:
            os.rename(building, path)
        except OSError:
            if not _is_store(path):  # else another process was faster, and holds or held the lock
                raise


def _create_per_event(root: zarr.Group, keys: Any, starts: Sequence[float]) -> None:
    group = root.create_group("per_event", attributes={"n_complete": 0, "n_scored": 0})
    event = {"event": (len(keys), 65536)}
    _array(group, "key", "u8", event)[:] = keys
    _array(group, "start", "f8", {"start": (len(starts), len(starts))})[:] = np.asarray(starts)
    for name, kind in PER_EVENT.items():
        _array(group, name, kind, event)
    _array(group, "ends", "f8", {**event, "start": (len(starts), len(starts))})
    for name in SCAN:
        _array(group, name, "f8", {"trees": (2, 2)})
    _array(group, "event_mean", "f8", {"trees": (2, 1), **event})


def _array(group: zarr.Group, name: str, kind: str, dimensions: Mapping[str, tuple[int, int]]) -> Any:
    """An array whose ``dimensions`` are name -> (length, length of a chunk); floats are NaN until written."""
    return group.create_array(
        name,
        shape=tuple(length for length, _ in dimensions.values()),
        chunks=tuple(
            max(1, min(length, chunk)) if key != "iteration" else chunk for key, (length, chunk) in dimensions.items()
        ),
        dtype=kind,
        dimension_names=tuple(dimensions),
        fill_value=np.nan if kind == "f8" else 0,
    )


def _same_run(path: Path, root: zarr.Group, numbers: Mapping[str, Any]) -> None:
    """Refuse the store of another run, naming every key that differs."""
    there: Any = root.attrs["numbers"]
    differing = [key for key in {**there, **numbers} if there.get(key, _MISSING) != numbers.get(key, _MISSING)]
    if "task" not in there or "task" not in numbers:  # one R per event can be added, and need not be asked for again
        differing = [key for key in differing if key != "task" and not key.startswith("per_event.")]
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
