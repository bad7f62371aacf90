"""Numbers with their errors, as text and as JSON."""

from __future__ import annotations

import math
from typing import Any


def decimals(error: float | None) -> int:
    """Of a number with this error: one, and for an error below 0.1 as many as show two digits of it."""
    return 1 - math.floor(math.log10(error)) if error is not None and 0.0 < error < 0.1 else 1


def finite(value: Any) -> Any:
    """NaN and infinities as None, for JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def axis_label(observable: dict[str, str]) -> str:
    """Name of the (first) observable of a run, with its units."""
    units = observable["units"]
    return f"{observable['name']} [{units}]" if units else observable["name"]


def with_error(value: float | None, error: float | None, digits: int | None = None) -> str:
    """``value +- error``, with as many digits as the error asks for; an error that is not determined is said to be."""
    if value is None:
        return "not determined"
    digits = decimals(error) if digits is None else digits
    return f"{value:.{digits}f} +- " + (
        "not determined" if error is None else f"{error:.{digits}f}"
    )
