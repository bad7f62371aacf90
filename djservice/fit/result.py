"""The result of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from djservice.core.html_table import html_table, plus_minus


@dataclass(frozen=True)
class Result:
    """The result of a run: the optimum, its error, and remarks.

    Attributes
    ----------
    radius, radius_error
        The root of dL/dR over all events that choose R, and its standard error. The error is NaN if
        the Newton steps did not come near a root; R is then where they ended. With ``joint.radius``
        R is that, and what a search finds is NaN.
    radius_error_events, radius_error_trees, radius_error_optimiser
        Parts of that error, which add in quadrature: the finite number of events, the finite number
        of trees in the Newton steps, and the last of these steps.
    gradient, gradient_error
        dL/dR over all events at the optimum.
    curvature, curvature_error
        d^2L/dR^2 of the scan at the optimum, from a cubic through the points around it.
    iterations, newton_steps, epoch_remainder
        Iterations and Newton steps done, and events dropped at the end of each epoch.
    converged
        Whether R is an optimum: the Newton steps settled within the bounds, dL/dR on fresh trees is
        compatible with 0, the curvature is clearly positive, and no radius of the scan has a loss
        that is lower by more than its error. If not, the remarks say why.
    rigidity, rigidity_gradient, rigidity_gradient_error
        Average of a learned rigidity, and dL/d alpha over all events there. The error of R is then
        the error at this rigidity. NaN if the rigidity is not learned.
    joint_radius, joint_radius_error
        R that was learned together with a network, and its standard error from finite events and
        trees. NaN without such a training; the error is NaN if it is not determined.
    remarks
        Reasons for doubt in the optimum or its error.
    """

    radius: float
    radius_error: float
    radius_error_events: float
    radius_error_trees: float
    radius_error_optimiser: float
    gradient: float
    gradient_error: float
    curvature: float
    curvature_error: float
    iterations: int
    newton_steps: int
    epoch_remainder: int
    converged: bool
    rigidity: float = math.nan
    rigidity_gradient: float = math.nan
    rigidity_gradient_error: float = math.nan
    joint_radius: float = math.nan
    joint_radius_error: float = math.nan
    remarks: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return html_table("Result", rows_of(self))


def rows_of(result: Result) -> dict[str, Any]:
    """The rows of a table of a result."""
    parts = {
        "events": result.radius_error_events,
        "trees": result.radius_error_trees,
        "last step": result.radius_error_optimiser,
    }
    rows: dict[str, Any] = {
        "R": plus_minus(result.radius, result.radius_error),
        "error": ", ".join(
            f"{error:.2g} ({name})" for name, error in parts.items() if not math.isnan(error)
        ),
        "dL/dR": plus_minus(result.gradient, result.gradient_error),
        "is an optimum": "yes" if result.converged else "no",
        "iterations": f"{result.iterations}, and {result.newton_steps} Newton steps",
    }
    if not math.isnan(result.rigidity):
        rows["rigidity"] = f"{result.rigidity:.4g}"
    if not math.isnan(result.joint_radius):
        rows["R with its network"] = plus_minus(result.joint_radius, result.joint_radius_error)
    return {**rows, "remarks": "\n".join(result.remarks)}
