"""Evaluate a loss and its gradient on a batch: sample trees, form each event's sums, reduce them over events."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.batch import EventBatch, as_batch
from djservice.cluster import Scale
from djservice.device import Device, has_gpu, memory_for
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
    per_event: PerEvent = field(repr=False)  # long arrays
    moments: Moments = field(repr=False)


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
    if not isinstance(estimator, Estimator | None):
        raise InputError(f"estimator is {estimator!r}, expected an object such as djservice.LeaveOneOut().")
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
        Called with some of the events and their trees, until all were seen; on a GPU their arrays are CuPy's.
    """
    ((moments, per_event),) = evaluate_each(
        [Part(events, radius, jacobian)],
        loss,
        estimator,
        sampling,
        parameters=parameters,
        trees=trees,
        stream=stream,
        iteration=iteration,
        threads=threads,
        look=look,
    )
    return moments, per_event


@dataclass(frozen=True)
class Part:
    """Events whose sums are wanted by themselves: ``radius`` and ``jacobian`` as in :func:`evaluate`."""

    events: EventBatch
    radius: Radius
    jacobian: Floats | None = None

    def pieces(self, at_once: int) -> list[Part]:
        """The same in pieces of so many events at most."""
        if len(self.events) <= at_once:
            return [self]
        rows = [np.arange(len(self.events))[start : start + at_once] for start in range(0, len(self.events), at_once)]
        radii = None if isinstance(self.radius, VariableR) else radius_per_event(self.events, self.radius)
        return [
            Part(
                self.events.select(some),
                self.radius if radii is None else radii[some],
                None if self.jacobian is None else self.jacobian[some],
            )
            for some in rows
        ]


def evaluate_each(
    parts: Sequence[Part],
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    *,
    parameters: tuple[str, ...] = (),
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
    threads: int | None = None,
    look: Callable[[EventBatch, TreeSample], None] | None = None,
) -> list[tuple[Moments, PerEvent]]:
    """:func:`evaluate` for each of several parts, with the same bits, small ones together: what a call costs, it costs once."""
    needed = trees_needed(loss, estimator)
    if trees < needed:
        raise InputError(
            f"trees is {trees}, expected {needed} or more with the {estimator.name} estimator and this loss."
        )
    variable = any(isinstance(part.radius, VariableR) for part in parts)
    if (parameters not in ((), ("radius",)) or variable) and not estimator.in_any_parameter:
        raise InputError(f"the {estimator.name} estimator gives d/dR of one R or of one per event, and nothing else.")
    at_once = max(1, trees_at_once(sampling.device) // (trees * estimator.bulk))
    pieces = [(number, piece) for number, part in enumerate(parts) for piece in part.pieces(at_once)]
    found: list[list[tuple[Moments, PerEvent]]] = [[] for _ in parts]
    for together in _packed(pieces, at_once):
        events, radius, jacobian = _joined([piece for _, piece in together])
        draw = Draw(
            events,
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
                "on_device": True,
            },
        )
        with memory_for(f"{trees} trees of each of {len(events)} events, with their sums,", sampling.device):
            sample = draw(radius=radius, states=estimator.follows, flips=estimator.flips, parameters=parameters)
            if look is not None:
                look(events, sample)
            further = () if isinstance(radius, VariableR) else estimator.further(draw, radius, sample)
            sizes = [len(piece.events) for _, piece in together]
            reduced = reduce_events(events, sample, further, loss, estimator, jacobian, sizes)
        for (number, _), answer in zip(together, reduced, strict=True):
            found[number].append(answer)
    nothing = PerEvent(*(np.empty(0),) * 2, np.empty(0, np.int64), *(np.empty(0),) * 3)
    answers = []
    for part, own in zip(parts, found, strict=True):
        if not own:
            number = len(parameters) or 1 if part.jacobian is None else part.jacobian.shape[1]
            answers.append((no_events(loss, number), nothing))
            continue
        joined = (np.concatenate([getattr(p, name) for _, p in own]) for name in PerEvent.__dataclass_fields__)
        answers.append((functools.reduce(operator.add, (moments for moments, _ in own)), PerEvent(*joined)))
    return answers


def _packed(pieces: Sequence[tuple[int, Part]], at_once: int) -> Iterator[list[tuple[int, Part]]]:
    """Neighbours of one dataset together, so many events at most; those without events are left out."""
    together: list[tuple[int, Part]] = []
    for number, piece in pieces:
        if len(piece.events) == 0:
            continue
        events = sum(len(other.events) for _, other in together) + len(piece.events)
        if together and (events > at_once or piece.events.dataset != together[0][1].events.dataset):
            yield together
            together = []
        together.append((number, piece))
    if together:
        yield together


def _joined(parts: Sequence[Part]) -> tuple[EventBatch, VariableR | Floats, Floats | None]:
    events = parts[0].events if len(parts) == 1 else EventBatch.concatenate([part.events for part in parts])
    if isinstance(parts[0].radius, VariableR):
        return events, parts[0].radius, None
    radii = [radius_per_event(part.events, part.radius) for part in parts]  # type: ignore[arg-type]
    jacobians = [part.jacobian for part in parts if part.jacobian is not None]
    return events, np.concatenate(radii), np.concatenate(jacobians) if jacobians else None


def trees_at_once(device: Device) -> int:
    """How many trees are held together."""
    return TREES_AT_ONCE_ON_GPU if has_gpu(device) else TREES_AT_ONCE


def trees_needed(loss: Loss, estimator: Estimator) -> int:
    """The least number of trees per event that a loss and an estimator are defined for."""
    return max(estimator.minimum_trees, *(2 if term.squares_expectation else 1 for term in loss.terms))
