"""Exact optimal transport of weights, solved by POT (Python Optimal Transport)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from djservice.core.typing import Floats
from djservice.errors import MissingPackageError, RunError

#: Steps after which the solver gives up. Sets of 1,000 points need some ten thousand.
_MOST_STEPS = 10_000_000
#: Largest relative difference of two sums that are the same but for rounding.
ROUNDING = 1e-12


@functools.cache
def _solver() -> Callable[..., Any]:
    try:
        from ot import emd
    except ImportError:
        raise MissingPackageError(
            "transport needs POT: pip install 'djservice[shapes]', here and on the workers."
        ) from None
    solver: Callable[..., Any] = emd
    return solver


def solver_version() -> str:
    """Version of the solver.

    Raises
    ------
    MissingPackageError
        If it is not installed.
    """
    _solver()
    return version("POT")


@dataclass(frozen=True)
class Solution:
    """An optimal transport.

    Attributes
    ----------
    value
        The sum of plan times cost.
    plan
        Weight that goes from each to each, shape (n, m).
    prices
        Cost of one more unit of each of the second weights, up to a common constant, shape (m,).
    """

    value: float
    plan: Floats
    prices: Floats


def transport(a: Floats, b: Floats, cost: Floats) -> Solution:
    """The least cost of moving weights onto others of the same sum.

    Parameters
    ----------
    a, b
        Weights, shapes (n,) and (m,), all positive.
    cost
        Cost for each unit of weight, shape (n, m).

    Raises
    ------
    MissingPackageError
        If POT is not installed.
    RunError
        If the sums differ, which POT would hide by scaling one set, or it finds no solution.
    """
    total_a, total_b = a.sum(), b.sum()
    if not abs(total_a - total_b) <= ROUNDING * total_a:
        raise RunError(f"transport between unequal sums, {total_a:g} and {total_b:g}.")
    scale = cost.max() or 1.0  # the solver takes costs below 1e-15 for none
    plan, log = _solver()(
        a / total_a,
        b / total_b,
        np.divide(cost, scale, order="C"),
        numItermax=_MOST_STEPS,
        log=True,
        center_dual=False,
        check_marginals=False,
    )
    if log["warning"] is not None:
        raise RunError(
            f"no optimal transport between {len(a)} and {len(b)} points: {log['warning']}"
        )
    return Solution(float(log["cost"] * scale * total_a), plan * total_a, log["v"] * scale)
