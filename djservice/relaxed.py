"""Jets with soft edges: particles belong to an axis with a weight that falls smoothly with their distance."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.batch import EventBatch
from djservice.trees import as_vectors

Floats = NDArray[np.float64]


def relaxed_jets(events: EventBatch, radius: Floats, axes: Any, temperature: float, jets: int) -> Any:
    """The ``jets`` leading jets with soft edges of each event, shape (event, 1, jet), differentiable in R.

    A particle's weight in a jet is sigmoid((R^2 - dR^2) / (T R^2)), dR its distance to the axis; where its weights over all jets
    add up to more than 1, they are divided by their sum. A jet is the weighted sum of four-momenta.

    Parameters
    ----------
    radius
        R of each event, shape (event,).
    axes
        Momenta that point along the axes, shape (event, 1, axis), NaN where an event has fewer.
    temperature
        T.
    """
    event = np.repeat(np.arange(len(events)), events.counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        y, phi = np.asarray(axes.rapidity)[:, 0], np.asarray(axes.phi)[:, 0]
    dphi = np.abs(events.phi[:, np.newaxis] - phi[event])
    distance2 = (events.rapidity[:, np.newaxis] - y[event]) ** 2 + np.minimum(dphi, 2 * np.pi - dphi) ** 2
    square = radius[event, np.newaxis] ** 2
    exponent = np.clip((square - distance2) / (temperature * square), -500.0, 500.0)
    weight = np.nan_to_num(1.0 / (1.0 + np.exp(-exponent)))
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    transverse = np.hypot(events.pt, events.mass)
    components = (
        events.pt * np.cos(events.phi),
        events.pt * np.sin(events.phi),
        transverse * np.sinh(events.rapidity),
        transverse * np.cosh(events.rapidity),
    )
    momenta = np.zeros((len(events), weight.shape[1], 4))
    for c, component in enumerate(components):
        np.add.at(momenta[..., c], event, weight * component[:, np.newaxis])
    momenta[np.isnan(y)] = np.nan
    pt2 = np.nan_to_num(momenta[..., 0] ** 2 + momenta[..., 1] ** 2, nan=-1.0)
    leading = np.argsort(-pt2, axis=1)[:, :jets]
    chosen = np.full((len(events), jets, 4), np.nan)
    chosen[:, : leading.shape[1]] = np.take_along_axis(momenta, leading[..., np.newaxis], axis=1)
    return as_vectors(chosen[:, np.newaxis])
