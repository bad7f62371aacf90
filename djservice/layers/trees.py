"""Padded particles -> jets, log-probabilities and constituents, and the way back of derivatives.

Both directions take NumPy arrays with any leading axes and depend on nothing else, so a framework
may call them again, elsewhere or in another order. Trees are not kept. The way back grows them
again from their keys, with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import sample_trees
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.radius import radius_per_event
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import LOG_PROB
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.layers.keys import whole
from djservice.layers.padded import check_shapes, event_name, to_batch


class Settings(NamedTuple):
    """What is fixed when a layer is compiled; rigidity and seed of ``sampling`` are not used."""

    request: TreeRequest
    sampling: Sampling

    @classmethod
    def of(
        cls, trees: int, jets: int, learn_rigidity: bool, complete: bool, **growth: Any
    ) -> Settings:
        """Settings of the keywords of a layer.

        Parameters
        ----------
        learn_rigidity
            Whether there is a derivative in the rigidity, which costs a little.
        complete
            Whether trees are grown to their end and have constituents. Otherwise they end once
            their leading jets are settled.
        """
        names = ("radius", "rigidity") if learn_rigidity else ("radius",)
        settled = None if complete else 0.0
        request = TreeRequest(
            trees, jets, settled_pt=settled, parameters=names, constituents=complete
        )
        return cls(request, Sampling(**growth))

    def shapes(self, particles: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Shapes of what :func:`grow` returns for particles of a shape."""
        *leading, slots, _ = particles
        per_tree = (*leading, self.request.trees)
        return (
            (*per_tree, self.request.jets, 4),
            per_tree,
            (*per_tree, slots if self.request.constituents else 0),
            (*per_tree, len(self.request.parameters)),
        )


class Inputs(NamedTuple):
    """Arrays that a layer takes, all with the same leading axes.

    Attributes
    ----------
    particles, mask
        Shape (..., particle, 4): px, py, pz and E in GeV; and (..., particle).
    radius, rigidity
        Shape (...).
    keys
        Shape (..., 4): halves of the identity and of the seed.
    """

    particles: NDArray[Any]
    mask: NDArray[np.bool_]
    radius: NDArray[Any]
    rigidity: NDArray[Any]
    keys: NDArray[Any]

    def batch(self) -> EventBatch:
        """The events, without padding, in their flat order."""
        self._check()
        particles = self.particles.astype(np.float64)
        return to_batch(particles, self.mask, whole(self.keys[..., :2]).ravel())

    def portions(
        self, events: EventBatch, sampling: Sampling
    ) -> Iterator[tuple[NDArray[np.int64], EventBatch, Floats, Sampling]]:
        """Events with the same rigidity and seed: their rows, batch, radii and sampling."""
        radii = radius_per_event(events, self.radius.astype(np.float64).ravel())
        seeds = whole(self.keys[..., 2:]).ravel()
        rigidities = self.rigidity.astype(np.float64).ravel()
        of_both = np.rec.fromarrays([rigidities, seeds])
        for pair in np.unique(of_both):
            rows = np.flatnonzero(of_both == pair)
            same = replace(sampling, rigidity=float(pair[0]), seed=int(pair[1]))
            yield rows, events.select(rows), radii[rows], same

    def _check(self) -> None:
        leading = check_shapes(self.particles, self.mask, self.radius, self.rigidity)
        bad = np.argwhere(np.isnan(self.rigidity))
        if len(bad):
            raise InputError(f"{event_name(bad[0])}: rigidity is nan, expected a positive number.")
        assert self.radius.shape == self.rigidity.shape == leading


