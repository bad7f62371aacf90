"""Regular files: a pipe or a device in the place of a file would block its reader for ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: More bytes than any file that djservice writes. A larger one would only fill the memory.
LARGEST = 1_000_000_000


def irregular(path: str | Path) -> str:
    """What is at a local path if not a regular file, as "a named pipe"; empty if none is there.

    Symbolic links are followed.
    """
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except OSError as error:  # missing: who opens it says so
        return "a link that leads in a circle" if error.errno == errno.ELOOP else ""
    except ValueError:  # no path at all
        return ""


def unusable(path: str | Path) -> str:
    """Why a path cannot be a file that djservice wrote; empty if it can, or is missing."""
    if other := irregular(path):
        return f"is not a regular file but {other}"
    size = os.stat(path).st_size if os.path.exists(path) else 0
    return f"has {size:,} bytes, more than any file of djservice" if size > LARGEST else ""


def in_the_way(path: str | Path, *starts: bytes) -> str:
    """What must not be replaced at a path; empty if nothing is there, or a file of ours.

    Parameters
    ----------
    starts
        First bytes of files of ours, in lower case.
    """
    other = irregular(path)
    if other or not os.path.exists(path):
        return other
    with open(path, "rb") as file:
        start = file.read(100).lower()
    return "" if not start or start.startswith(starts) else "another file"


def read_regular(path: str | Path) -> bytes:
    """The bytes of a file that djservice wrote.

    Raises
    ------
    ValueError
        If it is not a regular file, or larger than any of ours.
    OSError
        If it cannot be read.
    """
    if problem := unusable(path):
        raise ValueError(problem)
    return Path(path).read_bytes()
