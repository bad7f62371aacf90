"""Tangents of the jets of sampled trees for the Gumbel-softmax straight-through estimator."""

from __future__ import annotations

import numpy as np

from djservice.clustering.kernels.tangents import allocate_rows, tangents_of_trees
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.particle_order import ranks, rename, sorted_particles
from djservice.clustering.trees import TreeSample
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.events.keys import draw_keys


def jet_tangents(
    events: EventBatch,
    sample: TreeSample,
    radius: Floats,
    temperature: float,
    *,
    rigidity: float,
    power: float,
    asymmetry: float,
    seed: int,
    stream: str,
    iteration: int,
) -> Floats:
    """Tangents d(px, py, pz, E)/dR of the leading jets of each tree.

    The shape is (event, tree, jet, 4), with NaN where a tree has fewer jets. Each draw is
    differentiated as a softmax.

    Parameters
    ----------
    sample
        Complete trees of these events with their histories.
    radius
        R of each event, shape (event,).
    temperature
        T of the softmax.
    rigidity, power, seed, stream, iteration
        Settings with which the sample was grown.
    asymmetry
        q of the safe scale; 0 is the published one.
    """
    assert sample.history is not None
    shape = sample.momenta.shape
    order, particles = sorted_particles(events, power)
    history = sample.history.copy()
    rename(history, ranks(order, events.offsets), events.offsets, shape[1])
    tangents = np.empty((shape[0] * shape[1], *shape[2:]))
    tangents_of_trees(
        shape[1],
        particles,
        events.offsets,
        history,
        radius,
        Setting(
            power, rigidity, asymmetry, settled_pt=0.0, stops=False, main=0, sharp=False, wide=False
        ),
        temperature,
        draw_keys(events.key, seed, stream),
        iteration,
        allocate_rows(max(int(events.counts.max(initial=0)), 1)),
        tangents,
        np.empty(shape[2]),
    )
    return tangents.reshape(shape)
