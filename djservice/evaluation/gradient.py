"""``dj.gradient``: a loss and its gradient for a sample in memory."""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field
from typing import Any, Unpack

from numpy.typing import ArrayLike

from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, SamplingKeywords, takes_sampling
from djservice.errors import InputError
from djservice.estimators.base import Estimator
from djservice.estimators.registry import default_estimator
from djservice.evaluation.evaluate import EvaluationPart, evaluate_each
from djservice.evaluation.moments import Moments, Quantity
from djservice.evaluation.reduce import PerEvent, concatenated
from djservice.events.batch import as_batch
from djservice.objectives.losses import Loss, as_loss
from djservice.objectives.observable import Observable, warn_of_defaults
from djservice.objectives.robust import Robust


@dataclass(frozen=True)
class Gradient:
    """dL/dR, or the derivative in another parameter, over a sample.

    Attributes
    ----------
    value, error, tree_error
        dL/dR; its standard error over events and trees; the part of that error due to the trees.
    loss
        L with its errors.
    acceptance
        Weighted fraction of accepted trees.
    per_event
        Results of each event.
    moments
        Sums from which all other numbers follow.
    """

    value: float
    error: float
    tree_error: float
    loss: Quantity
    acceptance: float
    per_event: PerEvent = field(repr=False)  # long arrays
    moments: Moments = field(repr=False)


@takes_sampling
def gradient(
    particles: Any,
    objective: Loss | Robust | Observable,
    *,
    radius: Radius,
    parameter: str | None = None,
    estimator: Estimator | None = None,
    trees: int = 100,
    rigidity: float = 1.0,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    weight: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> Gradient:
    """Loss of a sample of events and its derivative, in R by default.

    Parameters
    ----------
    particles
        An :class:`djservice.EventBatch`, or a list of them, of several datasets; or awkward records
        with pt, phi, mass and rapidity or eta, shape (event, var).
    objective
        A loss; a :class:`djservice.Robust`; or an observable, whose mean is then the objective:
        d E[f] / dR.
    radius, rigidity, sampling
        See :func:`djservice.cluster`.
    parameter
        Parameter of the derivative, one of the ``parameters`` of :func:`djservice.cluster`; R by
        default, or rho with variable-R jets. Other parameters need an estimator made of the score.
    estimator
        :class:`djservice.StateBaseline` by default; with fewer than 8 trees
        :class:`djservice.LeaveOneOut`.
    trees
        Trees per event.
    identity, weight, truth
        Columns of awkward particles; see :meth:`djservice.EventBatch.from_arrays`. Without an
        identity, draws depend on how the input was cut into arrays.

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
    is_list = isinstance(particles, (list, tuple)) and bool(particles)
    batches = [
        as_batch(each, identity=identity, weight=weight, truth=truth)
        for each in (particles if is_list else [particles])
    ]
    loss = objective if isinstance(objective, Robust) else as_loss(objective)
    for batch in batches:
        warn_of_defaults((term.observable for term in loss.terms), batch.columns)
    results = evaluate_each(
        [EvaluationPart(batch, radius) for batch in batches],
        loss,
        estimator or default_estimator(trees),
        Sampling(rigidity, **sampling),
        parameters=() if parameter is None else (parameter,),
        trees=trees,
    )
    moments = functools.reduce(operator.add, (moments for moments, _ in results))
    per_event = concatenated([per_event for _, per_event in results])
    value = moments.gradient()
    return Gradient(
        value.value,
        value.error,
        value.tree_error,
        moments.loss(),
        moments.acceptance,
        per_event,
        moments,
    )
