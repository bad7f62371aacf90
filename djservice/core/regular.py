"""Regular files: a pipe or a device in the place of a file would block its reader for ever."""

from __future__ import annotations

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


def irregular(path: str | Path) -> str:
    """What is at a local path if not a regular file, as "a named pipe"; empty if none is there.

    Symbolic links are followed.
    """
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except (OSError, ValueError):  # missing, or no path at all: who opens it says so
        return ""
