"""The store of a scan or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from djservice.core.atomic import written_aside
from djservice.errors import StoreError
from djservice.store.columns import SCAN

GRID_FORMAT = 1
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU of a tree in microseconds.
COLUMNS = (*SCAN, "gradient_tree_error", "cpu")


def read_grid(path: str | Path) -> zarr.Group:
    """A grid for reading.

    Raises
    ------
    StoreError
        If there is none.
    """
    try:
        root = zarr.open_group(str(path), mode="r")
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise StoreError(
            f"{path}: there is no grid here. Give the store that `djservice scan` or `compare` wrote."
        ) from None
    if root.attrs.get("djservice_grid") != GRID_FORMAT:
        raise StoreError(f"{path}: not a grid of `djservice scan` or `compare`.")
    return root


def open_grid(
    path: Path,
    shape: tuple[int, ...],
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    facts: dict[str, Any],
    shown: dict[str, Any],
) -> zarr.Group:
    """Create the store, or continue the one that is there if it is the same grid."""
    if path.exists():
        there = read_grid(path)
        axes = {name: np.asarray(there[name]).tolist() for name in ("rigidity", "radius")}
        wanted = {"rigidity": list(rigidities), "radius": list(radii)}
        same: Any = there.attrs["facts"]
        differing = [key for key in facts if same.get(key) != facts[key]]
        differing += [key for key in wanted if axes[key] != wanted[key]]
        differing += ["repetitions"] if there["loss"].shape[3] != shape[3] else []  # type: ignore[union-attr]
        if differing:
            raise StoreError(
                f"{path}: another grid: {', '.join(differing)} differ. Choose another --output."
            )
        return zarr.open_group(str(path), mode="r+")
    dimensions = ("estimator", "rigidity", "radius", "repetition")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            root = zarr.open_group(str(aside), mode="w")
            for name in COLUMNS:
                root.create_array(
                    name,
                    shape=shape,
                    chunks=(1, 1, *shape[2:]),
                    dtype="f8",
                    fill_value=np.nan,
                    dimension_names=dimensions,
                )
            for name, values in (("rigidity", rigidities), ("radius", radii)):
                array = root.create_array(
                    name, shape=(len(values),), dtype="f8", dimension_names=(name,)
                )
                array[:] = np.asarray(values)
            root.attrs.update(
                {"djservice_grid": GRID_FORMAT, "n_complete": 0, "facts": facts, **shown}
            )
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}.") from error
    return zarr.open_group(str(path), mode="r+")
