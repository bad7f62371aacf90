"""Evaluate a loss and its gradient on a batch: sample trees, form each event's sums, reduce them over events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.batch import EventBatch, as_batch
from djservice.cluster import Scale
from djservice.device import Device, has_gpu
from djservice.errors import InputError
from djservice.estimators import Draw, Estimator, default_estimator
from djservice.losses import Loss, as_loss
from djservice.moments import Moments, Quantity
from djservice.observables import Observable
from djservice.radius import Radius, VariableR, radius_per_event
from djservice.reduce import PerEvent, no_events, reduce_events
from djservice.trees import TreeSample

Floats = NDArray[np.float64]

#: Trees in memory together, of whole events: their jets, scores and states and nothing else; and so many keep a GPU busy.
TREES_AT_ONCE, TREES_AT_ONCE_ON_GPU = 20_000, 500_000


@dataclass(frozen=True)
class Sampling:
    """How trees are grown: what stays the same through a run.

    Attributes
    ----------
    rigidity, power, scale, asymmetry
        As in :func:`djservice.cluster`.
    seed
        Of the run.
    device
        Where trees grow.
    """

    rigidity: float = 1.0
    power: float = -1.0
    scale: Scale = "minimum"
    asymmetry: float = 1.0
    seed: int = 0
    device: Device = "auto"


@dataclass(frozen=True)
class Gradient:
    """dL/dR, or the derivative in another parameter, over a sample.

    Attributes
    ----------
    value, error, tree_error
        dL/dR; its standard error over events and trees; the part of it that comes from the trees.
    loss
        L with its errors.
    acceptance
        Weighted fraction of accepted trees.
    per_event
        The same event by event.
    moments
        The sums that all of it follows from.
    """

    value: float
    error: float
    tree_error: float
    loss: Quantity
    acceptance: float
    per_event: PerEvent
    moments: Moments


def gradient(
    particles: Any,
    objective: Loss | Observable,
    *,
    radius: Radius,
    parameter: str | None = None,
    estimator: Estimator | None = None,
    trees: int = 100,
    rigidity: float = 1.0,
    power: float = -1.0,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    seed: int = 0,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    threads: int | None = None,
    device: Device = "auto",
) -> Gradient:
    """Loss of a sample of events and its derivative, in R by default.

    Parameters
    ----------
    particles
        An :class:`djservice.EventBatch`, or awkward records with pt, phi, mass and rapidity or eta, shape (event, var).
    objective
        A loss, or an observable, which is then its own objective: d E[f] / dR.
    radius, rigidity, power, scale, asymmetry, seed, threads, device
        As in :func:`djservice.cluster`.
    parameter
        What to differentiate in, as the ``parameters`` of :func:`djservice.cluster`; R, or with variable-R jets rho, by
        default. Others need an estimator that is made of the score.
    estimator
        :class:`djservice.StateBaseline` by default; with fewer than 8 trees :class:`djservice.LeaveOneOut`.
    trees
        Per event.
    identity, weight, truth
        Of awkward particles, as in :meth:`djservice.EventBatch.from_arrays`; without an identity, draws depend on how the input
        was cut into arrays.

    Raises
    ------
    InputError
        If an argument has no meaning, or the particles are not such records.
    RunError
        If no tree passes the selection, or the accepted weights do not sum to more than 0.
    """
    sampling = Sampling(rigidity, power, scale, asymmetry, seed, device)
    moments, per_event = evaluate(
        as_batch(particles, identity=identity, weight=weight, truth=truth),
        as_loss(objective),
        estimator or default_estimator(trees),
        sampling,
        radius=radius,
        parameters=() if parameter is None else (parameter,),
        trees=trees,
        threads=threads,
    )
    value = moments.gradient()
    return Gradient(value.value, value.error, value.tree_error, moments.loss(), moments.acceptance, per_event, moments)


def evaluate(
    events: EventBatch,
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    *,
    radius: Radius,
    parameters: tuple[str, ...] = (),
    jacobian: Floats | None = None,
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
    threads: int | None = None,
    look: Callable[[EventBatch, TreeSample], None] | None = None,
) -> tuple[Moments, PerEvent]:
    """Sums over the events of a batch, and the results per event.

    Parameters
    ----------
    radius
        R: one number, one per event, or a :class:`djservice.VariableR`.
    parameters
        What to differentiate in: R, or with variable-R jets rho, by default.
    jacobian
        Shape (event, theta): dR/dtheta of each event. The sums then hold the derivatives in theta and not in R.
    trees
        Per event.
    stream, iteration
        What the random numbers are keyed by, beside the seed and the identity of each event.
    look
        Called with some of the events and their trees, until all were seen.
    """
    needed = trees_needed(loss, estimator)
    if trees < needed:
        raise InputError(
            f"trees is {trees}, expected {needed} or more with the {estimator.name} estimator and this loss."
        )
    if len(events) == 0:
        number = len(parameters) or 1 if jacobian is None else jacobian.shape[1]
        return no_events(loss, number), PerEvent(*(np.empty(0),) * 2, np.empty(0, np.int64), *(np.empty(0),) * 3)
    in_radius = parameters in ((), ("radius",)) and not isinstance(radius, VariableR)
    if not in_radius and not estimator.in_any_parameter:
        raise InputError(f"the {estimator.name} estimator gives d/dR of one R or of one per event, and nothing else.")
    radii = None if isinstance(radius, VariableR) else radius_per_event(events, radius)
    parts = []
    at_once = max(1, trees_at_once(sampling.device) // (trees * estimator.bulk))
    for start in range(0, len(events), at_once):
        rows = slice(start, start + at_once)
        some = events if len(events) <= at_once else events.select(np.arange(len(events))[rows])
        draw = Draw(
            some,
            {
                "rigidity": sampling.rigidity,
                "power": sampling.power,
                "scale": sampling.scale,
                "asymmetry": sampling.asymmetry,
                "trees": trees,
                "jets": loss.jets,
                "seed": sampling.seed,
                "stream": stream,
                "iteration": iteration,
                "settled_pt": loss.settled_pt,
                "threads": threads,
                "device": sampling.device,
            },
        )
        own = radius if radii is None else radii[rows]
        sample = draw(radius=own, states=estimator.follows, flips=estimator.flips, parameters=parameters)
        if look is not None:
            look(some, sample)
        further = () if radii is None else estimator.further(draw, radii[rows], sample)
        parts.append(
            reduce_events(some, sample, further, loss, estimator, None if jacobian is None else jacobian[rows])
        )
    moments = parts[0][0]
    for part, _ in parts[1:]:
        moments = moments + part
    joined = (np.concatenate([getattr(p, name) for _, p in parts]) for name in PerEvent.__dataclass_fields__)
    return moments, PerEvent(*joined)


def trees_at_once(device: Device) -> int:
    """How many trees are held together."""
    return TREES_AT_ONCE_ON_GPU if has_gpu(device) else TREES_AT_ONCE


def trees_needed(loss: Loss, estimator: Estimator) -> int:
    """The least number of trees per event that a loss and an estimator are defined for."""
    return max(estimator.minimum_trees, *(2 if term.squares_expectation else 1 for term in loss.terms))
