"""Evaluation of a loss and its gradient on a batch of events.

The steps are: sample trees, form the sums of each event, and reduce them over events.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import sample_trees
from djservice.clustering.device import Device, has_gpu, memory_for
from djservice.clustering.radius import Radius, VariableR, radius_per_event
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Estimator, ExtraJets
from djservice.evaluation.moments import Moments
from djservice.evaluation.per_event import PerEvent, concatenated
from djservice.evaluation.reduce import layout_of, reduce_events, zero_moments
from djservice.evaluation.tree_columns import Grown
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss
from djservice.objectives.robust import Robust

#: Trees held in memory at once, with their jets, scores and states. A GPU needs more to be busy.
TREES_AT_ONCE, TREES_AT_ONCE_ON_GPU = 20_000, 500_000
#: Memory of a tree with its merges, relative to a plain tree.
_CONSTITUENTS_FACTOR = 4


def evaluate(
    events: EventBatch,
    loss: Loss | Robust,
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
        Parameters of the derivatives; R by default, or rho with variable-R jets.
    jacobian
        dR/dtheta of each event, shape (event, theta). The sums then hold the derivatives in theta
        instead of R.
    trees
        Trees per event.
    stream, iteration
        Keys of the random numbers, in addition to the seed and the identity of each event.
    threads
        Number of threads, instead of that of the sampling.
    on_trees
        Called with portions of the events and their trees until all events are covered. On a GPU
        the arrays are CuPy's.
    """
    ((moments, per_event),) = evaluate_each(
        [EvaluationPart(events, radius, jacobian)],
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
class EvaluationPart:
    """Events that get sums of their own; ``radius`` and ``jacobian`` are as in :func:`evaluate`.

    ``trees`` are the trees of each event, shape (event,), if they differ.
    """

    events: EventBatch
    radius: Radius
    jacobian: Floats | None = None
    trees: NDArray[np.int64] | None = None

    def pieces(self, at_once: int) -> list[EvaluationPart]:
        """This part, split into pieces of at most ``at_once`` events."""
        if len(self.events) <= at_once:
            return [self]
        return [
            self.select(np.arange(len(self.events))[start : start + at_once])
            for start in range(0, len(self.events), at_once)
        ]

    def select(self, rows: NDArray[np.int64]) -> EvaluationPart:
        """The events at ``rows``, with equal numbers of trees."""
        radius = self.radius
        if not isinstance(radius, VariableR):
            radius = radius_per_event(self.events, radius)[rows]
        jacobian = None if self.jacobian is None else self.jacobian[rows]
        return EvaluationPart(self.events.select(rows), radius, jacobian)


def evaluate_each(
    parts: Sequence[EvaluationPart],
    loss: Loss | Robust,
    estimator: Estimator,
    sampling: Sampling,
    *,
    parameters: tuple[str, ...] = (),
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
    threads: int | None = None,
    on_trees: Callable[[EventBatch, TreeSample], None] | None = None,
    bootstrap: bool = True,
    spread: bool = False,
) -> list[tuple[Moments, PerEvent]]:
    """Moments and results per event of each of several parts.

    Every part has the same bits as from :func:`evaluate` alone. Small parts are evaluated together,
    which saves the fixed cost of a call. Without ``bootstrap`` there are no replicas of the sample,
    which cost a few microseconds for each event. Only with ``spread`` do the results per event have
    the spread of their trees.
    """
    if any(part.trees is not None for part in parts):
        alike = functools.partial(
            evaluate_each, loss=loss, estimator=estimator, sampling=sampling, parameters=parameters,
            stream=stream, iteration=iteration, threads=threads, on_trees=on_trees,
            bootstrap=bootstrap, spread=spread,
        )  # fmt: skip
        return _by_number(parts, trees, alike, loss, len(parameters) or 1)
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
        constituents=loss.needs_constituents,
    )
    _check(parts, loss, estimator, parameters, trees)
    per_event = trees * estimator.memory_factor * layout_of(loss, 0).versions
    at_once = max(1, trees_at_once(sampling.device, loss) // per_event)
    pieces = [
        (number, piece) for number, part in enumerate(parts) for piece in part.pieces(at_once)
    ]
    results: list[list[tuple[Moments, PerEvent]]] = [[] for _ in parts]
    for group in _packed(pieces, at_once):
        numbers, members = zip(*group, strict=True)
        evaluated = _evaluate_group(
            members, loss, estimator, sampling, request, on_trees, bootstrap, spread
        )
        for number, result in zip(numbers, evaluated, strict=True):
            results[number].append(result)
    return [
        _merged(part, result, loss, len(parameters) or 1)
        for part, result in zip(parts, results, strict=True)
    ]


def _by_number(
    parts: Sequence[EvaluationPart],
    trees: int,
    evaluated: Callable[..., list[tuple[Moments, PerEvent]]],
    loss: Loss | Robust,
    parameters: int,
) -> list[tuple[Moments, PerEvent]]:
    """The results of parts whose events have different numbers of trees.

    Events of as many trees are evaluated together. The sums of a part are added by rising number.
    """
    numbers = [
        np.full(len(part.events), trees) if part.trees is None else part.trees for part in parts
    ]
    results: list[list[tuple[Moments, PerEvent]]] = [[] for _ in parts]
    for number in np.unique(np.concatenate(numbers)):
        rows = [np.flatnonzero(each == number) for each in numbers]
        some = [part.select(of_part) for part, of_part in zip(parts, rows, strict=True)]
        for result, each in zip(results, evaluated(some, trees=int(number)), strict=True):
            result.append(each)
    merged = []
    for part, result, of_part in zip(parts, results, numbers, strict=True):
        moments, per_event = _merged(part, result, loss, parameters)
        back = np.argsort(np.argsort(of_part, kind="stable"), kind="stable")
        merged.append((moments, per_event.take(back)))
    return merged


def _check(
    parts: Sequence[EvaluationPart],
    loss: Loss | Robust,
    estimator: Estimator,
    parameters: tuple[str, ...],
    trees: int,
) -> None:
    needed = trees_needed(loss, estimator)
    if trees < needed:
        raise InputError(
            f"trees is {trees}, expected {needed} or more with the {estimator.name} estimator and "
            "this loss."
        )
    if loss.needs_constituents and not estimator.keeps_constituents:
        raise InputError(
            f"the {estimator.name} estimator makes jets with soft edges, which have no "
            "constituents, and the loss reads them. Take another one, such as "
            "djservice.LeaveOneOut()."
        )
    variable = any(isinstance(part.radius, VariableR) for part in parts)
    if (parameters not in ((), ("radius",)) or variable) and not estimator.in_any_parameter:
        raise InputError(
            f"the {estimator.name} estimator gives only d/dR, with one R or one per event; "
            f"for {', '.join(parameters) or 'variable-R jets'} expected an estimator made of the "
            "score, such as djservice.StateBaseline()."
        )


def _evaluate_group(
    parts: Sequence[EvaluationPart],
    loss: Loss | Robust,
    estimator: Estimator,
    sampling: Sampling,
    request: TreeRequest,
    on_trees: Callable[[EventBatch, TreeSample], None] | None,
    bootstrap: bool,
    spread: bool,
) -> list[tuple[Moments, PerEvent]]:
    """The results of several parts, whose trees are grown in one call."""
    between_pieces()
    events, radius, jacobian = _concatenated(parts)
    with memory_for(
        f"{request.trees} trees of each of {len(events)} events, with their sums,", sampling.device
    ):
        states = estimator.uses_states and not all(t.needs_constituents for t in loss.terms)
        full_request = replace(request, states=states, flips=estimator.flips)
        grown = []
        for made in loss.made(events, sampling.seed) if isinstance(loss, Robust) else [events]:
            sample = sample_trees(made, radius, sampling, full_request)
            if on_trees is not None:
                on_trees(made, sample)
            extra: ExtraJets = ()
            if not isinstance(radius, VariableR):
                extra = estimator.extra_jets(made, radius, sampling, request, sample)
            grown.append(Grown(made, sample, extra, sampling.rigidity))
        sizes = [len(part.events) for part in parts]
        return reduce_events(grown, loss, estimator, jacobian, sizes, bootstrap, spread)


def _merged(
    part: EvaluationPart,
    pieces: Sequence[tuple[Moments, PerEvent]],
    loss: Loss | Robust,
    parameters: int,
) -> tuple[Moments, PerEvent]:
    """The results of a part from those of its pieces, which may be none."""
    sums = [moments for moments, _ in pieces]
    thetas = parameters if part.jacobian is None else part.jacobian.shape[1]
    moments = functools.reduce(operator.add, sums) if sums else zero_moments(loss, thetas)
    return moments, concatenated([per_event for _, per_event in pieces], parameters)


def _packed(
    pieces: Sequence[tuple[int, EvaluationPart]], at_once: int
) -> Iterator[list[tuple[int, EvaluationPart]]]:
    """Groups of neighbouring pieces of one dataset, of at most ``at_once`` events each.

    Pieces without events are left out.
    """
    group: list[tuple[int, EvaluationPart]] = []
    for number, piece in pieces:
        if len(piece.events) == 0:
            continue
        events = sum(len(member.events) for _, member in group) + len(piece.events)
        if group and (events > at_once or piece.events.dataset != group[0][1].events.dataset):
            yield group
            group = []
        group.append((number, piece))
    if group:
        yield group


def _concatenated(
    parts: Sequence[EvaluationPart],
) -> tuple[EventBatch, VariableR | Floats, Floats | None]:
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


def trees_at_once(device: Device, loss: Loss | Robust) -> int:
    """Number of trees for a loss that are held in memory at once on a device."""
    number = TREES_AT_ONCE_ON_GPU if has_gpu(device) else TREES_AT_ONCE
    return number // (_CONSTITUENTS_FACTOR if loss.needs_constituents else 1)


def trees_needed(loss: Loss | Robust, estimator: Estimator) -> int:
    """Minimum number of trees per event for which a loss and an estimator are defined."""
    return max(
        estimator.minimum_trees, *(2 if term.squares_expectation else 1 for term in loss.terms)
    )
