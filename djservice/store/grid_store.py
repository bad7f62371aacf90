"""The store of a grid: a scan or a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from djservice.errors import StoreError
from djservice.store.access import clear_errors
from djservice.store.checked import attributes_of, need_format
from djservice.store.columns import SCAN
from djservice.store.filled import FilledStore, opened
from djservice.store.fresh import create_array
from djservice.store.location import Location, locate
from djservice.store.meanings import describe

GRID_FORMAT = 3
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "cpu")
DIMENSIONS = ("estimator", "rigidity", "radius", "repetition")


class GridStore(FilledStore):
    """The cells of a grid, which are filled in order."""

    noun = "cells"

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An axis, or a column of shape (estimator, rigidity, radius, repetition).

        Cells that are not done are NaN.
        """
        with clear_errors(self.where, "read"):
            rows = self.group.rows(name)
            cells = np.full(self.group.metadata(name)["shape"], np.nan)
        cells.reshape(-1)[: len(rows)] = rows
        return cells

    def write(self, numbers: Mapping[str, float]) -> None:
        """Write the columns of the next cell, then count it.

        Raises
        ------
        StoreError
            If it cannot be written, or another process writes the store now. Earlier cells are
            kept.
        """
        with clear_errors(self.where):
            cell = self.n_complete
            rows = {name: [value] for name, value in numbers.items()}
            self.group.append(cell, rows, n_complete=cell + 1)


def read_grid(path: str | Path) -> GridStore:
    """Open a grid for reading.

    Raises
    ------
    StoreError
        If there is no grid at ``path``, or it is damaged.
    """
    where = locate(path)
    with clear_errors(where, "read"):
        _need_grid(where)
        return GridStore(where, "r")


@contextlib.contextmanager
def open_grid(
    path: Path,
    shape: tuple[int, ...],
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    facts: dict[str, Any],
    shown: dict[str, Any],
) -> Iterator[GridStore]:
    """Create the store of a grid, or open an existing one of the same grid, and hold its lock.

    What is damaged in an existing one is computed again.

    Raises
    ------
    StoreError
        If the store is that of another grid, cannot be written or mended, or is in use.
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
        describe(root, shown["observable"]["units"])
        root.attrs.update(
            {"djservice_grid": GRID_FORMAT, "n_complete": 0, "axes": axes, "facts": facts, **shown}
        )

    where = locate(path)
    with opened(
        GridStore,
        where,
        fill,
        lambda: _need_same_grid(where, facts, axes),
        shown["versions"],
        axes=len(DIMENSIONS),
    ) as grid:
        yield grid


def _need_grid(where: Location) -> None:
    """Refuse what is no grid of this format."""
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


def _need_same_grid(where: Location, facts: Mapping[str, Any], axes: Mapping[str, Any]) -> None:
    """Refuse a store that is not that of this grid."""
    _need_grid(where)
    stored = attributes_of(where)
    differing = [
        key
        for name, requested in (("facts", facts), ("axes", axes))
        for key in requested
        if stored[name].get(key) != requested[key]
    ]
    if differing:
        raise StoreError(
            f"{where}: another grid: {', '.join(differing)} differ. Choose another --output."
        )
