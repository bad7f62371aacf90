"""Cotangents of particles from those of trees: the vector-Jacobian product of the clustering.

The trees are grown again from their keys, with the same bits, or along given histories. The
derivatives of each are added up at once, so memory does not depend on the number of trees.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import grow
from djservice.clustering.kernels.grow import Imposed
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.particle_order import ranks, rename, sorted_particles
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.core.typing import Floats
from djservice.errors import ClusteringError, InputError
from djservice.events.batch import EventBatch
from djservice.events.keys import draw_keys

Coordinates = Literal["px_py_pz_E", "pt_y_phi_m"]

#: Trees of an event are added up in strands of at least this many, and in at most so many strands.
#: The strands fix the order of the sums, whatever threads share the work.
_STRAND, _STRANDS = 32, 16


def particle_cotangents(
    events: EventBatch,
    radius: Radius,
    sampling: Sampling,
    request: TreeRequest,
    factors: Floats,
    jets: Floats,
    *,
    coordinates: Coordinates,
    history: NDArray[np.int32] | None = None,
) -> tuple[Floats, Floats]:
    """Sums over trees of u S + v T and of its square, shape (particle, column, 4) each.

    S is d log P(tree) / dx and T the derivative of a function of the tree's leading jets, which is
    given by its derivatives in these jets. x are the coordinates of each particle in the order of
    the batch. The sums of an event have the same bits whatever the threads and the other events
    are.

    Parameters
    ----------
    events, radius, sampling, request
        Those with which the trees were sampled or are replayed. The derivatives are those of the
        steps that are taken, so of stopped trees if ``settled_pt`` is given.
    factors
        Shape (event, tree, column, 2): u and v of each column.
    jets
        Shape (event, tree, jet, 4): derivatives of the function in px, py, pz and E of the leading
        jets. Those of jets that a tree does not have are not read.
    coordinates
        Coordinates of the particles: "px_py_pz_E", or "pt_y_phi_m", where the derivative in the
        mass of a massless particle is 0.
    history
        Histories to follow, as in :func:`djservice.replay`; the trees of the keys by default.

    Raises
    ------
    InputError
        If the coordinates have no such name.
    ClusteringError
        If a derivative does not exist, or as in :func:`djservice.cluster`; the message names the
        event.
    """
    check_coordinates(coordinates)
    order, particles = sorted_particles(events, sampling.power)
    in_batch = order.astype(np.int64) + np.repeat(events.offsets[:-1], events.counts)
    strands = min(max(request.trees // _STRAND, 1), _STRANDS)
    shape = (strands * len(particles), factors.shape[2], 4)
    cotangents = Cotangents(
        np.ascontiguousarray(factors.reshape(-1, *factors.shape[2:])),
        np.ascontiguousarray(jets.reshape(-1, *jets.shape[2:])),
        events.mass[in_batch] if coordinates == "pt_y_phi_m" else np.empty(0),
        _rows(events, request.trees, strands),
        np.zeros(shape),
        np.zeros(shape),
    )
    imposed, keys = Imposed(np.empty((0, 2), np.int32), np.empty((0, 4))), events.key
    if history is None:
        keys = draw_keys(events.key, sampling.seed, request.stream)
    else:
        rows = history.copy()
        rename(rows, ranks(order, events.offsets), events.offsets, request.trees)
        imposed = Imposed(rows, imposed.forced)
    grow(events, particles, radius, sampling, request, keys, imposed, cotangents)
    totals = [
        _over_strands(array, events.counts, strands, in_batch)
        for array in (cotangents.sums, cotangents.squares)
    ]
    _check_finite(totals[0], events)
    return totals[0], totals[1]


def check_coordinates(coordinates: str) -> None:
    """Refuse names that are none of coordinates."""
    if coordinates not in get_args(Coordinates):
        names = " or ".join(repr(name) for name in get_args(Coordinates))
        raise InputError(f"coordinates is {coordinates!r}, expected {names}.")


def _rows(events: EventBatch, trees: int, strands: int) -> NDArray[np.int64]:
    """Of each item, the row of the sums where the particles of its strand begin."""
    strand = np.arange(trees) // math.ceil(trees / strands)
    first = events.offsets[:-1, np.newaxis] * strands + events.counts[:, np.newaxis] * strand
    return np.ascontiguousarray(first.ravel())


def _over_strands(
    array: Floats, counts: NDArray[np.int64], strands: int, in_batch: NDArray[np.int64]
) -> Floats:
    """Sums over the strands, one after the other, of the particles in the order of the batch."""
    sizes = np.repeat(counts, counts)
    rows = np.arange(len(in_batch)) + np.repeat(np.cumsum(counts) - counts, counts) * (strands - 1)
    total: Floats = array[rows]
    for strand in range(1, strands):
        total += array[rows + strand * sizes]
    ordered: Floats = np.empty_like(total)
    ordered[in_batch] = total
    return ordered


def _check_finite(sums: Floats, events: EventBatch) -> None:
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=(1, 2)))
    if len(bad):
        event = int(np.searchsorted(events.offsets, bad[0], side="right")) - 1
        raise ClusteringError(
            f"{events.name(event)}, particle {bad[0] - events.offsets[event]}: a derivative does "
            "not exist, as where momenta cancel to a sum without pT. Remove the event, or move a "
            "particle."
        )
