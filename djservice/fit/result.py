"""What a run found."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes
    ----------
    radius, radius_error
        The optimum: the averaged iterate, and the standard error of dL/dR there over all events divided by the
        curvature of the scan; NaN where that curvature is not positive.
    gradient, gradient_error
        dL/dR over all events at the optimum.
    curvature, curvature_error
        d^2L/dR^2 of the scan at the optimum, from a cubic through the points around it.
    iterations, epoch_remainder
        Iterations done, and events left out at the end of each pass over the sample.
    converged
        Whether the averages stood still to the tolerance.
    rigidity, rigidity_gradient, rigidity_gradient_error
        Where the rigidity is learned: its average, and dL/d alpha over all events there. R's error is then that at this
        rigidity. NaN where it is not learned.
    remarks
        What speaks against taking the optimum and its error at face value.
    """

    radius: float
    radius_error: float
    gradient: float
    gradient_error: float
    curvature: float
    curvature_error: float
    iterations: int
    epoch_remainder: int
    converged: bool
    rigidity: float = math.nan
    rigidity_gradient: float = math.nan
    rigidity_gradient_error: float = math.nan
    remarks: tuple[str, ...] = ()
