"""The result of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """The result of a run: the optimum, its error, and remarks.

    Attributes
    ----------
    radius, radius_error
        The optimum, which is the averaged iterate, and its standard error. The error is that of
        dL/dR over all events divided by the curvature of the scan, and NaN if the curvature is not
        positive.
    gradient, gradient_error
        dL/dR over all events at the optimum.
    curvature, curvature_error
        d^2L/dR^2 of the scan at the optimum, from a cubic through the points around it.
    iterations, epoch_remainder
        Iterations done, and events dropped at the end of each epoch.
    converged
        True if the averages moved less than the tolerance.
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
    joint_radius: float = math.nan
    joint_radius_error: float = math.nan
    remarks: tuple[str, ...] = ()
