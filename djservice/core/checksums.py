"""Checksums of what is written: CRC-32 of bytes, and JSON documents that hold their checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Key of a document that holds the checksum of all others.
KEY = "checksum"


def checksum(data: bytes, before: int = 0) -> int:
    """CRC-32 of bytes that follow others, whose checksum is ``before``."""
    return zlib.crc32(data, before)


def of_array(values: NDArray[Any], before: int = 0) -> int:
    """Checksum of the little-endian bytes of an array that follows others, row by row."""
    return zlib.crc32(
        np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data.cast("B")
        if values.size
        else b"",
        before,
    )


def document_of(text: str | bytes) -> Any:
    """The plain data of a JSON text.

    Raises
    ------
    ValueError
        If it is not JSON, or nested so deep that no file of djservice is.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def of_json(document: Any) -> int:
    """Checksum of plain data, whatever the order of the keys and the spaces in its text.

    Raises
    ------
    ValueError
        If they are nested so deep that no file of djservice is.
    """
    try:
        return checksum(json.dumps(document, sort_keys=True).encode())
    except RecursionError:
        raise ValueError("is nested too deep") from None


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its checksum, instead of the one that it may hold."""
    rest = {key: value for key, value in document.items() if key != KEY}
    return {**rest, KEY: of_json(rest)}


def unsealed(document: Any) -> dict[str, Any]:
    """A document without its checksum.

    Raises
    ------
    ValueError
        If it is not a document with its checksum, or any of its values changed.
    """
    if not isinstance(document, dict) or KEY not in document:
        raise ValueError("has no checksum")
    rest = {key: value for key, value in document.items() if key != KEY}
    if of_json(rest) != document[KEY]:
        raise ValueError("does not match its checksum")
    return rest
