"""The store of a grid: a scan or a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from djservice.errors import StoreError
from djservice.store.checked import Damage, need_format
from djservice.store.columns import SCAN
from djservice.store.fresh import create_array, packed
from djservice.store.location import LocalFolder
from djservice.store.repair import mend
from djservice.store.written import WrittenGroup

GRID_FORMAT = 2
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "gradient_tree_error", "cpu")
DIMENSIONS = ("estimator", "rigidity", "radius", "repetition")


class GridStore:
    """The cells of a grid, which are filled in order.

    Attributes
    ----------
    mended
        What was damaged when the grid was opened for writing, and is computed again.
    """

    def __init__(self, where: LocalFolder, mode: str) -> None:
        self.where = where
        self.group = WrittenGroup(where, where.group(mode))
        self.mended: list[Damage] = []

    def __str__(self) -> str:
        return str(self.where)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes: facts, versions, observable, n_complete."""
        return self.group.attributes

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An axis, or a column of shape (estimator, rigidity, radius, repetition).

        Cells that are not done are NaN.
        """
        rows = self.group.rows(name)
        cells = np.full(self.group.metadata(name)["shape"], np.nan)
        cells.reshape(-1)[: len(rows)] = rows
        return cells

    def write(self, cell: int, numbers: Mapping[str, float]) -> None:
        """Write the columns of a cell.

        Raises
        ------
        StoreError
            If the disk is full or the folder cannot be written. Earlier cells are kept.
        """
        try:
            rows = {name: [value] for name, value in numbers.items()}
            self.group.append(cell, rows, n_complete=cell + 1)
        except OSError as error:
            raise _not_written(self.where, error) from error


def read_grid(path: str | Path) -> GridStore:
    """Open a grid for reading.

    Raises
    ------
    StoreError
        If there is no grid at ``path``, or it is damaged.
    """
    return _open(LocalFolder(str(path)), "r")


def open_grid(
    path: Path,
    shape: tuple[int, ...],
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    facts: dict[str, Any],
    shown: dict[str, Any],
) -> GridStore:
    """Create the store of a grid, or open an existing one of the same grid.

    What is damaged in an existing one is computed again.

    Raises
    ------
    StoreError
        If the store is that of another grid, or cannot be written or mended.
    """

    axes: dict[str, Any] = {
        "rigidity": list(rigidities),
        "radius": list(radii),
        "repetitions": shape[3],
    }

    def fill(root: zarr.Group) -> None:
        chunks = dict(zip(DIMENSIONS, zip(shape, (1, 1, *shape[2:]), strict=True), strict=True))
        for name in COLUMNS:
            create_array(root, name, "f8", chunks)
        for name, values in (("rigidity", rigidities), ("radius", radii)):
            create_array(root, name, "f8", {name: (len(values), len(values))}, values)
        root.attrs.update(
            {"djservice_grid": GRID_FORMAT, "n_complete": 0, "axes": axes, "facts": facts, **shown}
        )

    where = LocalFolder(str(path))
    differing: list[str] = []
    try:
        if not where.exists():
            where.create(fill, axes=len(DIMENSIONS))
        grid = _open(where, "r+")
        for requested, name in ((facts, "facts"), (axes, "axes")):
            stored = grid.attrs[name]
            differing += [key for key in requested if stored.get(key) != requested[key]]
        if not differing:
            grid.mended = mend(grid.group, lambda: packed(fill, len(DIMENSIONS)))
    except OSError as error:
        raise _not_written(where, error) from error
    if differing:
        raise StoreError(
            f"{path}: another grid: {', '.join(differing)} differ. Choose another --output."
        )
    return grid


def _open(where: LocalFolder, mode: str) -> GridStore:
    text = where.read("zarr.json")
    if text is None:
        raise StoreError(
            f"{where}: there is no grid here. Give the store that `djservice scan` or `compare` "
            "wrote."
        )
    if b'"djservice_grid"' not in text:
        raise StoreError(
            f"{where}: not a grid of `djservice scan` or `compare`, or its zarr.json is damaged."
        )
    need_format(where, "djservice_grid", GRID_FORMAT)
    return GridStore(where, mode)


def _not_written(where: LocalFolder, error: OSError) -> StoreError:
    return StoreError(
        f"{where}: cannot be written: {error.strerror or error}. "
        "Free space or correct the permissions; the same command continues from there."
    )
