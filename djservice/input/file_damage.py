"""Errors of the libraries that read files -> one clear error that names the file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from djservice.core.private import full_url
from djservice.core.redact import message_of, redacted, shareable
from djservice.core.regular import irregular
from djservice.core.urls import is_url
from djservice.errors import DjserviceError, InputFileError, MissingFileError
from djservice.input.web_answers import wrong_answer

#: Errors that libraries were seen to raise on truncated or corrupted files, besides those of their
#: own: several thousand such files of every format and compression.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    struct.error,
    zlib.error,
)

#: The extras that read URLs.
_EXTRAS = {"root://": "xrootd", "s3://": "s3"}


@contextmanager
def damage_explained(
    url: str, place: str, kind: str, more: tuple[type[Exception], ...] = (), extra: str = ""
) -> Iterator[None]:
    """Turn errors of libraries on a bad file into one clear error.

    Parameters
    ----------
    url, place
        The file, and its name in messages.
    kind
        Name of its format.
    more
        Errors of the library that reads it.
    extra
        The extra that installs this library.

    Raises
    ------
    MissingFileError, InputFileError
    """
    other = irregular(full_url(url).removeprefix("file://"))
    if other:
        raise InputFileError(
            f"{place}: expected a regular file, found {other}. Remove it from the inputs."
        )
    try:
        yield
    except DjserviceError:
        raise
    except FileNotFoundError:
        raise MissingFileError(
            f"{place}: there is no such file. Check the path, or remove it from the inputs."
        ) from None
    except ImportError as error:
        of_url = (name for scheme, name in _EXTRAS.items() if place.startswith(scheme))
        needed = extra if extra and extra in message_of(error) else next(of_url, "")
        raise InputFileError(
            f"{place}: expected a package that can read this file, found none: "
            f"{message_of(error)}."
            + (f" Here: pip install 'djservice[{needed}]'." if needed else "")
        ) from shareable(error)
    # Any library may raise on a URL: aiohttp's error for a lost connection is not an OSError.
    except Exception as error:
        if not is_url(place) and not isinstance(error, (*_DAMAGE, *more)):
            raise
        message = redacted((str(error).strip() or "no message").splitlines()[0])
        if "no such file" in message.lower():  # XRootD reports a missing file this way
            raise MissingFileError(
                f"{place}: there is no such file on the server: {message}. Check the path."
            ) from None
        reason = wrong_answer(full_url(url)) or (
            f"The file is not a {kind} file, is damaged, or cannot be accessed: copy it again, or "
            "remove it."
        )
        raise InputFileError(
            f"{place}: expected a readable {kind} file, found {type(error).__name__}: {message}. "
            f"{reason}"
        ) from shareable(error)
