"""Whether the end of a fit is an optimum, and what else a careful reader of its result would object."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.fit.descent import Descent
from djservice.fit.newton import Newton
from djservice.fit.weights_fit import weight_remarks
from djservice.store.run_store import Store

#: Number of events below which the errors of a robust width are too small (docs/results.md).
FEW_EVENTS = 200


def objections(
    run: Run,
    newton: Newton,
    curvature: float,
    optimum: Mapping[str, float],
    scan: Mapping[str, Any],
) -> tuple[str, ...]:
    """Reasons why R is no optimum; none if it is one.

    Parameters
    ----------
    run
        The configuration.
    newton
        The Newton steps, at their end.
    curvature
        d^2L/dR^2 where they ended.
    optimum, scan
        Columns of the spectrum there, and of the scan.
    """
    radius = newton.radius
    held_back = run.objective.held_back if run.objective is not None else 0.0
    if optimum["gradient_error"] == 0.0:
        return (
            "dL/dR is 0 in every event: at this rigidity the trees do not vary, so nothing was "
            "learned",
        )
    reasons = [
        _not_settled(newton),
        _slope(newton, curvature, optimum, held_back),
        _lower(radius, optimum["loss"], scan),
        ""
        if run.radius.minimum * 1.01 < radius < run.radius.maximum * 0.99
        else "R is at a bound: widen radius.minimum and radius.maximum",
    ]
    return tuple(reason for reason in reasons if reason)


def _not_settled(newton: Newton) -> str:
    if newton.obstacle:
        return (
            f"{newton.obstacle}, so R is where the search ended and has no error: scan around it, "
            "start elsewhere, or use more events or trees"
        )
    if newton.errors is None:
        return f"{newton.failure}: start near R = {newton.radius:.2f}, or use more trees"
    if not newton.settled:
        return (
            f"the trees' part of the error, {newton.errors.trees:.3f}, is more than a third of the "
            f"events', {newton.errors.events:.3f}: use more spectrum.trees"
        )
    return ""


def _slope(newton: Newton, curvature: float, optimum: Mapping[str, float], held_back: float) -> str:
    """Objection to dL/dR on fresh trees of the same events.

    The share that is held back has no part in R, and so a dL/dR of its own.
    """
    if newton.errors is None:
        return ""
    gradient, error = optimum["gradient"], optimum["gradient_tree_error"]
    expected = math.hypot(error, curvature * newton.errors.trees)
    expected = math.hypot(expected, curvature * newton.errors.optimiser)
    of_events = math.sqrt(max(optimum["gradient_error"] ** 2 - error**2, 0.0))
    expected = math.hypot(expected, math.sqrt(held_back) * of_events)
    if abs(gradient) <= 3.0 * expected:
        return ""
    return (
        f"dL/dR at the optimum is {gradient:.4f} on fresh trees, more than three times the "
        f"{expected:.4f} that chance explains: use more iterations or spectrum.trees"
    )


def _lower(radius: float, loss: float, scan: Mapping[str, Any]) -> str:
    """Objection to an optimum if a radius of the scan has a loss that is clearly lower."""
    radii, losses = np.asarray(scan["radius"]), np.asarray(scan["loss"])
    below = losses + np.asarray(scan["loss_error"]) < loss
    if not below.any():
        return ""
    row = int(np.flatnonzero(below)[np.argmin(losses[below])])
    at_end = radii[row] in (radii.min(), radii.max())
    return (
        f"the loss {'still falls towards' if at_end else 'is lower at'} R = {radii[row]:g}: it is "
        f"{losses[row]:.4f} +- {scan['loss_error'][row]:.4f} there, and {loss:.4f} at R = "
        f"{radius:.3f}: scan there, start there, or use more iterations"
    )


def remarks(run: Run, store: Store, descent: Descent, events: int, batch: int) -> Iterator[str]:
    """What limits the result of a run without making R another."""
    tolerance = run.optimiser.tolerance
    if tolerance is not None and not descent.converged:
        yield (
            f"the averaged radius did not stand still to the tolerance of {tolerance:g} before the "
            "Newton steps"
        )
    if len(descent.parameters) > 1:
        yield "the error of R is that at the learned rigidity, which itself has none"
        low, high = descent.parameters[1].minimum, descent.parameters[1].maximum
        if not low * 1.01 < descent.average[1] < high * 0.99:
            yield "the rigidity is at a bound of clustering.learn_rigidity"
    if events < FEW_EVENTS and "robust_width" in {term.kind for term in run.loss}:
        yield (
            f"the errors of a robust_width are too small with {events} events, fewer than "
            f"{FEW_EVENTS}"
        )
    if run.task == "particle-weights":
        yield from weight_remarks(run, store)
    if batch < run.optimiser.batch_events:
        yield f"batches hold all {batch} events, fewer than optimiser.batch_events"
