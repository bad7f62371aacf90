"""Checks of arguments that the layers of all frameworks share."""

from __future__ import annotations

import math
from typing import Any

from djservice.clustering.radius import VariableR
from djservice.core.bounds import require
from djservice.core.columns import floats
from djservice.core.typing import Floats
from djservice.errors import InputError


def fewest_trees(trees: int, rigidity: Any) -> int:
    """The number of trees of an expectation: one with infinite rigidity.

    Raises
    ------
    InputError
        If the leave-one-out baseline needs more.
    """
    require("trees", trees)
    if isinstance(rigidity, float) and math.isinf(rigidity):
        return 1
    check_baseline("leave_one_out", trees)
    return trees


def check_baseline(baseline: Any, trees: int) -> None:
    """Refuse an unknown baseline, and leave-one-out of one tree."""
    if baseline not in ("leave_one_out", None):
        raise InputError(f"baseline is {baseline!r}, expected 'leave_one_out' or None.")
    if baseline is not None and trees < 2:
        raise InputError(f"trees is {trees}, expected 2 or more with the leave-one-out baseline.")


def check_losses(loss: Any, log_prob: Any) -> None:
    """Refuse losses that are not one number for each tree."""
    shape = getattr(loss, "shape", None)
    if shape is None or tuple(shape) != tuple(log_prob.shape):
        shown = type(loss).__name__ if shape is None else f"shape {tuple(shape)}"
        raise InputError(
            f"the function of the jets returned {shown}, expected one number for each tree, shape "
            f"{tuple(log_prob.shape)}."
        )


def number(value: Any, name: str) -> Floats:
    """A number, or one per event, that is not of a framework."""
    if isinstance(value, VariableR):
        raise InputError(f"{name} is {value}, expected one number or one per event.")
    return floats(value, name, "the layer")
