"""``dj.gradient``: a loss and its gradient for a sample in memory."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.clustering.parameters import score_columns
from djservice.clustering.radius import Radius
from djservice.clustering.rigidities import Rigidity, groups_of, is_per_event
from djservice.clustering.sampling import Sampling, SamplingKeywords, takes_sampling
from djservice.core.bounds import require
from djservice.core.html_table import html_table, plus_minus
from djservice.errors import InputError
from djservice.estimators.base import Estimator
from djservice.estimators.state_baseline import StateBaseline
from djservice.evaluation.allocation import FEWEST, allotted
from djservice.evaluation.evaluate import EvaluationPart, evaluate_each, trees_needed
from djservice.evaluation.moments import Moments, Quantity
from djservice.evaluation.per_event import PerEvent, concatenated
from djservice.events.as_events import as_events
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable, warn_of_defaults
from djservice.objectives.robust import Robust


@dataclass(frozen=True)
class Gradient:
    """dL/dR, or the derivatives in other parameters, over a sample.

    Attributes
    ----------
    value, error, tree_error
        dL/dR; its standard error over events and trees; the part of that error due to the trees.
        Arrays of shape (parameter,) if a list of ``parameters`` was asked for.
    parameters
        Names of the parameters of the derivatives.
    loss
        L with its errors.
    acceptance
        Weighted fraction of accepted trees.
    per_event
        Results of each event, as arrays: the mean of the observable, the loss and its derivatives
        with their errors (:class:`djservice.evaluation.per_event.PerEvent`).
    moments
        Sums from which all other numbers follow.
    """

    value: Any
    error: Any
    tree_error: Any
    parameters: tuple[str, ...]
    loss: Quantity
    acceptance: float
    per_event: PerEvent = field(repr=False)  # long arrays
    moments: Moments = field(repr=False)

    def _repr_html_(self) -> str:
        columns = (np.atleast_1d(column) for column in (self.value, self.error, self.tree_error))
        slopes = {
            f"d/d {name}": f"{plus_minus(value, error)} ({tree_error:.2g} of it from the trees)"
            for name, value, error, tree_error in zip(self.parameters, *columns, strict=True)
        }
        rows = {
            "loss": plus_minus(self.loss.value, self.loss.error),
            "accepted trees": f"{self.acceptance:.3f}",
            "events": f"{self.moments.events:,}",
        }
        return html_table("Gradient", {**slopes, **rows})


@takes_sampling
def gradient(
    particles: Any,
    objective: Loss | Robust | Observable,
    *,
    radius: Radius,
    parameters: str | Sequence[str] = (),
    estimator: Estimator | None = None,
    trees: int = 100,
    pilot: int | None = None,
    rigidity: Rigidity = 1.0,
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> Gradient:
    """Loss of a sample of events and its derivative, in R by default.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`, or a list of them, of several
        datasets.
    objective
        A loss; a :class:`djservice.Robust`; or an observable, whose mean is then the objective:
        d E[f] / dR.
    radius, rigidity, sampling
        See :func:`djservice.cluster`.
    parameters
        Parameter of the derivative, or several, of those of :func:`djservice.cluster`; R by
        default, or rho with variable-R jets. Other parameters need an estimator made of the score.
        Several cost little more than one, and share their trees.
    estimator
        :class:`djservice.StateBaseline` by default.
    trees
        Trees per event.
    pilot
        Trees per event of a pilot, which has random numbers of its own. Its spread then decides how
        many trees each event has (:mod:`djservice.evaluation.allocation`). All together take the
        time of ``trees`` trees of each. Without a pilot every event has as many.
    mask, identity, weight, truth
        Particles that are no padding, and columns of the events, unless they are an EventBatch; see
        :func:`djservice.as_events`. Without an identity, draws depend on how the input was cut into
        arrays.

    Raises
    ------
    InputError
        If an argument has no meaning, or the particles are not such records.
    RunError
        If no tree passes the selection, or the accepted weights do not sum to more than 0.

    Warns
    -----
    InputWarning
        If an observable reads columns of the particles that they lack.
    """
    if not isinstance(estimator, Estimator | None):
        raise InputError(
            f"estimator is {estimator!r}, expected an object such as djservice.LeaveOneOut()."
        )
    alone = isinstance(parameters, str) or parameters == ()
    settings = Sampling(1.0 if is_per_event(rigidity) else cast(float, rigidity), **sampling)
    listed = (parameters,) if isinstance(parameters, str) else parameters
    names = tuple(score_columns(radius, settings.power, listed))
    is_list = isinstance(particles, (list, tuple)) and bool(particles)
    batches = [
        as_events(each, mask, identity=identity, weight=weight, truth=truth)
        for each in (particles if is_list else [particles])
    ]
    loss = objective if isinstance(objective, Robust) else as_loss(objective)
    for batch in batches:
        warn_of_defaults((term.observable for term in loss.terms), batch.columns)
    evaluated = functools.partial(evaluate_each, loss=loss, parameters=names, spread=True)
    groups, order = _groups(batches, radius, rigidity, settings)
    if pilot is not None:
        groups = _allotted(evaluated, groups, loss, estimator, pilot, trees)
    estimator = estimator or StateBaseline()
    results = _of_groups(functools.partial(evaluated, estimator=estimator, trees=trees), groups)
    moments = functools.reduce(operator.add, (moments for moments, _ in results))
    per_event = concatenated([per_event for _, per_event in results]).take(order)
    derivatives = np.array([astuple(derivative) for derivative in moments.gradients()]).T
    value, error, tree_error = (float(x[0]) if alone else x for x in derivatives)
    return Gradient(
        value,
        error,
        tree_error,
        names,
        moments.loss(),
        moments.acceptance,
        per_event,
        moments,
    )


#: Parts of the events, with the settings of their trees.
_Group = tuple[Sequence[EvaluationPart], Sampling]
_Results = list[tuple[Moments, PerEvent]]


def _groups(
    batches: list[EventBatch], radius: Radius, rigidity: Rigidity, settings: Sampling
) -> tuple[list[_Group], NDArray[np.int64]]:
    """The events of each rigidity, and the order back to that of the batches."""
    if not is_per_event(rigidity):
        every = np.arange(sum(map(len, batches)))
        return [([EvaluationPart(batch, radius) for batch in batches], settings)], every
    if len(batches) > 1:
        raise InputError("rigidity: expected one number with a list of batches, found an array.")
    groups = list(groups_of(batches[0], radius, rigidity))
    parts: list[_Group] = [
        ([EvaluationPart(some, radii)], replace(settings, rigidity=alpha))
        for _, some, radii, alpha in groups
    ]
    return parts, np.argsort(np.concatenate([rows for rows, *_ in groups]), kind="stable")


def _of_groups(evaluated: Callable[..., _Results], groups: list[_Group]) -> _Results:
    return [each for parts, settings in groups for each in evaluated(parts, sampling=settings)]


def _allotted(
    evaluated: Callable[..., _Results],
    groups: list[_Group],
    loss: Loss | Robust,
    estimator: Estimator | None,
    pilot: int,
    trees: int,
) -> list[_Group]:
    """The groups, with trees for each event by the spread of the trees of a pilot."""
    require("trees", pilot, of="pilot")
    of_pilot = estimator or StateBaseline()
    if pilot < (needed := max(FEWEST, trees_needed(loss, of_pilot))):
        raise InputError(
            f"pilot is {pilot}, expected {needed} or more with the {of_pilot.name} estimator and "
            "this loss, or None."
        )
    results = _of_groups(
        functools.partial(
            evaluated, estimator=of_pilot, trees=pilot, stream="pilot", bootstrap=False
        ),
        groups,
    )
    spread = np.concatenate([events.spread for _, events in results])
    every = [(part.events, settings.rigidity) for parts, settings in groups for part in parts]
    counts = np.concatenate([events.counts for events, _ in every])
    sizes = [len(events) for events, _ in every]
    rigidity = np.repeat([of_part for _, of_part in every], sizes)
    fewest = trees_needed(loss, estimator or StateBaseline())
    numbers = np.split(allotted(spread, counts, trees, fewest, rigidity), np.cumsum(sizes))
    of_part = iter(numbers)
    return [
        ([replace(part, trees=next(of_part)) for part in parts], settings)
        for parts, settings in groups
    ]
