"""The numbers of a store as tables: columns of equal length, with units and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import StoreError
from djservice.store.checked import CheckedGroup
from djservice.store.location import locate
from djservice.store.verify import kind_of


@dataclass(frozen=True)
class Column:
    """Values with their units and meaning.

    Attributes
    ----------
    values
        Shape (row,): numbers or texts; or an awkward array with a list of numbers in each row.
    units, long_name
        Units, "1" without any, and what the numbers are.
    """

    values: Any
    units: str = "1"
    long_name: str = ""


Table = dict[str, Column]


@dataclass
class Contents:
    """What is exported of a store.

    Attributes
    ----------
    tables
        Tables by name. ``events`` or ``jets`` come first, if there is one.
    facts
        The attributes of the store.
    """

    tables: dict[str, Table]
    facts: Mapping[str, Any] = field(repr=False)


def contents_of(path: str | Path, jets: int = 0) -> Contents:
    """Everything that is exported of a store.

    Parameters
    ----------
    path
        Folder or URL of any kind of store.
    jets
        Number of leading jets of each event to cluster and add; only for a run.

    Raises
    ------
    DjserviceError
        If there is no store, it is damaged or holds no number yet, or the jets cannot be had.
    """
    from djservice.exports.of_run import run_contents

    where, marker = locate(path), kind_of(path)
    if marker == "djservice_format":
        return run_contents(path, jets)
    if jets:
        raise StoreError(f"{where}: expected the store of a run for --jets. Leave out --jets.")
    if marker == "djservice_grid":
        return _grid_contents(path)
    if marker == "djservice_distances":
        return _distance_contents(path)
    group = CheckedGroup(where, where.group("r"))
    files = files_table(group.attributes["inputs"])
    return Contents({"events": columns_of(group), "files": files}, group.attributes)


def columns_of(group: CheckedGroup, rows: int | None = None) -> Table:
    """The arrays of a group that have one dimension, up to a number of rows."""
    table: Table = {}
    for name in group.attributes["arrays"]:
        if len(group.metadata(name)["shape"]) == 1:
            table[name] = described(group, name, group.rows(name)[:rows])
    return table


def described(group: CheckedGroup, name: str, values: NDArray[Any]) -> Column:
    """Values with the units and the meaning that an array of a group has."""
    meaning = group.metadata(name)["attributes"]
    return Column(values, meaning["units"], meaning["long_name"])


def files_table(inputs: list[dict[str, Any]]) -> Table:
    """The input files by the number that events name them with."""
    return {
        "file": Column(np.arange(len(inputs), dtype=np.int32), "1", "number of the file"),
        "path": Column(np.array([str(each["path"]) for each in inputs]), "1", "path or URL"),
    }


def _grid_contents(path: str | Path) -> Contents:
    """A scan or a comparison: one row for each cell that is done."""
    from djservice.store.grid_store import COLUMNS, read_grid

    grid = read_grid(path)
    done, attributes = grid.n_complete, grid.attrs
    axes = [np.arange(grid["loss"].shape[0]), grid["rigidity"], grid["radius"]]
    axes.append(np.arange(grid["loss"].shape[3]))
    names = ("estimator", "rigidity", "radius", "repetition")
    meanings = ("number of the estimator", "rigidity alpha", "jet radius R", "repetition")
    mesh = [axis.ravel()[:done] for axis in np.meshgrid(*axes, indexing="ij")]
    cells = {
        name: Column(values, "1", meaning)
        for name, values, meaning in zip(names, mesh, meanings, strict=True)
    }
    for name in COLUMNS:
        cells[name] = described(grid.group, name, grid[name].ravel()[:done])
    return Contents({"cells": cells}, attributes)


def _distance_contents(path: str | Path) -> Contents:
    """A matrix of distances: its jets, and one row for each pair that is done."""
    from djservice.store.distance_store import read_distances

    store = read_distances(path)
    first, second = np.triu_indices(len(store["key"]), k=1)
    first, second = first.astype(np.int32), second.astype(np.int32)
    distance = store["distance"][first, second]
    done = np.isfinite(distance)
    jets = columns_of(store.group)
    pairs = {
        "first": Column(first[done], "1", "row of a jet in the table jets"),
        "second": Column(second[done], "1", "row of another jet"),
        "distance": described(store.group, "distance", distance[done]),
    }
    return Contents({"jets": jets, "pairs": pairs}, store.attrs)
