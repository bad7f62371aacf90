"""Names of functions in a user's Python file, as ``my_file.py:function``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"(?P<path>.+\.py):(?P<name>\w+)", flags=re.DOTALL)


def names_file(value: Any) -> bool:
    """Whether an observable of a configuration is a function in a file."""
    name = value.get("name") if isinstance(value, Mapping) else None
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def split_name(text: str) -> tuple[str, str]:
    """The path of the file, and the name of the function."""
    path, _, name = text.rpartition(":")
    return path, name
