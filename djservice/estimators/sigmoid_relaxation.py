"""Sigmoid relaxation: particles belong to an axis with a weight that falls with their distance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from djservice.clustering.cluster import sample_trees
from djservice.clustering.particle_order import momenta_of
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample, as_vectors
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require, require_positive
from djservice.core.elementary import azimuth_of, exp, rapidity_of
from djservice.core.typing import Floats
from djservice.estimators.base import (
    Contributions,
    Estimator,
    ExtraJets,
    TreeValues,
    central_difference,
)
from djservice.events.batch import EventBatch


@checked_arguments
@dataclass(frozen=True)
class SigmoidRelaxation(Estimator):
    """df/dR of jets with soft edges around deterministic axes: biased, and without random trees.

    The axes are those of the jets of infinite rigidity. A particle belongs to a jet with the weight
    sigmoid((R^2 - dR^2) / (T R^2)) instead of a step function (:func:`relaxed_jets`). The axes and
    the selection are held fixed.

    The estimand is dE[f]/dR. The estimator is biased at every T, because the jets that are
    differentiated are not those of the trees: on the exact tables its median error is as large as
    the derivative itself. It costs one deterministic clustering and has no variance over trees. It
    is the baseline that other estimators must beat.

    Attributes
    ----------
    temperature
        T.
    axes
        Maximum number of axes per event.
    """

    temperature: float = 0.1
    axes: int = 16

    name: ClassVar[str] = "sigmoid_relaxation"
    biased: ClassVar[bool] = True
    keeps_constituents: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)
        require("jets", self.axes, of="axes")

    def extra_jets(
        self,
        events: EventBatch,
        radius: Floats,
        sampling: Sampling,
        request: TreeRequest,
        sample: TreeSample,
    ) -> ExtraJets:
        exact = sample_trees(
            events,
            radius,
            replace(sampling, rigidity=math.inf),
            replace(request, trees=1, jets=self.axes, settled_pt=None, on_device=False),
        )
        return tuple(
            (
                relaxed_jets(events, radius + step, exact.jets, self.temperature, request.jets),
                0.5 / step,
            )
            for step in (_STEP, -_STEP)
        )

    def slopes(self, values: TreeValues) -> Contributions:
        return central_difference(values)


#: Step in R of the central difference, which is accurate because the weights are smooth.
_STEP = 1e-4


def relaxed_jets(
    events: EventBatch, radius: Floats, axes: Any, temperature: float, jets: int
) -> Any:
    """The leading jets with soft edges of each event, differentiable in R, shape (event, 1, jet).

    A particle's weight in a jet is sigmoid((R^2 - dR^2) / (T R^2)), where dR is its distance to the
    axis. If its weights over all jets add up to more than 1, they are divided by their sum. A jet
    is the weighted sum of four-momenta.

    Parameters
    ----------
    radius
        R of each event, shape (event,).
    axes
        Momenta that point along the axes, shape (event, 1, axis), NaN where an event has fewer.
    temperature
        T.
    jets
        Number of leading jets.
    """
    event = np.repeat(np.arange(len(events)), events.counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        y, phi = rapidity_of(axes)[:, 0], azimuth_of(axes)[:, 0]
    dphi = np.abs(events.phi[:, np.newaxis] - phi[event])
    distance2 = (events.rapidity[:, np.newaxis] - y[event]) ** 2 + np.minimum(
        dphi, 2 * np.pi - dphi
    ) ** 2
    square = radius[event, np.newaxis] ** 2
    exponent = np.clip((square - distance2) / (temperature * square), -500.0, 500.0)
    weight = np.nan_to_num(1.0 / (1.0 + exp(-exponent)))
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    momenta = np.zeros((len(events), weight.shape[1], 4))
    for c, component in enumerate(momenta_of(events).T):
        np.add.at(momenta[..., c], event, weight * component[:, np.newaxis])
    momenta[np.isnan(y)] = np.nan
    pt2 = np.nan_to_num(momenta[..., 0] ** 2 + momenta[..., 1] ** 2, nan=-1.0)
    leading = np.argsort(-pt2, axis=1)[:, :jets]
    chosen = np.full((len(events), jets, 4), np.nan)
    chosen[:, : leading.shape[1]] = np.take_along_axis(momenta, leading[..., np.newaxis], axis=1)
    return as_vectors(chosen[:, np.newaxis])
