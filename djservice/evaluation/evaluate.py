"""Evaluate a loss and its gradient on a batch: sample trees, form each event's sums, reduce them over events."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from djservice.clustering.cluster import sample_trees
from djservice.clustering.device import Device, has_gpu, memory_for
from djservice.clustering.radius import Radius, VariableR, radius_per_event
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Estimator, ExtraJets
from djservice.evaluation.moments import Moments
from djservice.evaluation.reduce import PerEvent, joined, no_events, reduce_events
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss

#: Trees in memory together, of whole events: their jets, scores and states and nothing else; and so many keep a GPU busy.
TREES_AT_ONCE, TREES_AT_ONCE_ON_GPU = 20_000, 500_000


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
    on_trees: Callable[[EventBatch, TreeSample], None] | None = None,
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
    threads
        Instead of those of the sampling.
    on_trees
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
        on_trees=on_trees,
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
        rows = [
            np.arange(len(self.events))[start : start + at_once]
            for start in range(0, len(self.events), at_once)
        ]
        radii = (
            None
            if isinstance(self.radius, VariableR)
            else radius_per_event(self.events, self.radius)
        )
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
    on_trees: Callable[[EventBatch, TreeSample], None] | None = None,
) -> list[tuple[Moments, PerEvent]]:
    """:func:`evaluate` for each of several parts, with the same bits, small ones together: what a call costs, it costs once."""
    _check(parts, loss, estimator, parameters, trees)
    if threads is not None:
        sampling = replace(sampling, threads=threads)
    request = TreeRequest(
        trees,
        loss.jets,
        stream,
        iteration,
        settled_pt=loss.settled_pt,
        parameters=parameters,
        on_device=True,
    )
    at_once = max(1, trees_at_once(sampling.device) // (trees * estimator.memory_factor))
    pieces = [
        (number, piece) for number, part in enumerate(parts) for piece in part.pieces(at_once)
    ]
    answers: list[list[tuple[Moments, PerEvent]]] = [[] for _ in parts]
    for together in _packed(pieces, at_once):
        own = [piece for _, piece in together]
        for (number, _), answer in zip(
            together,
            _evaluate_together(own, loss, estimator, sampling, request, on_trees),
            strict=True,
        ):
            answers[number].append(answer)
    return [
        _merged(
            answer,
            loss,
            (len(parameters) or 1) if part.jacobian is None else part.jacobian.shape[1],
        )
        for part, answer in zip(parts, answers, strict=True)
    ]


def _check(
    parts: Sequence[Part], loss: Loss, estimator: Estimator, parameters: tuple[str, ...], trees: int
) -> None:
    needed = trees_needed(loss, estimator)
    if trees < needed:
        raise InputError(
            f"trees is {trees}, expected {needed} or more with the {estimator.name} estimator and this loss."
        )
    variable = any(isinstance(part.radius, VariableR) for part in parts)
    if (parameters not in ((), ("radius",)) or variable) and not estimator.in_any_parameter:
        raise InputError(
            f"the {estimator.name} estimator gives d/dR of one R or of one per event, and nothing else."
        )


def _evaluate_together(
    parts: Sequence[Part],
    loss: Loss,
    estimator: Estimator,
    sampling: Sampling,
    request: TreeRequest,
    on_trees: Callable[[EventBatch, TreeSample], None] | None,
) -> list[tuple[Moments, PerEvent]]:
    """The trees of some parts grown in one call, and the sums of each."""
    events, radius, jacobian = _joined(parts)
    with memory_for(
        f"{request.trees} trees of each of {len(events)} events, with their sums,", sampling.device
    ):
        watched = replace(request, states=estimator.follows, flips=estimator.flips)
        sample = sample_trees(events, radius, sampling, watched)
        if on_trees is not None:
            on_trees(events, sample)
        extra: ExtraJets = ()
        if not isinstance(radius, VariableR):
            extra = estimator.extra_jets(events, radius, sampling, request, sample)
        sizes = [len(part.events) for part in parts]
        return reduce_events(events, sample, extra, loss, estimator, jacobian, sizes)


def _merged(
    answers: Sequence[tuple[Moments, PerEvent]], loss: Loss, parameters: int
) -> tuple[Moments, PerEvent]:
    """The sums of a part from those of its pieces; of no events, if there are none."""
    sums = [moments for moments, _ in answers]
    return functools.reduce(operator.add, sums) if sums else no_events(loss, parameters), joined(
        [per_event for _, per_event in answers]
    )


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
    events = (
        parts[0].events
        if len(parts) == 1
        else EventBatch.concatenate([part.events for part in parts])
    )
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
    return max(
        estimator.minimum_trees, *(2 if term.squares_expectation else 1 for term in loss.terms)
    )
