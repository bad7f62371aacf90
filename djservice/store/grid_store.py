"""The store of a grid: a scan or a comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.store.access import clear_errors
from djservice.store.columns import SCAN
from djservice.store.filled import FilledStore, opened
from djservice.store.fresh import NewGroup, create_array
from djservice.store.location import locate

GRID_FORMAT = 3
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "cpu")
DIMENSIONS = ("estimator", "rigidity", "radius", "repetition")


class GridStore(FilledStore):
    """The cells of a grid, which are filled in order."""

    noun, marker, format = "cells", "djservice_grid", GRID_FORMAT
    absent = "there is no grid here. Give the store that `djservice scan` or `compare` wrote."
    foreign = "not a grid of `djservice scan` or `compare`, or its zarr.json is damaged."
    another = "another grid: {} differ. Choose another --output."

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
    """Open a grid for reading (:meth:`GridStore.read`)."""
    return GridStore.read(path)


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

    units = shown.get("observable", {}).get("units", "")

    def fill(root: NewGroup) -> None:
        chunks = dict(zip(DIMENSIONS, zip(shape, (1, 1, *shape[2:]), strict=True), strict=True))
        for name in COLUMNS:
            create_array(root, name, "f8", chunks, units=units)
        for name, values in (("rigidity", rigidities), ("radius", radii)):
            create_array(root, name, "f8", {name: (len(values), len(values))}, values)
        root.attrs.update(
            {GridStore.marker: GRID_FORMAT, "n_complete": 0, "axes": axes, "facts": facts, **shown}
        )

    with opened(
        GridStore,
        locate(path),
        fill,
        {"facts": facts, "axes": axes},
        shown["versions"],
        axes=len(DIMENSIONS),
    ) as grid:
        yield grid
