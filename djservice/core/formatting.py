"""Numbers with their errors, as text and as JSON."""

from __future__ import annotations

import math
from typing import Any


def decimals(error: float | None) -> int:
    """Number of decimals for an error: one, or for errors below 0.1 enough for two digits of it."""
    return 1 - math.floor(math.log10(error)) if error is not None and 0.0 < error < 0.1 else 1


def counted(number: int, noun: str) -> str:
    """A number of things with their noun: "1 file", "1,000 events"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def finite(value: Any) -> Any:
    """Plain data with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def axis_label(observable: dict[str, str]) -> str:
    """Axis label of an observable: its name with its units."""
    units = observable["units"]
    return f"{observable['name']} [{units}]" if units else observable["name"]


def with_error(value: float | None, error: float | None, digits: int | None = None) -> str:
    """The text ``value +- error``, with decimals chosen by the error.

    None is shown as "not determined".
    """
    if value is None:
        return "not determined"
    digits = decimals(error) if digits is None else digits
    return f"{value:.{digits}f} +- " + (
        "not determined" if error is None else f"{error:.{digits}f}"
    )


def radius_text(result: dict[str, Any]) -> str:
    """R of the result of a run, with its error; says so if it is no optimum."""
    radius = with_error(result["radius"], finite(result["radius_error"]), 3)
    return radius if result["converged"] else f"{radius} (no optimum)"


def end_name(result: dict[str, Any] | None) -> str:
    """The name of the radius at which the search ended: "optimum" only if it is one."""
    return "optimum" if result and result["converged"] else "end"


def learned_radius_text(result: dict[str, Any]) -> str:
    """R of the result of a run, with its error: with its network, if one was trained."""
    radius, error = (finite(result.get(name)) for name in ("joint_radius", "joint_radius_error"))
    return (
        radius_text(result)
        if radius is None
        else f"{with_error(radius, error, 3)} with its network"
    )


def duration_text(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
