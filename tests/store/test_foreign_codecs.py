"""A store of Zarr format 2 can have a filter that unpickles; none is opened, by any door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from djservice.errors import StoreError
from djservice.store.grid_store import read_grid
from djservice.store.location import locate
from djservice.store.run_store import Store, check_it_continues, remove


@pytest.fixture
def version_two(tmp_path: Path) -> Path:
    """What looks like a run and like a grid, with a pickle that leaves a file behind."""
    root = zarr.open_group(str(tmp_path / "two.zarr"), mode="w", zarr_format=2)
    root.attrs.update({"djservice_format": 2, "djservice_grid": 1, "numbers": {}, "facts": {}})
    columns = root.create_group("history")
    columns.attrs["n_complete"] = 1
    columns.create_array("radius", data=np.ones(1))
    metadata = tmp_path / "two.zarr/history/radius/.zarray"
    edited: dict[str, Any] = json.loads(metadata.read_text())
    edited |= {"dtype": "|O", "fill_value": None, "filters": [{"id": "pickle"}], "compressor": None}
    metadata.write_text(json.dumps(edited))
    trap = f"cos\nsystem\n(S'touch {tmp_path / 'trapped'}'\ntR.".encode()
    (tmp_path / "two.zarr/history/radius/0").write_bytes(trap)
    return tmp_path / "two.zarr"


@pytest.mark.parametrize(
    "door",
    [
        lambda path: Store.read(path).column("history", "radius"),
        lambda path: read_grid(path)["history/radius"][...],
        lambda path: check_it_continues(path, {}),
        remove,
    ],
)
def test_a_store_of_format_two_is_not_opened(
    version_two: Path, door: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numcodecs.pickles.ALLOW_UNSAFE_PICKLE_DECODE", True)  # as older versions
    with pytest.raises(StoreError, match=r"two\.zarr: "):
        door(version_two)
    assert not (version_two.parent / "trapped").exists() and version_two.exists()
    with pytest.raises(ValueError, match="No group found"):
        locate(version_two).group("r+")
