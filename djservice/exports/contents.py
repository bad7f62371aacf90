"""contents_of(store): the tables of a store of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from djservice.errors import StoreError
from djservice.exports.of_run import run_contents
from djservice.exports.tables import Column, Contents, columns_of, described, files_table
from djservice.store.checked import CheckedGroup
from djservice.store.location import locate
from djservice.store.verify import kind_of


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
    where, marker = locate(path), kind_of(path)
    if marker == "djservice_format":
        return run_contents(path, jets)
    if jets:
        raise StoreError(f"{where}: expected the store of a run for --jets. Leave out --jets.")
    if marker == "djservice_grid":
        return _grid_contents(path)
    if marker == "djservice_distances":
        return _distance_contents(path)
    if marker == "djservice_shapes":
        return _shape_contents(path)
    group = CheckedGroup(where, where.group("r"))
    files = files_table(group.attributes["inputs"])
    return Contents({"events": columns_of(group), "files": files}, group.attributes)


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


def _shape_contents(path: str | Path) -> Contents:
    """Fitted shapes: the jets that are done, and one row for each of their prongs."""
    from djservice.store.shape_store import read_shapes

    store = read_shapes(path)
    tables = {"jets": columns_of(store.group, store.n_complete)}
    if "prong_radius" in store:
        jet, prong = np.indices(store["prong_radius"].shape, dtype=np.int32)
        prongs = {
            "jet": Column(jet.ravel(), "1", "row of the jet in the table jets"),
            "prong": Column(prong.ravel(), "1", "number of the prong, in falling pT"),
        }
        for name in store.attrs["arrays"]:
            values = store[name]
            if values.ndim == 2:
                prongs[name] = described(store.group, name, values.ravel())
            for part in range(values.shape[2] if values.ndim == 3 else 0):
                column = described(store.group, name, values[:, :, part].ravel())
                prongs[f"{name}_{part}"] = column
        tables["prongs"] = prongs
    return Contents(tables, store.attrs)
