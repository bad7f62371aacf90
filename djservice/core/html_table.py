"""The small table by which a notebook shows an object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from djservice.core.visible import visible


def html_table(title: str, rows: Mapping[str, Any]) -> str:
    """A table of names and values with a title, as HTML; all text is escaped.

    Lines of a value stay lines. Rows without a value, which are None or empty, are left out.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{html_text(name)}</th>'
        f'<td style="text-align:left">{html_text(value)}</td></tr>'
        for name, value in rows.items()
        if value is not None and value != ""
    )
    return f"<table><caption>{html_text(title)}</caption>{cells}</table>"


def html_text(value: Any) -> str:
    """A value as HTML, in which it is only text; its lines stay lines."""
    lines = str(value).split("\n")
    return "<br>".join(escape(visible(line)) for line in lines)


def plus_minus(value: float, error: float) -> str:
    """A number with its error, to four digits of the first and two of the second."""
    if math.isnan(error):
        return f"{value:.4g} (error not determined)"
    return f"{value:.4g} \u00b1 {error:.2g}"
