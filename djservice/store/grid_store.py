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
from djservice.store.checked import Damage, attributes_of, need_format
from djservice.store.columns import SCAN
from djservice.store.fresh import create_array, packed
from djservice.store.location import Location, locate
from djservice.store.repair import mend
from djservice.store.stretches import continued, latest_change, rewound
from djservice.store.written import WrittenGroup

GRID_FORMAT = 3
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "cpu")
DIMENSIONS = ("estimator", "rigidity", "radius", "repetition")


class GridStore:
    """The cells of a grid, which are filled in order.

    Attributes
    ----------
    mended
        What was damaged when the grid was opened for writing, and is computed again.
    changes
        A line about the versions, if they changed where the grid is continued.
    """

    def __init__(self, where: Location, mode: str) -> None:
        self.where = where
        self.group = WrittenGroup(where, where.group(mode))
        self.mended: list[Damage] = []
        self.changes: list[str] = []

    def __str__(self) -> str:
        return str(self.where)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes: facts, versions, observable, n_complete."""
        with clear_errors(self.where, "read"):
            return self.group.attributes

    @property
    def n_complete(self) -> int:
        """Number of cells that are complete."""
        return int(self.attrs["n_complete"])

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

    def continue_with(self, versions: Mapping[str, str]) -> None:
        """Note from which cell on the packages and the machine are others."""
        attributes, cells = self.attrs, self.n_complete
        before = attributes.get("stretches") or [
            {"from": {}, "versions": attributes.get("versions")}
        ]
        rows = {"cells": cells} if cells else {}
        stretches = continued(rewound(before, "cells", cells), rows, versions)
        self.changes = latest_change(stretches, rows)
        self.group.update(stretches=stretches, versions=dict(versions))


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
        root.attrs.update(
            {"djservice_grid": GRID_FORMAT, "n_complete": 0, "axes": axes, "facts": facts, **shown}
        )

    where = locate(path)
    with contextlib.ExitStack() as lock:
        with clear_errors(where):
            if not where.exists():
                where.create(fill, axes=len(DIMENSIONS))
            _need_same_grid(where, facts, axes)
            lock.enter_context(where.lock())
            _need_same_grid(where, facts, axes)  # another process may have replaced it
            grid = GridStore(where, "r+")
            grid.mended = mend(grid.group, lambda: packed(fill, len(DIMENSIONS)))
            grid.continue_with(shown["versions"])
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
