"""A lock of the operating system, which is released when the process dies.

A file is locked, never a folder: on network disks the lock of a folder holds within one machine.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def lock_file(
    path: str | Path, *, folder: int | None = None, wait: bool = False, mode: int = 0o666
) -> int:
    """Lock a file, which is created if it is missing, until its descriptor is closed.

    Parameters
    ----------
    path
        The file; relative to ``folder`` if that is given. It must never be renamed or removed,
        because a lock belongs to a file and not to its name.
    folder
        Descriptor of an open folder.
    wait
        If True, wait for another process that holds the lock.
    mode
        Permissions of a new file, as in ``os.open``.

    Returns
    -------
    int
        The descriptor, open for reading and writing. Network disks lock no other.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    OSError
        If the file cannot be opened, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, mode, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EACCES:  # said by some network disks
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
        raise
    return descriptor


def is_locked(path: str | Path) -> bool:
    """True if the lock of a file is held, or there is no such file or it cannot be locked."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
