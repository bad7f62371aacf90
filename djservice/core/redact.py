"""Redaction: texts of others are shown without the secret values that this process has read.

The values come from URLs (:mod:`djservice.core.private`), the environment, the files that it names,
and configurations. Each is looked for as it is, and as libraries quote it: percent-encoded, escaped
and in base64.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from djservice.core.urls import is_like_url, visible_part

HIDDEN = "***"
#: Shorter values are hidden only beside their name, and those below ANYWHERE only as whole words.
WORD, ANYWHERE = 4, 8
#: Largest file in bytes that is taken for one of secrets.
LARGEST = 100_000

#: Names of settings whose values are secret.
_NAMES = re.compile(
    r"passw|passphrase|secret|token(?!iz)|credential|cookie|macaroon|bearer|signature|authoriz"
    r"|authz|(access|private|api)_?key|(^|_)(auth|key|user_proxy|sas|pin)$"
)
#: Values that are no secret whatever their name.
_HARMLESS = re.compile(r"(?i)\d{0,7}|true|false|yes|no|on|off|none|null|auto|default")
#: What others call secret, as a token that a server made.
_NAMED = re.compile(
    r"(?i)((?:passw\w*|secret|token|signature|authorization|authz|(?:api|access)_?key\w*)['\"]?"
    r"\s*[=:]\s*['\"]?(?:bearer\s+|basic\s+)?|\bbearer(?:\s|%20)+)[^\s&'\",;]+"
)
_URL_IN_TEXT = re.compile(
    r"(?<!\w)[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^\s'\"<>]+?(?=[;:.,)]*(?:[\s'\"<>]|$))"
)

#: Forms of secret values by their first characters, and short values by their names.
_forms: dict[str, set[str]] = {}
_short: dict[str, set[str]] = {}
_seen: set[tuple[str, str]] = set()
_lock = threading.RLock()  # of those who add to them


def redacted(text: str) -> str:
    """A text with ``***`` in place of secret values, and URLs without query and password.

    A value that this process never read is hidden if the text calls it a secret.
    """
    _remember_sources()
    text = _URL_IN_TEXT.sub(lambda url: visible_part(url[0])[0], text)
    return _NAMED.sub(rf"\1{HIDDEN}", _without_short(_without_forms(text)))


def message_of(error: BaseException) -> str:
    """The message of an error of another library in one line, redacted."""
    return " ".join(redacted(str(error)).split())


def shareable(error: BaseException) -> BaseException | None:
    """The error as a cause of another; None if it or one of its causes quotes a secret."""
    cause: BaseException | None = error
    while cause is not None:
        if redacted(str(cause)) != str(cause):
            return None
        cause = cause.__cause__ or cause.__context__
    return error


def remember(value: str, name: str = "") -> None:
    """Hide a secret value, and the values that it is put together from, in redacted texts.

    Parameters
    ----------
    value
        The value.
    name
        Its name, with which a value of few characters is recognised.
    """
    value = value.strip()
    if not value or (name, value) in _seen:
        return
    decoded = (unquote_plus(value), unquote(unquote(value)))
    words = {word for text in decoded for word in re.split(r"[\s,;:&=/@?#]+", text)}
    with _lock:
        _seen.add((name, value))
        for part in {value, *(word for word in words if len(word) >= ANYWHERE)}:
            for form in _quoted(part):
                if len(form) >= WORD:
                    _forms.setdefault(form[:WORD], set()).add(form)
        if name and len(value) < WORD:
            _short.setdefault(name, set()).add(value)


def remember_settings(data: Any, name: str = "") -> None:
    """Hide the secret values of a configuration: those with such a name, and those of URLs."""
    if isinstance(data, Mapping):
        for key, item in data.items():
            # A path in the place of a name says nothing about its item.
            named = isinstance(key, str) and re.fullmatch(r"[\w.-]+", key) is not None
            remember_settings(item, f"{name}.{key}" if named else name)
    elif isinstance(data, (list, tuple)):
        for item in data:
            remember_settings(item, name)
    elif isinstance(data, str):
        _remember_setting(name, data)


def _remember_setting(name: str, value: str) -> None:
    if is_like_url(value):
        for hidden_name, hidden in visible_part(value)[1]:
            remember(hidden, hidden_name)
    elif _names_a_secret(name) and not _HARMLESS.fullmatch(value):
        path = os.path.expanduser(value)
        if os.path.isfile(path):
            _remember_file(path)
        elif not os.path.isdir(path):
            remember(value, name.rpartition(".")[2])


@lru_cache(maxsize=4096)
def _names_a_secret(name: str) -> bool:
    return _NAMES.search(re.sub(r"\W", "_", name.lower())) is not None


def _remember_sources() -> None:
    """Look at the environment, fsspec's configuration and the usual files, which may change."""
    for name, value in os.environ.items():
        if (name, value) not in _seen:
            _remember_setting(name, value)
    if "fsspec.config" in sys.modules:
        remember_settings(sys.modules["fsspec.config"].conf)
    user = os.getuid()
    for path in ("~/.aws/credentials", f"/tmp/bt_u{user}", f"/tmp/x509up_u{user}"):
        _remember_file(os.path.expanduser(path))


