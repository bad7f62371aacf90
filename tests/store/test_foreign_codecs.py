"""Stores with codecs that djservice never writes: format 2 can unpickle, and none is opened, by any door."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from djservice.core.checksums import of_json
from djservice.errors import StoreError
from djservice.store.columns import StoreColumns
from djservice.store.grid_store import read_grid
from djservice.store.location import locate
from djservice.store.run_store import Store, check_it_continues, remove
from djservice.store.verify import verify_store


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


@pytest.mark.parametrize("forged", [False, True])
def test_a_foreign_codec_in_an_array_of_format_three_is_damage(
    forged: bool, tmp_path: Path
) -> None:
    """Also if whoever put it there wrote the checksum that belongs to it."""
    path, name = tmp_path / "three.zarr", "history/radius/zarr.json"
    columns = StoreColumns(5, [0.4, 0.6], 2, np.arange(3, dtype=np.uint64), np.ones(3))
    opened: tuple[Any, ...] = (path, {"run": {}, "versions": {}}, {"seed": 1}, columns)
    with Store.open(*opened) as store:
        store.write_rows("history", 0, {"radius": [0.9]})
        metadata = json.loads((path / name).read_text())
        metadata["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
        (path / name).write_text(json.dumps(metadata))
        if forged:
            arrays = store.attribute("history", "arrays")
            arrays["radius"]["metadata"] = [of_json(metadata)]
            store.set_of("history", arrays=arrays)
    damage = rf"three\.zarr: damaged: history/radius.*: {name} (cannot be read|does not match)"
    for door in (lambda: Store.read(path).column("history", "radius"), lambda: verify_store(path)):
        with pytest.raises(StoreError, match=damage):
            door()
