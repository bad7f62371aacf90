"""Derivatives of a network's loss in its parameters and in R.

The loss l of a tree is that of the network on the constituents of the leading jets: a cross-entropy,
or the error of a regression. At a fixed tree nothing that the network sees depends on R, so

    dL/dtheta = E[dl/dtheta],        dL/dR = E[(l - b) S]

with the score S of the tree in R and a leave-one-out baseline b. Each distinct set of jets of an
event is evaluated once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import sample_trees
from djservice.clustering.constituents import BLOCK
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.core.formatting import counted
from djservice.core.pieces import between_pieces
from djservice.core.torch_vector import one_thread, packed, unpacked
from djservice.core.typing import Floats
from djservice.errors import InputError, RunError
from djservice.estimators.score_function import LeaveOneOut
from djservice.evaluation.moments import Quantity
from djservice.evaluation.taggers import Network
from djservice.events.batch import EventBatch

#: Trees held in memory at once, with their merges.
TREES_AT_ONCE = 5_000


@dataclass(frozen=True)
class JointSums:
    """Sums over events, which merge with ``+`` in a fixed order.

    Attributes
    ----------
    total
        Sums of w, w l and w dl/dR, with the means over trees of each event, shape (3,).
    outer
        Sums of their products, shape (3, 3).
    slopes
        Sums of w dl/dtheta, shape (theta,).
    events, trees
        Numbers of events with particles, and of their trees.
    """

    total: Floats
    outer: Floats
    slopes: Floats
    events: int
    trees: int

    def __add__(self, other: JointSums) -> JointSums:
        return JointSums(
            self.total + other.total,
            self.outer + other.outer,
            self.slopes + other.slopes,
            self.events + other.events,
            self.trees + other.trees,
        )

    @property
    def acceptance(self) -> float:
        """Every tree has a leading jet."""
        return 1.0

    @property
    def state_share(self) -> float:
        """NaN: the state baseline is not used."""
        return math.nan

    def loss(self) -> Quantity:
        """Mean loss: a cross-entropy in nats, or an error in units of the target."""
        return self._mean(1)

    def gradients(self) -> list[Quantity]:
        """Derivatives in R, with its error, and in the network's parameters, without."""
        of_network = self.slopes / self.total[0]
        return [self._mean(2), *(Quantity(float(x), math.nan, math.nan) for x in of_network)]

    def _mean(self, column: int) -> Quantity:
        """Weighted mean over events with its standard error."""
        weight, sums = self.total[0], self.outer
        if not weight > 0.0:
            raise RunError("the events of all classes have the weight 0: expected some above 0.")
        mean = float(self.total[column] / weight)
        variance = sums[column, column] - 2.0 * mean * sums[0, column] + mean**2 * sums[0, 0]
        n = self.events
        scale = n / (n - 1) if n > 1 else math.nan
        return Quantity(mean, math.sqrt(max(variance, 0.0) * scale) / weight, math.nan)


