"""Tests of paths for URLs, and file names of URLs."""

from __future__ import annotations

import re

#: ``scheme://`` or a chain of fsspec protocols, in contrast to a local path.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


def is_url(path: str) -> bool:
    """True if a path is a URL or an fsspec chain, and not a local path."""
    return _URL.match(path) is not None


def basename(path: str) -> str:
    """Name of a file, without the query of a URL, which may be a token."""
    return (path.partition("?")[0] if is_url(path) else path).rsplit("/", 1)[-1]
