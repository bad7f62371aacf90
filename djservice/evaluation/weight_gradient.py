"""Derivatives of an objective in the parameters of particle weights, through the clustering.

For weights w(theta) that multiply the momenta of particles,

    dE[l]/dtheta = sum_i (p_i . E[dl/dp_i + (l - b) dlogP/dp_i]) (dw_i/dtheta) / w_i

with a leave-one-out baseline b. The first term in the brackets is the pathwise part, the second the
score part. Particles' derivatives are summed up event by event
(:func:`djservice.clustering.particle_cotangents.particle_cotangents`), and the model pulls them back
to its parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from djservice.clustering.cluster import sample_trees
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.core.formatting import counted
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats
from djservice.errors import RunError
from djservice.estimators.score_function import LeaveOneOut
from djservice.evaluation.evaluate import trees_at_once
from djservice.evaluation.mean_objective import evaluated, pathwise
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.evaluation.reduce import reduced
from djservice.evaluation.vector_moments import VectorMoments
from djservice.events.batch import EventBatch
from djservice.objectives.losses import Loss
from djservice.objectives.pooled_statistics import PooledMean
from djservice.weight_models.weighting import Weights

#: The full gradient, or its pathwise part, which is quieter and biased by the score part.
Estimate = Literal["full", "pathwise"]

_LAYOUT = MomentLayout((PooledMean(),), (1.0,), 0)


@dataclass(frozen=True)
class InWeights:
    """What is differentiated.

    Attributes
    ----------
    estimate
        "full" or "pathwise". The derivative in R is all score, and is there with both.
    radius
        Whether R is the first parameter, before theta.
    """

    estimate: Estimate = "full"
    radius: bool = False


def weight_gradients(
    parts: Sequence[EventBatch],
    weights: Weights,
    loss: Loss,
    sampling: Sampling,
    derivatives: InWeights,
    *,
    radius: float,
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
) -> list[VectorMoments]:
    """Sums over the events of each of several parts, with derivatives in theta.

    The sums of a part have the same bits whatever the other parts are.

    Parameters
    ----------
    parts
        Prepared events (:meth:`djservice.weight_models.weighting.Weighting.prepare`).
    weights
        Weights of their particles.
    loss
        A mean over trees; with 2 trees or more.
    derivatives
        What is differentiated.
    radius, trees, stream, iteration
        See :func:`djservice.evaluation.evaluate.evaluate`.

    Raises
    ------
    RunError
        If a derivative is not finite; the message names the events.
    """
    request = TreeRequest(trees, loss.jets, stream, iteration, settled_pt=loss.settled_pt)
    # Names of datasets are only labels here, and batches of several cannot be joined.
    events = EventBatch.concatenate([replace(part, dataset="") for part in parts])
    at_once = max(1, trees_at_once(sampling.device, loss) // trees)
    pieces = [
        _of_events(
            events.select(np.arange(start, min(start + at_once, len(events)))),
            weights,
            loss,
            sampling,
            derivatives,
            radius,
            request,
        )
        for start in range(0, len(events), at_once)
    ]
    parameters = derivatives.radius + len(weights.theta)
    columns = (
        [np.concatenate(column) for column in zip(*pieces, strict=True)]
        if pieces
        else [np.empty((0, 5)), np.empty((0, trees, 5)), np.empty((0, parameters, 2))]
    )
    results, first = [], 0
    for part in parts:
        rows = slice(first, first + len(part))
        results.append(_sums(part, trees, *(column[rows] for column in columns)))
        first += len(part)
    return results


def _of_events(
    events: EventBatch,
    weights: Weights,
    loss: Loss,
    sampling: Sampling,
    derivatives: InWeights,
    radius: float,
    request: TreeRequest,
) -> tuple[Floats, Floats, Floats]:
    """Means over trees of (I l, I, I, I f, I f^2), these of each tree less the means, and slopes.

    Shapes (event, 5), (event, tree, 5) and (event, theta, 2); the slopes are those of the first
    two.
    """
    between_pieces()
    factors = weights.of(events)
    weighted = events.weighted(factors)
    sample = sample_trees(weighted, radius, sampling, request)
    quantity, mask = evaluated(loss, sample.jets, events.truth)
    value = np.where(mask, loss.terms[0].observable(sample.jets), 0.0)
    accepted = mask.astype(np.float64)
    columns = np.stack([quantity, accepted, accepted, value, value**2], axis=-1)
    mean = columns.mean(axis=1)
    u = _score_factors(quantity, accepted, np.ones_like(quantity))
    if derivatives.estimate == "pathwise":
        u = [np.zeros_like(column) for column in u]
    pairs = [(u[0], np.ones_like(quantity))]
    if not mask.all():
        pairs.append((u[1], np.zeros_like(quantity)))
    sums, _ = particle_cotangents(
        weighted,
        radius,
        sampling,
        request,
        np.stack([np.stack(pair, axis=-1) for pair in pairs], axis=2),
        pathwise(loss, sample.momenta, weighted, mask),
        coordinates="pt_y_phi_m",
    )
    slopes = weights.pull_back(events, in_weights(events, factors, sums / request.trees))
    if derivatives.radius:
        in_radius = _score_factors(quantity, accepted, sample.scores[..., 0])
        first = np.stack([column.mean(axis=1) for column in in_radius], axis=-1)
        slopes = np.concatenate([first[:, np.newaxis], slopes], axis=1)
    _check_finite(events, mean, slopes)
    return mean, columns - mean[:, np.newaxis], slopes


def in_weights(events: EventBatch, factors: Floats, cotangents: Floats) -> Floats:
    """Derivatives in the weight of each particle, shape (particle, 2).

    Parameters
    ----------
    events, factors
        Events without weights, and the weights of their particles.
    cotangents
        Derivatives of one or two numbers in pt, y, phi and m of each particle of positive weight,
        shape (particle, number, 4).
    """
    slopes, kept = np.zeros((len(factors), 2)), factors > 0.0
    pt, mass = events.pt[kept, np.newaxis], events.mass[kept, np.newaxis]
    slopes[kept, : cotangents.shape[1]] = pt * cotangents[..., 0] + mass * cotangents[..., 3]
    return slopes


def _score_factors(quantity: Floats, accepted: Floats, score: Floats) -> list[Floats]:
    """Contributions of the trees to the derivatives of a and b, with a leave-one-out baseline."""
    estimator = LeaveOneOut()
    by_accepted = -estimator.contributions(1.0 - accepted, score)
    return [estimator.contributions(quantity, score), by_accepted]


def _check_finite(events: EventBatch, mean: Floats, slopes: Floats) -> None:
    finite = np.isfinite(mean).all(axis=1) & np.isfinite(slopes).all(axis=(1, 2))
    bad = np.flatnonzero(~finite)
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the gradient in the weights is not finite in {counted(len(bad), 'event')}: {names}. Check the "
            "observable and the weight model."
        )


def _sums(
    events: EventBatch, trees: int, mean: Floats, centred: Floats, slopes: Floats
) -> VectorMoments:
    weight = events.weight
    moments = Moments(
        _LAYOUT,
        *reduced(mean, centred, weight),
        weight=float(weight.sum()),
        events=len(events),
        events_without=int((mean[:, 1] == 0.0).sum()),
        trees=len(events) * trees,
        trees_accepted=round(float(mean[:, 1].sum()) * trees),
        state_share=float("nan"),
    )
    z, weighted = mean[:, :2] * weight[:, np.newaxis], slopes * weight[:, np.newaxis, np.newaxis]
    return VectorMoments.of(moments, z, weighted)