@dataclass(frozen=True)
class JointEvents:
    """Results of each event, shape (event,); NaN for an event without particles.

    Attributes
    ----------
    loss, slope
        Means over trees of the loss, and its derivative in R.
    value
        Mean over trees of the probability of the first class, or of the prediction.
    """

    loss: Floats
    slope: Floats
    value: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[JointEvents]) -> JointEvents:
        """The results of the events of several parts, in order."""
        names = ("loss", "slope", "value")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def joint_sums(
    events: EventBatch,
    network: Network,
    sampling: Sampling,
    *,
    radius: float,
    trees: int,
    stream: str = "sample",
    iteration: int = 0,
) -> tuple[JointSums, JointEvents]:
    """Sums over events of a network's loss with its derivatives, and the results of each event.

    Parameters
    ----------
    events
        Events of one dataset.
    network
        The network, its parameters and its target.
    radius, trees, stream, iteration
        See :func:`djservice.evaluation.evaluate.evaluate`; two trees or more.

    Raises
    ------
    InputError
        If the module returns another shape, or an event is of no class.
    RunError
        If a loss is not finite; the message names the events.
    """
    filled = np.flatnonzero(events.counts > 0)
    request = TreeRequest(trees, network.jets, stream, iteration, constituents=True)
    at_once = max(1, TREES_AT_ONCE // (trees * network.jets))
    slopes = np.zeros(len(network.theta))
    columns = np.full((3, len(events)), np.nan)
    weight = events.weight * network.target.weight_of(network.target.of(events))
    for start in range(0, len(filled), at_once):
        between_pieces()
        rows = filled[start : start + at_once]
        columns[:, rows], slope = _of_piece(
            events.select(rows), weight[rows], network, sampling, radius, request
        )
        slopes += slope
    loss, gradient = columns[:2, filled]
    w = weight[filled]
    z = np.stack([w, w * loss, w * gradient])
    sums = JointSums(
        z.sum(axis=1), np.einsum("ik,jk->ij", z, z), slopes, len(filled), len(filled) * trees
    )
    return sums, JointEvents(*columns)


def _of_piece(
    events: EventBatch,
    weight: Floats,
    network: Network,
    sampling: Sampling,
    radius: float,
    request: TreeRequest,
) -> tuple[Floats, Floats]:
    """Loss, its derivative in R and the value of each event, and sums of slopes."""
    sample = sample_trees(events, radius, sampling, request)
    members = sample.constituents
    momenta, mask, place = members.padded(members.slots, network.constituents)
    if network.jets == 1:
        momenta, mask = momenta[:, 0], mask[:, 0]
    event = np.empty(len(mask), np.int64)
    event[place] = np.arange(len(events))[:, np.newaxis]
    share = np.bincount(place.ravel(), minlength=len(mask)) / request.trees
    loss, value, slopes = _of_sets(
        momenta, mask, network.target.of(events)[event], share * weight[event], network
    )
    bad = np.unique(event[~np.isfinite(loss)])
    if len(bad):
        names = "; ".join(events.name(int(i)) for i in bad[:5])
        raise RunError(
            f"the loss of {network.tagger.name} is not finite in {counted(len(bad), 'event')}: {names}. Use a "
            "smaller joint.learning_rate, or check the module."
        )
    of_trees = loss[place]
    in_radius = LeaveOneOut().contributions(of_trees, sample.scores[..., 0])
    columns = np.stack([of_trees, in_radius, value[place]]).mean(axis=2)
    return columns, slopes


def _of_sets(
    momenta: Floats,
    mask: NDArray[np.bool_],
    labels: NDArray[Any],
    factors: Floats,
    network: Network,
) -> tuple[Floats, Floats, Floats]:
    """Loss and value of each set of jets, and the sum of the slopes times the factors."""
    import torch

    module = network.vector.module()
    parameters = unpacked(module, network.theta)
    leaves = [value.requires_grad_() for value in parameters.values()]
    loss, value, slopes = np.empty(len(mask)), np.empty(len(mask)), np.zeros(0)
    with one_thread():
        for start in range(0, len(mask), BLOCK):
            rows = slice(start, start + BLOCK)
            inputs = torch.tensor(momenta[rows]), torch.tensor(mask[rows])
            outputs = torch.func.functional_call(module, parameters, inputs)
            _check_outputs(outputs, len(labels[rows]), network)
            each = network.target.losses(outputs, labels[rows])
            total = (each * torch.tensor(factors[rows])).sum()
            gradients = torch.autograd.grad(
                total, leaves, allow_unused=True, materialize_grads=True
            )
            slope = packed(dict(zip(parameters, gradients, strict=True)))
            slopes = slopes + slope if start else slope
            loss[rows] = each.detach().numpy()
            value[rows] = network.target.values(outputs)
    return loss, value, slopes


def _check_outputs(outputs: object, rows: int, network: Network) -> None:
    shape, columns = tuple(getattr(outputs, "shape", ())), network.target.outputs
    if shape != (rows, columns):
        jets = "jets" if network.jets == 1 else f"sets of {network.jets} jets"
        what = "a number for each" if columns == 1 else "a score for each class"
        raise InputError(
            f"{network.tagger.name} returned shape {shape} for {rows} {jets}, expected "
            f"({rows}, {columns}), {what}."
        )
