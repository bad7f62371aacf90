"""Values in messages, spelled as in the YAML that a user wrote."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import yaml


def spelled(value: Any) -> str:
    """A value in YAML on one line; what is long, or no plain data, as Python shows it, shortened."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 200
    short.maxlist = short.maxtuple = short.maxdict = 10
    text = short.repr(value)
    if isinstance(value, str) or "..." in text:
        return text
    try:
        dumped = yaml.safe_dump(
            value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf
        )
    except yaml.YAMLError:
        return text
    dumped = dumped.removesuffix("...\n").strip()
    return dumped if dumped.isprintable() else text
