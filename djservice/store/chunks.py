"""Blocks of values in the chunks of an array, with the bytes that Zarr's codecs write.

Zarr's own way to read a chunk or to change a part of one takes a millisecond or more, ten times as
long as the files do.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numcodecs.checksum32 import CRC32C
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

#: The codecs of :func:`djservice.store.fresh.create_array`.
_ZSTD, _CRC = Zstd(level=0), CRC32C(location="end")


class Readable(Protocol):
    """Where the chunks are read."""

    def read(self, key: str) -> bytes | None:
        """The bytes of a file; None if it is missing."""


class Files(Readable, Protocol):
    """Where they are written."""

    def write(self, key: str, data: bytes) -> None:
        """Write a file, completely or not at all."""


def write_block(
    files: Files,
    array: str,
    metadata: Mapping[str, Any],
    corner: Sequence[int],
    block: NDArray[Any],
) -> None:
    """Write a block of values into an array; what else its chunks hold stays.

    Parameters
    ----------
    files, array, metadata
        Where the array is, its name there, and its metadata.
    corner
        Indices of the first value of the block.
    block
        The values, with as many dimensions as the array.

    Raises
    ------
    IndexError
        If the block reaches beyond the array.
    ValueError, RuntimeError
        If a chunk that it shares is damaged.
    """
    lengths = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    ends = [first + size for first, size in zip(corner, block.shape, strict=True)]
    if any(end > size for end, size in zip(ends, metadata["shape"], strict=True)):
        raise IndexError(f"{array}: expected indices below {metadata['shape']}, found up to {ends}")
    spans = list(zip(corner, ends, lengths, strict=True))
    for index in itertools.product(*(range(low // n, -(-high // n)) for low, high, n in spans)):
        key = "/".join((array, "c", *map(str, index)))
        within, of = [], []
        for number, (low, high, n) in zip(index, spans, strict=True):
            first, last = max(low, number * n), min(high, (number + 1) * n)
            within.append(slice(first - number * n, last - number * n))
            of.append(slice(first - low, last - low))
        values = block[tuple(of)]
        shared = values.shape != tuple(lengths)
        chunk = _unpacked(files.read(key) if shared else None, metadata, lengths)
        chunk[tuple(within)] = values
        files.write(key, bytes(_CRC.encode(_ZSTD.encode(chunk))))


def only_chunk(metadata: Mapping[str, Any]) -> str:
    """Name of the chunk of an array that has a single one; empty if it has others."""
    lengths = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    single = all(size <= n for size, n in zip(metadata["shape"], lengths, strict=True))
    return "/".join(("c", *("0" for _ in lengths))) if single else ""


def read_only_chunk(files: Readable, array: str, metadata: Mapping[str, Any]) -> NDArray[Any]:
    """The values of an array in a single chunk.

    Raises
    ------
    KeyError
        If the chunk is missing.
    ValueError, RuntimeError
        If it is damaged, or has other codecs than ours.
    """
    if [codec["name"] for codec in metadata["codecs"]] != ["bytes", "zstd", "crc32c"]:
        raise ValueError("has other codecs than those of djservice")
    data = files.read(key := f"{array}/{only_chunk(metadata)}")
    if data is None:
        raise KeyError(key)
    chunk = _unpacked(data, metadata, metadata["chunk_grid"]["configuration"]["chunk_shape"])
    return chunk[tuple(slice(size) for size in metadata["shape"])]


def _unpacked(
    data: bytes | None, metadata: Mapping[str, Any], lengths: Sequence[int]
) -> NDArray[Any]:
    """The values of a chunk; the fill value if it is missing."""
    kind = np.dtype(metadata["data_type"]).newbyteorder("<")
    if data is None:
        return np.full(lengths, metadata["fill_value"], kind)
    content = _ZSTD.decode(np.ascontiguousarray(_CRC.decode(data)))
    return np.frombuffer(content, kind).reshape(lengths).copy()
