"""Reads over a network: a bounded time for each attempt, and retries after temporary errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from djservice.core.redact import shareable
from djservice.core.urls import is_url
from djservice.errors import InputFileError, MissingFileError

Result = TypeVar("Result")

#: Limit in seconds on one attempt at a read.
TIMEOUT = 120.0
#: Pauses in seconds before the second and third attempts.
PAUSES = (1.0, 4.0)


def patiently(read: Callable[[], Result], path: str, timeout: float = TIMEOUT) -> Result:
    """The result of ``read``, with a time limit and three attempts if ``path`` is a URL.

    Parameters
    ----------
    read
        Reads from the file and has no other effect. A call that hangs is abandoned in its thread.
    path
        Path or URL of the file.
    timeout
        Limit in seconds on one attempt.

    Raises
    ------
    InputFileError
        If no attempt ends in time. Otherwise the error of the last attempt is raised. A missing
        file, a missing package and invalid content are not tried again.
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
                raise InputFileError(
                    f"{error} It was tried {len(PAUSES) + 1} times."
                ) from shareable(error)
            time.sleep(pause)
    raise AssertionError


def _within(read: Callable[[], Result], path: str, timeout: float) -> Result:
    """The result or error of ``read`` within ``timeout`` seconds."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(read())
        except BaseException as error:
            errors.append(error)

    # Some protocols have no time limit of their own. A daemon thread ends with the process.
    thread = threading.Thread(target=attempt, name="djservice read", daemon=True)
    thread.start()
    thread.join(timeout)
    if errors:
        raise errors[0]
    if not results:
        raise InputFileError(
            f"{path}: expected an answer within {timeout:g} s (input.timeout), found "
            "none: the server hangs, is overloaded, or cannot be reached. Check that it answers, "
            "raise the timeout, or copy the file here."
        )
    return results[0]