def _remember_file(path: str) -> None:
    try:
        status = os.stat(path)
        if os.path.isfile(path) and status.st_size < LARGEST:
            _remember_lines(path, status.st_mtime_ns)
    except OSError:  # a secret that cannot be read cannot be quoted
        return


@lru_cache(maxsize=256)
def _remember_lines(path: str, changed: int) -> None:
    for line in Path(path).read_text(errors="replace").splitlines():
        setting = re.fullmatch(r"\s*(\w+)\s*[=:]\s*(\S.*)", line)
        value = setting[2] if setting else line.strip()
        if len(value) >= ANYWHERE and not value.startswith(("-----", "[", "#")):
            remember(value)


def _quoted(value: str) -> Iterator[str]:
    """A value as libraries may show it."""
    yield value
    decoded = unquote(value)
    for text in {value, decoded, unquote(decoded), unquote_plus(value)}:
        data = text.encode("utf-8", "surrogateescape")
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(data).decode().rstrip("=")
            yield from (encoded, quote(encoded, safe=""))
        if text.isascii() and text.isalnum():
            continue
        percent = (quote(data), quote(data, safe=""), quote_plus(data))
        yield from (text, *percent, *(quote(form, safe="") for form in percent))
        yield from (re.sub("%..", lambda code: code[0].lower(), form) for form in percent)
        yield from (repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1])
        yield from (html.escape(text), json.dumps(text)[1:-1])


def _without_forms(text: str) -> str:
    pieces, kept, at = [], 0, 0
    while at <= len(text) - WORD:
        length = _length_at(text, at)
        if length:
            pieces += [text[kept:at], HIDDEN]
            at += length
            kept = at
        else:
            at += 1
    return "".join([*pieces, text[kept:]])


def _length_at(text: str, at: int) -> int:
    """Length of the longest form that begins at a place of a text; 0 if none does."""
    return max(
        (
            len(form)
            for form in tuple(_forms.get(text[at : at + WORD], ()))
            if text.startswith(form, at)
            and (len(form) >= ANYWHERE or _stands_alone(text, at, form))
        ),
        default=0,
    )


def _stands_alone(text: str, at: int, form: str) -> bool:
    end = at + len(form)
    return not (text[max(at - 1, 0) : at + 1].isalnum() and at > 0) and not (
        text[end - 1 : end + 1].isalnum() and end < len(text)
    )


def _without_short(text: str) -> str:
    for name, values in tuple(_short.items()):
        if name in text:
            text = _beside(name).sub(
                lambda pair: pair[1] + (HIDDEN if pair[2] in values else pair[2]),  # noqa: B023
                text,
            )
    return text


@lru_cache(maxsize=256)
def _beside(name: str) -> re.Pattern[str]:
    """What finds a name, and a value of few letters that follows it in any notation."""
    between = r"(?:%[0-9A-Fa-f]{2}|\W){1,6}"
    return re.compile(rf"(?<!\w)({re.escape(name)}{between})(\w{{1,{WORD - 1}}})(?!\w)")
