"""The store of a grid: a scan or a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from djservice.core.atomic import written_aside
from djservice.errors import StoreError
from djservice.store.columns import SCAN

GRID_FORMAT = 1
#: Columns of a cell: those of a scan, the error of the gradient from the trees alone, and the CPU
#: time of a tree in microseconds.
COLUMNS = (*SCAN, "gradient_tree_error", "cpu")


def read_grid(path: str | Path) -> zarr.Group:
    """Open a grid for reading.

    Raises
    ------
    StoreError
        If there is no grid at ``path``.
    """
    try:
        root = zarr.open_group(str(path), mode="r", zarr_format=3)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise StoreError(
            f"{path}: there is no grid here. Give the store that `djservice scan` or `compare` "
            "wrote."
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
    """Create the store of a grid, or open an existing one of the same grid.

    Raises
    ------
    StoreError
        If the store is that of another grid, or cannot be written.
    """
    if path.exists():
        grid = read_grid(path)
        axes = {name: np.asarray(grid[name]).tolist() for name in ("rigidity", "radius")}
        requested = {"rigidity": list(rigidities), "radius": list(radii)}
        stored: Any = grid.attrs["facts"]
        differing = [key for key in facts if stored.get(key) != facts[key]]
        differing += [key for key in requested if axes[key] != requested[key]]
        loss: Any = grid["loss"]
        differing += ["repetitions"] if loss.shape[3] != shape[3] else []
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
