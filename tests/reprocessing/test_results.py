"""Manifests and stores of a result that are not what their names say."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from djservice.core.checksums import sealed
from djservice.errors import DamagedStoreError, StoreError
from djservice.reprocessing.lease import Lease
from djservice.reprocessing.results import find, read_manifest, verify_result, write
from djservice.store.fresh import NewGroup, create_array
from djservice.store.local_folder import LocalFolder
from djservice.store.verify import APPLIED_FORMAT

MANIFEST: dict[str, Any] = {
    "format": 2,
    "name": "n",
    "settings": "s",
    "code": "c",
    "fit": {"store": "fits/f.zarr", "inputs": [{"path": "a.root"}], "files": {}},
    "files": [],
    "applied": [],
    "left_out": [],
}


@pytest.mark.parametrize(
    "content",
    [
        '{"format": 1}',
        json.dumps({**MANIFEST, "format": 1, "applied": 5}),
        json.dumps(sealed({"format": 2})),
        json.dumps(sealed({**MANIFEST, "applied": [1]})),
        json.dumps(sealed({**MANIFEST, "left_out": None})),
        "[" * 100_000,
        "[]",
        None,
        b"\xff",
    ],
    ids=lambda content: repr(content)[:30],
)
@pytest.mark.timeout(60)
def test_what_is_no_manifest_is_named(content: Any, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (read_manifest, verify_result):
        with pytest.raises(StoreError, match=r"manifest\.json: expected the manifest of a result"):
            read(tmp_path)


def make_store(path: Path, inputs: list[dict[str, str]]) -> None:
    def fill(root: NewGroup) -> None:
        create_array(root, "key", "u8", {"event": (2, 2)}, [1, 2])
        root.attrs.update({"djservice_applied": APPLIED_FORMAT, "inputs": inputs})

    LocalFolder(str(path)).create(fill)


def test_a_whole_store_of_other_inputs_is_not_taken_for_that_of_a_result(tmp_path: Path) -> None:
    make_store(tmp_path / "fits/f.zarr", MANIFEST["fit"]["inputs"])
    make_store(tmp_path / "fits/g.zarr", [{"path": "b.root"}])
    result = write(tmp_path, MANIFEST)
    assert verify_result(result) == 1 and find(tmp_path, "n") == result
    shutil.rmtree(tmp_path / "fits/f.zarr")
    shutil.move(tmp_path / "fits/g.zarr", tmp_path / "fits/f.zarr")
    with pytest.raises(DamagedStoreError, match="found one of other inputs"):
        verify_result(result)
    assert find(tmp_path, "n") is None


def test_a_lock_that_is_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text("{")
    os.truncate(tmp_path / "lock.json", 40 * 2**30)
    with (
        pytest.raises(StoreError, match=r"lock\.json: expected a lock of djservice"),
        Lease(tmp_path, 60.0),
    ):
        pass
