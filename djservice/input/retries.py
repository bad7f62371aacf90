"""patiently(read): a read over a network that ends in a bounded time, and is tried again where it failed in passing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from djservice.core.redact import redacted
from djservice.core.urls import is_url
from djservice.errors import InputFileError, MissingFileError

Found = TypeVar("Found")

#: Seconds that one attempt at a read may take.
TIMEOUT = 120.0
#: Seconds of rest before another attempt.
PAUSES = (1.0, 4.0)


def patiently(read: Callable[[], Found], path: str, timeout: float = TIMEOUT) -> Found:
    """What ``read`` returns. Where ``path`` is a URL, an attempt is given up after a while, and there are three of them.

    Parameters
    ----------
    read
        Reads something of the file, and has no other effect: one that hangs is left behind in a thread of its own.
    path
        Of the file.
    timeout
        Seconds that an attempt may take.

    Raises
    ------
    InputFileError
        If no attempt ends in time. Otherwise whatever the last attempt raises; a file that is not there, a missing
        package, and what is wrong with the content of a file are not tried again.
    """
    if not is_url(path):
        return read()
    for pause in (*PAUSES, None):
        try:
            return _within(read, path, timeout)
        except InputFileError as error:
            if isinstance(error, MissingFileError) or isinstance(error.__cause__, ImportError):
                raise
            if pause is None:
                raise InputFileError(f"{error} It was tried {len(PAUSES) + 1} times.") from error
            time.sleep(pause)
    raise AssertionError


def _within(read: Callable[[], Found], path: str, timeout: float) -> Found:
    """What ``read`` returns or raises within so many seconds."""
    found: list[Found] = []
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            found.append(read())
        except BaseException as error:
            failed.append(error)

    # Not all protocols can be told when to give up; the thread is gone with the process at the latest.
    thread = threading.Thread(target=attempt, name="djservice read", daemon=True)
    thread.start()
    thread.join(timeout)
    if failed:
        raise failed[0]
    if not found:
        raise InputFileError(
            f"{redacted(path)}: expected an answer within {timeout:g} s (input.timeout), found none: the server hangs, is overloaded, or "
            "cannot be reached. See that it answers, give it longer, or copy the file here."
        )
    return found[0]
