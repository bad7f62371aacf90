"""Identities: what inputs are known by without reading them, and what became of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from djservice.config.input import Input
from djservice.core.redact import redacted
from djservice.errors import MissingFileError
from djservice.input.fileset import sources

#: Of manifests, and of what they name.
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class FileIdentity:
    """What a file is known by without reading it.

    Attributes
    ----------
    path
        Absolute path or URL, without secrets.
    size
        Bytes.
    changed
        Time of the last change in ns since 1970; of a URL what its server tells instead: ETag, checksum or time. Empty where it
        tells nothing.
    """

    path: str
    size: int
    changed: str


def identify(section: Input) -> dict[str, FileIdentity]:
    """The files of an input section, in their order: paths as they are read -> identities.

    Raises
    ------
    MissingFileError, InputError
        If a pattern matches nothing, a fileset is none, or a server does not know the file.
    """
    return {source.path: _identify(source.path) for source in sources(section)}


def _identify(path: str) -> FileIdentity:
    if "://" not in path:
        try:
            found = os.stat(path)
        except OSError as error:
            raise MissingFileError(f"{path}: {error.strerror}. Correct the path.") from None
        return FileIdentity(path, found.st_size, str(found.st_mtime_ns))
    import fsspec

    try:
        filesystem, place = fsspec.url_to_fs(path)
        info = filesystem.info(place)
    except Exception as error:  # each protocol has its own
        raise MissingFileError(
            f"{path}: its server does not tell its size ({type(error).__name__}: {' '.join(str(error).split())}). "
            "Correct the URL, or see that it can be reached."
        ) from error
    tells = (
        info.get(key)
        for key in ("ETag", "etag", "checksum", "mtime", "LastModified", "last_modified")
    )
    return FileIdentity(
        redacted(path),
        int(info.get("size") or 0),
        str(next((told for told in tells if told is not None), "")),
    )


def digest(value: Any) -> str:
    """A name for plain data: the same for the same data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Sequence[FileIdentity], now: Sequence[FileIdentity]) -> list[str]:
    """What became of the files, in words."""
    there, here = {file.path: file for file in before}, {file.path: file for file in now}
    words = [f"new: {path}" for path in here if path not in there]
    words += [
        f"changed: {path}" for path, file in here.items() if path in there and there[path] != file
    ]
    words += [f"removed: {path}" for path in there if path not in here]
    if not words and list(there) != list(here):
        words.append("the files are in another order")
    return words