def grow(settings: Settings, inputs: Inputs) -> tuple[NDArray[Any], ...]:
    """Jets, log-probabilities, constituents and scores of the trees of padded events.

    Returns
    -------
    jets
        Shape (..., tree, jet, 4): px, py, pz and E of the leading jets, 0 where a tree has fewer.
    log_prob
        Shape (..., tree).
    constituents
        Shape (..., tree, particle), int32: place of the jet of a particle among the leading jets,
        -1 if it is in none or is padding. Without particles if trees are not complete.
    scores
        Shape (..., tree, parameter): d log P in R, and in the rigidity where it is learned.

    Raises
    ------
    InputError, ClusteringError
        See :func:`djservice.cluster`; the message names the event.
    """
    events, request = inputs.batch(), settings.request
    mask = inputs.mask.reshape(-1, inputs.mask.shape[-1])
    of_jets, of_trees, of_members, of_scores = settings.shapes(inputs.particles.shape)
    jets, log_prob = np.zeros((len(events), *of_jets[-3:])), np.zeros((len(events), of_trees[-1]))
    members = np.full((len(events), *of_members[-2:]), -1, np.int32)
    scores = np.zeros((len(events), *of_scores[-2:]))
    for rows, portion, radii, sampling in inputs.portions(events, settings.sampling):
        sample = sample_trees(portion, radii, sampling, request)
        jets[rows] = np.nan_to_num(sample.momenta, nan=0.0)
        if not sample.deterministic:
            log_prob[rows], scores[rows] = sample.numbers[..., LOG_PROB], sample.scores
        if request.constituents:
            for row, part in zip(rows, sample.constituents.members(), strict=True):
                members[row][:, mask[row]] = part
    kind = inputs.particles.dtype
    return (
        jets.reshape(of_jets).astype(kind),
        log_prob.reshape(of_trees).astype(kind),
        members.reshape(of_members),
        scores.reshape(of_scores).astype(kind),
    )


def pull_back(
    settings: Settings,
    inputs: Inputs,
    jets: NDArray[Any],
    scores: NDArray[Any],
    jets_bar: NDArray[Any],
    log_prob_bar: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Derivatives in particles, radius and rigidity, from those in jets and log-probabilities.

    Parameters
    ----------
    jets, scores
        What :func:`grow` returned for the same inputs.

    Raises
    ------
    InputError
        If a derivative in a jet or a log-probability is not finite; the message names the event.
    ClusteringError
        If a derivative in a particle does not exist.
    """
    shape = inputs.particles.shape
    events, request = inputs.batch(), settings.request
    jets_bar = np.where(jets.any(axis=-1, keepdims=True), jets_bar, 0.0).astype(np.float64)
    factor = log_prob_bar.astype(np.float64)
    finite = np.isfinite(jets_bar).all(axis=(-2, -1)) & np.isfinite(factor)
    if not finite.all():
        *event, tree = np.argwhere(~finite)[0]
        raise InputError(
            f"{event_name(event)}, tree {tree}: the loss has no finite derivative in the jets. "
            "Change the function, or leave out the event."
        )
    slopes = (factor[..., np.newaxis] * scores).sum(axis=-2)
    factor, jets_bar = factor.reshape(-1, request.trees), jets_bar.reshape(-1, *jets.shape[-3:])
    flat = np.empty((len(events.pt), 4))
    event_of = np.repeat(np.arange(len(events)), events.counts)
    for rows, portion, radii, sampling in inputs.portions(events, settings.sampling):
        u = factor[rows] if np.isfinite(sampling.rigidity) else np.zeros_like(factor[rows])
        sums, _ = particle_cotangents(
            portion,
            radii,
            sampling,
            replace(request, constituents=False, parameters=("radius",)),
            np.stack([u, np.ones_like(u)], axis=-1)[:, :, np.newaxis],
            jets_bar[rows],
            coordinates="px_py_pz_E",
        )
        flat[np.isin(event_of, rows)] = sums[:, 0]
    particles_bar = np.zeros(shape)
    particles_bar[inputs.mask] = flat
    rigidity_bar = slopes[..., 1] if slopes.shape[-1] > 1 else np.zeros(shape[:-2])
    return (
        particles_bar.astype(inputs.particles.dtype),
        slopes[..., 0].astype(inputs.radius.dtype),
        rigidity_bar.astype(inputs.rigidity.dtype),
    )
