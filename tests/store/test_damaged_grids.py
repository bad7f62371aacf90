"""Damage of every file of a grid: named, or computed again to the same bits."""

import contextlib
import random
import shutil
from pathlib import Path

import pytest
from damaged_stores import Content, Damage, cases, flip

from djservice.errors import StoreError
from djservice.store.grid_store import COLUMNS, open_grid, read_grid
from djservice.store.verify import verify_store


def write_grid(path: Path, cells: int = 8) -> tuple[Content, int]:
    """Fill cells of a grid, and return what it says, and how many were done before."""
    rigidities, radii = (1.0, 2.0), (0.5, 0.9)
    shown = {"observable": {"name": "m", "units": "GeV"}, "versions": {"numpy": "2.0"}}
    with open_grid(path, (1, 2, 2, 2), rigidities, radii, {"code": "1"}, shown) as grid:
        done = grid.n_complete
        for cell in range(done, cells):
            grid.write({name: len(name) + cell / 7 for name in COLUMNS})
    return read_whole_grid(path), done


def read_whole_grid(path: Path) -> Content:
    grid = read_grid(path)
    return {name: grid[name].tobytes() for name in (*COLUMNS, "rigidity", "radius")} | grid.attrs


@pytest.mark.parametrize("only", [flip, pytest.param(None, marks=pytest.mark.long)])
def test_no_damage_of_a_grid_is_silent(only: Damage | None, tmp_path: Path) -> None:
    chance, path, stopped = random.Random(3), tmp_path / "s.zarr", tmp_path / "stopped.zarr"
    whole, _ = write_grid(tmp_path / "whole.zarr")
    write_grid(stopped, 5)
    for source in (tmp_path / "whole.zarr", stopped):
        before = read_whole_grid(source)
        every = cases(source)
        for file, damage in every if only is None else [(chance.choice(every)[0], only)]:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(source, path)
            damage(path / file, chance)
            with contextlib.suppress(StoreError):
                assert read_whole_grid(path) == before, file
            try:
                verify_store(path)
                assert read_whole_grid(path) == before, file
            except StoreError as error:
                assert file in str(error)
            try:
                assert write_grid(path)[0] == whole, file
            except StoreError:
                assert file == "zarr.json"
            else:
                verify_store(path)
