"""Blocks in chunks: the values and the bytes that Zarr itself writes."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
import zarr

from djservice.store.chunks import write_block
from djservice.store.fresh import create_array


class Files(dict[str, bytes]):
    """Files in memory."""

    def read(self, key: str) -> bytes | None:
        return self.get(key)

    def write(self, key: str, data: bytes) -> None:
        self[key] = data


@pytest.mark.parametrize("kind", ["f8", "i8", "u8", "i4"])
def test_blocks_have_the_bytes_that_zarr_writes(kind: str) -> None:
    """Whole chunks, parts of them, and blocks over several, one after the other."""
    values: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(values))
    sizes = {"iteration": (7, 3), "parameter": (5, 2), "event": (4, 4)}
    create_array(group, "radius", kind, sizes)
    files = Files()
    metadata = json.loads(values["radius/zarr.json"].to_bytes())
    chance = np.random.default_rng(1)
    corners = [(0, 0, 0), (3, 2, 0), (2, 1, 1), (6, 4, 3), (0, 0, 0)]
    shapes = [(1, 5, 4), (3, 2, 4), (5, 3, 2), (1, 1, 1), (7, 5, 4)]
    for corner, shape in zip(corners, shapes, strict=True):
        block = (100 * chance.normal(size=shape)).astype(kind)
        write_block(files, "radius", metadata, corner, block)
        where = tuple(slice(low, low + n) for low, n in zip(corner, shape, strict=True))
        group["radius"][where] = block
        chunks = {key: data.to_bytes() for key, data in values.items() if "/c/" in key}
        assert files == chunks
    assert len(files) == len(list(itertools.product(range(3), range(3), range(1))))


def test_a_block_beyond_the_array_or_in_a_damaged_chunk_is_refused() -> None:
    values: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(values))
    create_array(group, "radius", "f8", {"iteration": (5, 4)})
    metadata, files = json.loads(values["radius/zarr.json"].to_bytes()), Files()
    with pytest.raises(
        IndexError, match=r"radius: expected indices below \[5\], found up to \[6\]"
    ):
        write_block(files, "radius", metadata, (4,), np.ones(2))
    assert files == {}
    write_block(files, "radius", metadata, (0,), np.ones(2))
    for damage in (b"", b"abc", files["radius/c/0"][:-1] + b"x", bytes(300)):
        files["radius/c/0"] = damage
        with pytest.raises((ValueError, RuntimeError)):
            write_block(files, "radius", metadata, (2,), np.ones(1))
        assert files["radius/c/0"] == damage
