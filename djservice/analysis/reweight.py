"""``dj.reweight``: the loss and its slope near one R, from trees that were grown at that R.

Every tree is weighted by the ratio of its probabilities at the two radii.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from djservice.clustering.cluster import follow_trees, sample_trees
from djservice.clustering.sampling import Sampling, SamplingKeywords, TreeRequest, takes_sampling
from djservice.core.bounds import require_number
from djservice.core.elementary import exp
from djservice.core.typing import Floats
from djservice.errors import InputError, NothingAcceptedError
from djservice.events.as_events import as_events
from djservice.objectives.losses import Loss, Term, as_loss
from djservice.objectives.observable import Observable
from djservice.objectives.pooled_statistics import PooledMean


@dataclass(frozen=True)
class Reweighted:
    """Loss and slope at nearby radii; all arrays have shape (radius,).

    Attributes
    ----------
    radii
        Radii R'.
    loss, loss_error, gradient, gradient_error
        L and dL/dR at R', with standard errors over events and trees.
    fraction
        Effective number of trees, (sum r)^2 / sum r^2, as a fraction of all trees; mean over
        events.
    """

    radii: Floats
    loss: Floats
    loss_error: Floats
    gradient: Floats
    gradient_error: Floats
    fraction: Floats


@takes_sampling
def reweight(
    particles: Any,
    objective: Loss | Observable,
    *,
    radius: float,
    radii: Sequence[float],
    trees: int = 100,
    rigidity: float = 1.0,
    least_fraction: float = 0.3,
    **sampling: Unpack[SamplingKeywords],
) -> Reweighted:
    """Loss and dL/dR in a neighbourhood of R from one set of trees.

    At R', tree n of an event has the weight r_n = P_R'(tree) / P_R(tree), divided by the mean of r
    over the event's trees. This self-normalisation has a bias of order 1/trees.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`.
    objective
        A loss of one term, or an observable.
    radius, radii
        R, where the trees are grown, and R', where they are evaluated.
    least_fraction
        Minimum effective fraction of the trees; an R' with a smaller fraction is refused.
    trees, rigidity, sampling
        See :func:`djservice.gradient`.

    Raises
    ------
    InputError
        If the effective fraction of the trees at an R' is below ``least_fraction``; the message
        gives the fraction. Also if the objective is a sum of losses or the square of an
        expectation.
    """
    events = as_events(particles)
    loss = as_loss(objective)
    if (
        not isinstance(loss, Term)
        or loss.squares_expectation
        or not isinstance(loss.statistic, PooledMean)
    ):
        raise InputError(
            "reweighting takes a loss of one term that is a mean over trees, found "
            f"{type(loss).__name__}. Give an observable or djservice.SquaredError."
        )
    require_number("least_fraction", least_fraction)
    settings = Sampling(rigidity, **sampling)
    sample = sample_trees(events, radius, settings, TreeRequest(trees, loss.jets, history=True))
    assert sample.history is not None
    _, (quantity,), accepted = loss.evaluate(sample.jets, events.truth)
    rows = []
    for target_radius in radii:
        # The same trees, with their probability and score at R'.
        reweighted = follow_trees(
            events, sample.history, target_radius, settings, TreeRequest(trees, loss.jets)
        )
        ratio = exp(reweighted.log_prob - sample.log_prob)
        total = ratio.sum(axis=1, keepdims=True)
        fraction = (
            float((total[:, 0] ** 2 / (ratio**2).sum(axis=1)).mean() / trees)
            if len(events)
            else 1.0
        )
        if fraction < least_fraction:
            raise InputError(
                f"R = {target_radius:g} is too far from {radius:g} at rigidity {rigidity:g}: only "
                f"{fraction:.2f} of the trees count effectively, expected {least_fraction:g} or "
                "more. Grow trees nearer to it, or use more trees and a lower least_fraction."
            )
        share = ratio / total
        mask = accepted.astype(np.float64)
        pooled = _pooled(events.weight, quantity, mask, reweighted.score, share)
        rows.append((*pooled, fraction))
    return Reweighted(np.asarray(radii, dtype=np.float64), *np.array(rows).reshape(-1, 5).T)


def _pooled(
    weight: Floats, quantity: Floats, accepted: Floats, score: Floats, share: Floats
) -> tuple[float, float, float, float]:
    """Loss and dL/dR of weighted trees pooled over events, each with its standard error.

    docs/how-it-works.md derives the errors.
    """

    def mean(values: Floats) -> Floats:
        return np.asarray((share * values).sum(axis=1))

    centred = score - mean(score)[:, np.newaxis]
    score = np.where(share > 0, centred, 0.0)
    a, b = weight * mean(quantity), weight * mean(accepted)
    ga, gb = (weight * mean((h - mean(h)[:, np.newaxis]) * score) for h in (quantity, accepted))
    norm, events = float(b.sum()), len(weight)
    if not norm > 0.0:
        raise NothingAcceptedError(
            "no tree passes the selection, so the loss is not defined. Loosen the cuts."
        )
    loss = float(a.sum()) / norm
    slope = float((ga - loss * gb).sum()) / norm
    loss_influence = (a - loss * b) / norm
    slope_influence = (ga - loss * gb - float(gb.sum()) / norm * (a - loss * b) - slope * b) / norm
    factor = events / (events - 1) if events > 1 else np.nan
    errors = [float(np.sqrt(factor * (u**2).sum())) for u in (loss_influence, slope_influence)]
    return loss, errors[0], slope, errors[1]
