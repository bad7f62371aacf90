"""Identities of inputs, taken without reading them, and differences between two sets of inputs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from djservice.config.input import Input
from djservice.core.private import full_url
from djservice.core.redact import message_of, shareable
from djservice.errors import MissingFileError
from djservice.input.fileset import sources

#: Version of the format of manifests and of the stores that they name.
MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class FileIdentity:
    """Identity of a file, taken without reading it.

    Attributes
    ----------
    path
        Absolute path or URL, without secrets.
    size
        Size in bytes.
    changed
        Time of the last change in ns since 1970. For a URL it is the ETag, the checksum or the time
        that its server gives, and empty if the server gives none.
    """

    path: str
    size: int
    changed: str


def identify(section: Input) -> dict[str, FileIdentity]:
    """Identities of the files of an input section by their paths, in the order of the files.

    Raises
    ------
    MissingFileError, InputError
        If a pattern matches nothing, a fileset is invalid, or a server does not know the file.
    """
    return {source.path: _identify(source.path) for source in sources(section)}


def _identify(path: str) -> FileIdentity:
    if "://" not in path:
        try:
            status = os.stat(path)
        except OSError as error:
            raise MissingFileError(f"{path}: {error.strerror}. Correct the path.") from None
        return FileIdentity(path, status.st_size, str(status.st_mtime_ns))
    import fsspec

    try:
        filesystem, location = fsspec.url_to_fs(full_url(path))
        info = filesystem.info(location)
    except Exception as error:  # every protocol raises different ones
        raise MissingFileError(
            f"{path}: its server gives no information on the file "
            f"({type(error).__name__}: {message_of(error)}). "
            "Correct the URL, or check that it can be reached."
        ) from shareable(error)
    values = (
        info.get(key)
        for key in ("ETag", "etag", "checksum", "mtime", "LastModified", "last_modified")
    )
    return FileIdentity(
        str(path),
        int(info.get("size") or 0),
        str(next((value for value in values if value is not None), "")),
    )


def digest(value: Any) -> str:
    """Digest of plain data, as a name."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def differences(before: Sequence[FileIdentity], now: Sequence[FileIdentity]) -> list[str]:
    """Descriptions of the differences between two lists of files."""
    files_before, files_now = (
        {file.path: file for file in before},
        {file.path: file for file in now},
    )
    texts = [f"new: {path}" for path in files_now if path not in files_before]
    texts += [
        f"changed: {path}"
        for path, file in files_now.items()
        if path in files_before and files_before[path] != file
    ]
    texts += [f"removed: {path}" for path in files_before if path not in files_now]
    if not texts and list(files_before) != list(files_now):
        texts.append("the order of the files changed")
    return texts
