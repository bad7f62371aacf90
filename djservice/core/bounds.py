"""Bounds of the numbers that functions, configurations and the command line share.

Within them every score, distance and random number is defined. Beyond, floats overflow or counters
of the random numbers start again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from djservice.errors import InputError


@dataclass(frozen=True)
class Bound:
    """The lowest and the highest value of a number, and whether it is a whole one."""

    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        if self.whole:
            return f"a whole number from {self.low:,} to {self.high:,}"
        kind = "a positive number" if self.low > 0 else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"

    def holds(self, value: Any) -> bool:
        """Whether a value is a number within the bounds. Booleans are no numbers."""
        if getattr(value, "ndim", None) == 0 and not getattr(value, "mask", False):
            value = value.item()  # of NumPy
        kinds = (int,) if self.whole else (int, float)
        return type(value) in kinds and self.low <= value <= self.high


#: The bounds, by name. An infinite rigidity is the deterministic algorithm, and is beside them.
BOUNDS = {
    "rigidity": Bound(1e-12, 1e12),
    "power": Bound(-10.0, 10.0),
    "asymmetry": Bound(1e-6, 10.0),
    "rho": Bound(1e-9, 1e9),
    "radius": Bound(1e-6, 1e3),  # FastJet allows the same largest R
    "trees": Bound(1, 1_000_000, whole=True),
    "jets": Bound(1, 32_768, whole=True),  # as many as an event may have particles
    "constituents": Bound(1, 32_768, whole=True),
    "seed": Bound(0, 2**63 - 1, whole=True),
    "iteration": Bound(0, 2**32 - 1, whole=True),  # a counter of the random numbers, of 32 bits
    "first_tree": Bound(0, 2**32 - 1, whole=True),
    "iterations": Bound(1, 1_000_000, whole=True),
    "events": Bound(1, 2**31 - 1, whole=True),
    "threads": Bound(1, 1024, whole=True),
    "seconds": Bound(1e-3, 1e6),  # a timer takes no more than some hundred years
    "bins": Bound(4, 10_000, whole=True),
}


def require_number(name: str, value: Any, *, more: str = "") -> None:
    """Refuse a value that is no finite number; ``more`` says what else is allowed.

    Raises
    ------
    InputError
        If it is NaN, infinite, or of another type.
    """
    if not are_numbers([value]):
        raise InputError(f"{name} is {value!r}, expected a finite number{more}.")


def require_positive(name: str, value: Any, *, more: str = "") -> None:
    """Refuse a value that is no positive, finite number; ``more`` says what else is allowed.

    Raises
    ------
    InputError
        If it is 0 or less, NaN, infinite, or of another type.
    """
    require_number(name, value, more=more)
    if not value > 0:
        raise InputError(f"{name} is {value!r}, expected a positive number{more}.")


def are_numbers(values: Any, count: int | None = None) -> bool:
    """Whether values are a list, of a length if one is asked for, of finite numbers."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        return False
    number = Bound(-math.inf, math.inf)
    return (count is None or len(values) == count) and all(
        number.holds(value) and math.isfinite(value) for value in values
    )


def limits(name: str) -> dict[str, Any]:
    """The bounds of a number as the arguments of a pydantic field."""
    return {"ge": BOUNDS[name].low, "le": BOUNDS[name].high}


def require(name: str, value: Any, *, more: str = "", of: str | None = None) -> None:
    """Refuse a value outside its bounds.

    Parameters
    ----------
    name
        Name of the number in :data:`BOUNDS`.
    more
        What else is allowed, or what the number is for, after the bounds in the message.
    of
        Name of the argument in the message, if it differs.

    Raises
    ------
    InputError
        If the value is no number, not a whole one where it has to be, or out of bounds.
    """
    bound = BOUNDS[name]
    if not bound.holds(value):
        raise InputError(f"{of or name} is {value!r}, expected {bound}{more}.")
