"""The store of a grid: a scan or a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from djservice.errors import StoreError
from djservice.store.columns import SCAN
from djservice.store.location import Location, locate
from djservice.store.stretches import continued, latest_change

GRID_FORMAT = 1
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "gradient_tree_error", "cpu")
_DIMENSIONS = ("estimator", "rigidity", "radius", "repetition")


class OpenGrid:
    """A grid that this process writes.

    Attributes
    ----------
    changes
        A line about the versions, if they changed where the grid is continued.
    """

    def __init__(self, where: Location, versions: Mapping[str, str]) -> None:
        self._where, self._root = where, where.group("r+")
        before: Any = self._root.attrs.get("stretches") or [
            {"from": {}, "versions": self._root.attrs.get("versions")}
        ]
        rows = {"cells": self.n_complete} if self.n_complete else {}
        stretches = continued(before, rows, versions)
        self.changes = latest_change(stretches, rows)
        self._root.attrs.update({"stretches": stretches, "versions": dict(versions)})

    @property
    def n_complete(self) -> int:
        """Number of cells that are complete."""
        complete: Any = self._root.attrs["n_complete"]
        return int(complete)

    def write(self, cell: tuple[int, ...], numbers: Mapping[str, float]) -> None:
        """Write the next cell, then count it.

        Raises
        ------
        StoreError
            If it cannot be written, or another process writes the store now.
        """
        with _clear_errors(self._where):
            for name, value in numbers.items():
                self._root[name][cell] = value  # type: ignore[index]
            self._root.attrs["n_complete"] = self.n_complete + 1


def read_grid(path: str | Path) -> zarr.Group:
    """Open a grid for reading.

    Raises
    ------
    StoreError
        If there is no grid at ``path``.
    """
    try:
        root = locate(path).group("r")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise StoreError(
            f"{path}: there is no grid here. Give the store that `djservice scan` or `compare` "
            "wrote."
        ) from None
    if root.attrs.get("djservice_grid") != GRID_FORMAT:
        raise StoreError(f"{path}: not a grid of `djservice scan` or `compare`.")
    return root


@contextlib.contextmanager
def open_grid(
    path: Path,
    shape: tuple[int, ...],
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    facts: dict[str, Any],
    shown: dict[str, Any],
) -> Iterator[OpenGrid]:
    """Create the store of a grid, or open an existing one of the same grid, and hold its lock.

    Raises
    ------
    StoreError
        If the store is that of another grid, cannot be written, or is in use.
    """
    where = locate(path)
    axes = {"rigidity": rigidities, "radius": radii}
    with contextlib.ExitStack() as lock:
        with _clear_errors(where):
            if not where.exists():
                where.create(lambda root: _create(root, shape, axes, {"facts": facts, **shown}))
            _same_grid(path, shape, axes, facts)
            lock.enter_context(where.lock())
            _same_grid(path, shape, axes, facts)  # another process may have replaced it
            grid = OpenGrid(where, shown["versions"])
        yield grid


def _create(
    root: zarr.Group,
    shape: tuple[int, ...],
    axes: Mapping[str, tuple[float, ...]],
    attributes: Mapping[str, Any],
) -> None:
    for name in COLUMNS:
        root.create_array(
            name,
            shape=shape,
            chunks=(1, 1, *shape[2:]),
            dtype="f8",
            fill_value=np.nan,
            dimension_names=_DIMENSIONS,
        )
    for name, values in axes.items():
        array = root.create_array(name, shape=(len(values),), dtype="f8", dimension_names=(name,))
        array[:] = np.asarray(values)
    root.attrs.update({"djservice_grid": GRID_FORMAT, "n_complete": 0, **attributes})


def _same_grid(
    path: Path,
    shape: tuple[int, ...],
    axes: Mapping[str, tuple[float, ...]],
    facts: Mapping[str, Any],
) -> None:
    """Refuse a store that is not that of this grid."""
    grid = read_grid(path)
    stored: Any = grid.attrs["facts"]
    differing = [key for key in facts if stored.get(key) != facts[key]]
    differing += [
        name for name, values in axes.items() if np.asarray(grid[name]).tolist() != list(values)
    ]
    loss: Any = grid["loss"]
    differing += ["repetitions"] if loss.shape[3] != shape[3] else []
    if differing:
        raise StoreError(
            f"{path}: another grid: {', '.join(differing)} differ. Choose another --output."
        )


@contextlib.contextmanager
def _clear_errors(where: Location) -> Iterator[None]:
    """Turn errors of the operating system into errors of the store."""
    try:
        where.check()
        yield
    except KeyError as error:
        where.check()
        raise StoreError(
            f"{where}: {error} is missing: the store was damaged, or somebody is removing it. Run "
            "the same command once it is removed, or choose another --output."
        ) from error
    except where.errors as error:
        where.check()
        raise StoreError(
            f"{where}: cannot be written: {getattr(error, 'strerror', None) or error}. Free space "
            "or correct the permissions; the same command continues from there."
        ) from error
