"""Damage of every file of a grid, of distances and of shapes: named, or computed again to the same bits."""

import contextlib
import random
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_stores import SAMPLE, Content, cases, sample

from djservice.errors import StoreError
from djservice.store.distance_store import open_distances, read_distances
from djservice.store.grid_store import COLUMNS, open_grid, read_grid
from djservice.store.jet_table import JetTable
from djservice.store.shape_store import open_shapes, read_shapes
from djservice.store.verify import verify_store

VERSIONS = {"numpy": "2.0"}
NUMBER, GROUP = 12, 3
JETS = JetTable(
    **{
        field.name: np.arange(NUMBER).astype("f8" if field.name == "pt" else field.type[8:-1])
        for field in fields(JetTable)
        for field.type in [str(field.type).replace("NDArray[np.", "NDArray[")]
    }
)


def grid_cells(path: Path, cells: int) -> None:
    shown = {"observable": {"name": "m", "units": "GeV"}, "versions": VERSIONS}
    with open_grid(path, (1, 2, 2, 2), (1.0, 2.0), (0.5, 0.9), {"code": "1"}, shown) as grid:
        for cell in range(grid.n_complete, cells):
            grid.write({name: len(name) + cell / 7 for name in COLUMNS})


def grid_content(path: Path) -> Content:
    grid = read_grid(path)
    return {name: grid[name].tobytes() for name in (*COLUMNS, "rigidity", "radius")} | grid.attrs


def stripes(path: Path, rows: int) -> None:
    matrix = np.abs(np.subtract.outer(np.arange(NUMBER), np.arange(NUMBER))) / 7.0
    facts = {"distance": {"norm": False}, "code": "1"}
    with open_distances(path, JETS, GROUP, facts, VERSIONS) as store:
        for row in range(store.n_complete, rows, GROUP):
            store.write(matrix[row : row + GROUP, row:])


def groups_of_shapes(path: Path, rows: int) -> None:
    lengths: dict[str, tuple[int, ...]] = {"value": (), "prong_pt": (2,), "part_weight": (2, 1)}
    with open_shapes(path, JETS, GROUP, lengths, {"code": "1"}, VERSIONS) as store:
        for row in range(store.n_complete, rows, GROUP):
            numbers = np.arange(row, row + GROUP) / 7.0
            store.write(
                {
                    name: np.broadcast_to(numbers.reshape(-1, *(1 for _ in of)), (GROUP, *of))
                    for name, of in lengths.items()
                }
            )


def filled_content(read: Callable[[Path], Any]) -> Callable[[Path], Content]:
    def content(path: Path) -> Content:
        store = read(path)
        return {name: store[name].tobytes() for name in store.attrs["arrays"]} | store.attrs

    return content


#: What fills a store up to a row, what it says, and how many rows it has when it is stopped and finished.
KINDS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path], Content], int, int]] = {
    "grid": (grid_cells, grid_content, 5, 8),
    "distances": (stripes, filled_content(read_distances), 6, NUMBER),
    "shapes": (groups_of_shapes, filled_content(read_shapes), 6, NUMBER),
}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_of_a_store_that_is_filled_is_silent(
    kind: str, every: bool, tmp_path: Path
) -> None:
    fill, content, few, all_rows = KINDS[kind]
    chance, path, stopped = random.Random(SAMPLE + kind), tmp_path / "s.zarr", tmp_path / "t.zarr"
    fill(tmp_path / "whole.zarr", all_rows)
    whole = content(tmp_path / "whole.zarr")
    fill(stopped, few)
    for source in (tmp_path / "whole.zarr", stopped):
        before = content(source)
        tried = cases(source) if every else chance.sample(sample(source, chance), 2)
        for file, damage in tried:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(source, path)
            damage(path / file, chance)
            with contextlib.suppress(StoreError):
                assert content(path) == before, file
            try:
                verify_store(path)
                assert content(path) == before, file
            except StoreError as error:
                assert file in str(error)
            try:
                fill(path, all_rows)
            except StoreError as error:
                assert file == "zarr.json", (file, error)
            else:
                assert content(path) == whole, (file, damage)
                verify_store(path)
            print(kind, source.name, damage.__name__, file, "well", flush=True)
