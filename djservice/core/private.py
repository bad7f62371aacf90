"""Private URLs: shown and stored as scheme, host and path, and opened with their credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from djservice.core.redact import remember
from djservice.core.urls import is_url, visible_part


class PrivateUrl(str):
    """The visible part of a URL, as text. :func:`full_url` has all of it.

    Every text that is made of it is without credentials: messages, JSON, names, hashes. Only pickle
    keeps them, because workers need them. Two of them are equal if their full URLs are.
    """

    __slots__ = ("_full",)
    _full: str

    def __reduce__(self) -> tuple[Any, ...]:
        return private_url, (self._full,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self._full == full_url(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._full)


def private_url(path: str) -> str:
    """A path or URL for showing and opening; its secrets are hidden in redacted texts."""
    if isinstance(path, PrivateUrl):
        return path
    visible, hidden = visible_part(path)
    if not hidden:
        return path
    for name, value in hidden:
        remember(value, name)
    url = PrivateUrl(visible)
    url._full = path
    return url


def full_url(path: str) -> str:
    """The URL with its credentials, to open it. Show and store it nowhere."""
    return path._full if isinstance(path, PrivateUrl) else path


def private(data: Any) -> Any:
    """Plain data with every URL private, also those in keys."""
    if isinstance(data, Mapping):
        return {private(key): private(item) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(private, data)) if type(data) in (list, tuple) else data
    return private_url(data) if isinstance(data, str) and is_url(data) else data


def public(data: Any) -> Any:
    """Plain data for stores, pages and logs: only the visible part of URLs."""
    return _each_text(private(data), str)


def revealed(data: Any) -> Any:
    """Plain data with full URLs, for the one file and the one message that need them."""
    return _each_text(data, full_url)


def _each_text(data: Any, convert: Any) -> Any:
    if isinstance(data, dict):
        return {_each_text(key, convert): _each_text(item, convert) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [_each_text(item, convert) for item in data]
    return convert(data) if isinstance(data, str) else data
