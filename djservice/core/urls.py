"""The parts of a URL: what may be shown of it; and names beside a file."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

#: ``scheme://`` or a chain of fsspec protocols, in contrast to a local path.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")
#: The same, and URLs with a slash or the scheme missing, which name no local file either.
_LIKE_A_URL = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*(:/|::)|//)")
#: Where a protocol of a chain ends. A host may have two colons too ([::1]).
_CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*(?:://|::))")
_HEAD = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?/{0,2}")
#: Where the path ends. Servers and clients also undo the percent code of a question mark.
_TAIL = re.compile(r"[?#;]|%(?:25)*(?:3[fFbB]|23)")
_AUTHORITY = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::\d*)?")
#: A query in a path that is no URL. A pattern of files may have a question mark, without names.
_LOCAL_QUERY = re.compile(r"\?[^/?]*=")

#: A name, which may be empty, and a value that is not shown.
Hidden = tuple[str, str]


def is_url(path: str) -> bool:
    """True if a path is a URL or an fsspec chain, and not a local path."""
    return _URL.match(path) is not None


def is_like_url(text: str) -> bool:
    """True if a text is a URL, or a mistyped one."""
    return _LIKE_A_URL.match(text) is not None


def basename(path: str) -> str:
    """Name of a file, without the query of a URL, which may be a token."""
    return last_parts(path, 1)


def last_parts(path: str, number: int) -> str:
    """The last parts of the path of a file, without the query of a URL."""
    return "/".join((visible_part(path)[0] if is_url(path) else path).split("/")[-number:])


def visible_part(path: str) -> tuple[str, list[Hidden]]:
    """Scheme, host and path of a URL, and everything else, which may be secret.

    The query and the fragment are left out, and the user with the password. Every URL of a chain is
    treated so. Of a local path only a query with names is left out.
    """
    if not is_like_url(path):
        query = _LOCAL_QUERY.search(path)
        return (path, []) if query is None else _without_tail(path, query.start())
    links = [_visible_link(link) for link in _CHAIN.split(path)]
    return "::".join(link for link, _ in links), [part for _, hidden in links for part in hidden]


def _visible_link(link: str) -> tuple[str, list[Hidden]]:
    head = _HEAD.match(link)
    assert head is not None
    scheme, rest, hidden = head[0], link[head.end() :], []
    user, at, host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    if at:
        hidden, rest = _of_user(user), rest[len(user) + 1 :]
    elif not _AUTHORITY.fullmatch(host) and "@" in rest:  # a password with a slash or ?
        user, _, rest = rest.rpartition("@")
        hidden, scheme = _of_user(user), f"{scheme}***@"
    tail = _TAIL.search(rest)
    if tail is None:
        return scheme + rest, hidden
    shown, of_tail = _without_tail(rest, tail.start())
    return scheme + shown, hidden + of_tail


def _without_tail(path: str, end: int) -> tuple[str, list[Hidden]]:
    tail = path[end:]
    marks = [mark.span() for mark in re.finditer(rf"{_TAIL.pattern}|&|%26", tail)]
    spans = [*marks, (len(tail), len(tail))]
    pairs = [tail[start:stop].partition("=") for (_, start), (stop, _) in pairwise(spans)]
    parts = [(name, value) if equals else ("", name) for name, equals, value in pairs]
    return path[:end], [("", tail), *((name, value) for name, value in parts if value)]


def _of_user(user: str) -> list[Hidden]:
    name, colon, password = user.partition(":")
    return [("", f"{user}@"), ("", user), (name, password) if colon else ("", name)]


def beside_store(store: str | Path, suffix: str) -> Path:
    """The file of a suffix beside a store; for a URL, in the folder of the process."""
    name = str(store).rstrip("/")
    return beside(
        Path(basename(name)) if is_url(name) else Path(name).expanduser(), suffix, ".zarr"
    )


def beside(path: Path, suffix: str, *replaced: str) -> Path:
    """The path with a suffix in place of one of ``replaced``, or after its whole name.

    Any other dot belongs to the name: the neighbours of start_0.4 and start_0.7 differ.
    """
    path = path if path.name not in ("", "..") else path.resolve()
    for old in replaced:
        if path.name.endswith(old):
            return path.with_name(path.name.removesuffix(old) + suffix)
    return path.with_name(path.name + suffix)
