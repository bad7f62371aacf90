"""Is a path a URL, and what is its file called."""

from __future__ import annotations

import re

#: ``scheme://`` or a chain of fsspec protocols: not a path of this machine.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


def is_url(path: str) -> bool:
    """Whether a path is read over a network, or through fsspec in another way."""
    return _URL.match(path) is not None


def basename(path: str) -> str:
    """Name of a file; the query of a URL, which may be a token, is no part of it."""
    return (path.partition("?")[0] if is_url(path) else path).rsplit("/", 1)[-1]
