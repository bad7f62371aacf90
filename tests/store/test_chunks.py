"""Blocks in chunks: the values and the bytes that Zarr itself writes."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer.cpu import Buffer

from djservice.store.chunks import only_chunk, read_only_chunk, write_block
from djservice.store.fresh import create_array, packed


class Files(dict[str, bytes]):
    """Files in memory."""

    def read(self, key: str) -> bytes | None:
        return self.get(key)

    def write(self, key: str, data: bytes) -> None:
        self[key] = data


def new_array(kind: str, sizes: dict[str, tuple[int, int]]) -> tuple[dict[str, Any], Any]:
    """Files of a hierarchy with an empty array, as Zarr has them in memory, and its metadata."""
    files = packed(lambda root: create_array(root, "radius", kind, sizes))
    values = {key: Buffer.from_bytes(data) for key, data in files.items()}
    return values, json.loads(files["radius/zarr.json"])


@pytest.mark.parametrize("kind", ["f8", "f4", "i8", "u8", "i4", "u1", "bool"])
def test_metadata_are_those_that_zarr_writes(kind: str) -> None:
    sizes = {"iteration": (7, 3), "parameter": (5, 2)}
    values, metadata = new_array(kind, sizes)
    made: dict[str, Any] = {}
    zarr.create_group(zarr.storage.MemoryStore(made)).create_array(
        "radius",
        shape=(7, 5),
        chunks=(3, 2),
        dtype=kind,
        dimension_names=tuple(sizes),
        fill_value=np.nan if kind.startswith("f") else 0,
        compressors=[ZstdCodec(), Crc32cCodec()],
        attributes=metadata["attributes"],
    )
    assert metadata == json.loads(made["radius/zarr.json"].to_bytes())
    assert zarr.open_group(zarr.storage.MemoryStore(values))["radius"].shape == (7, 5)


@pytest.mark.parametrize("kind", ["f8", "i8", "u8", "i4"])
def test_blocks_have_the_bytes_that_zarr_writes(kind: str) -> None:
    """Whole chunks, parts of them, and blocks over several, one after the other."""
    sizes = {"iteration": (7, 3), "parameter": (5, 2), "event": (4, 4)}
    values, metadata = new_array(kind, sizes)
    group, files = zarr.open_group(zarr.storage.MemoryStore(values)), Files()
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
    (_, metadata), files = new_array("f8", {"iteration": (5, 4)}), Files()
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


def test_the_only_chunk_of_an_array_is_read_as_by_zarr() -> None:
    values, metadata = new_array("f8", {"iteration": (3, 4), "parameter": (2, 2)})
    group, files = zarr.open_group(zarr.storage.MemoryStore(values)), Files()
    with pytest.raises(KeyError, match="radius/c/0/0"):
        read_only_chunk(files, "radius", metadata)
    group["radius"][1:] = [[1.0, 2.0], [3.0, 4.0]]
    files["radius/c/0/0"] = values["radius/c/0/0"].to_bytes()
    np.testing.assert_array_equal(
        read_only_chunk(files, "radius", metadata), group["radius"][...], strict=True
    )
    with pytest.raises(ValueError, match="other codecs"):
        read_only_chunk(files, "radius", metadata | {"codecs": [{"name": "numcodecs.pickle"}]})
    assert only_chunk(new_array("f8", {"iteration": (5, 4)})[1]) == ""
