"""Copies of metadata: those that Zarr makes, in groups and in groups within."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr

from djservice.store.columns import ModelColumns, StoreColumns
from djservice.store.copies import write_copies
from djservice.store.fence import WRITER
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store

KEYS, ONES = np.arange(3, dtype=np.uint64), np.ones(3)


@pytest.mark.parametrize("group", ["", "history", "radius_model"])
def test_copies_are_those_that_zarr_makes(group: str, tmp_path: Path) -> None:
    model = ModelColumns("radius_model", ("a", "b"), 5, {"held_back": (KEYS, ONES, ONES)})
    shape = StoreColumns(5, [0.4], 2, KEYS, ONES, model=model)
    with Store.open(tmp_path / "a.zarr", {"run": {}}, {"seed": 1}, shape):
        pass
    file = tmp_path / "a.zarr" / group / "zarr.json"
    with warnings.catch_warnings():  # these copies are not in the specification of Zarr yet
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(LocalFolder(str(tmp_path / "a.zarr")).group("r+").store, group)
    expected = json.loads(file.read_text())
    expected["consolidated_metadata"]["metadata"].pop(WRITER, None)
    write_copies(LocalFolder(str(tmp_path / "a.zarr")))
    assert json.loads(file.read_text()) == expected
