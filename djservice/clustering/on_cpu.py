"""Growth of the trees of a job on processors, whose threads share the (event, tree) pairs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.compilation import announce
from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.cpu import cluster_items
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.steps import LIST_FULL, OK, STATES_FULL
from djservice.clustering.kernels.workspace import allocate, allocate_slopes, pairs_at_first
from djservice.clustering.tree_job import TreeFailure, TreeJob
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats

announce()

#: Initial number of states per tree for which there is room.
INITIAL_STATES = 8
#: Number of trees after which a single thread looks whether they are still wanted.
PIECE = 5_000


def grow_on_cpu(job: TreeJob, threads: int | None) -> list[tuple[Floats, Floats]]:
    """Fill the results of a job; return the jets and scores of its states, in parts, by item.

    Raises
    ------
    TreeFailure
        If a tree cannot be grown.
    """
    items, largest = len(job.results.numbers), job.largest
    jets, scores = job.results.jets.shape[1], job.results.scores.shape[1]
    # Idle work spaces, each with its capacity for pairs.
    idle: list[tuple[int, Workspace, ObjectSlopes | None]] = []

    def work_space(pairs: int) -> tuple[Workspace, ObjectSlopes | None]:
        slopes = allocate_slopes(largest, pairs, jets) if job.cotangents is not None else None
        return allocate(largest, pairs, jets), slopes

    def grow(first: int, last: int) -> list[tuple[Floats, Floats]]:
        """Fill the results of items ``first`` to ``last``; return their states."""
        try:
            capacity, work, slopes = idle.pop()
        except IndexError:
            capacity = pairs_at_first(largest)
            work, slopes = work_space(capacity)
        states, room = [], INITIAL_STATES * (last - first) + largest if job.states else 0
        while True:
            state_jets, state_scores = np.empty((room, jets, 4)), np.empty((room, scores))
            status, first, used = cluster_items(
                first,
                last,
                job.trees,
                job.first_tree,
                job.iteration,
                job.setting,
                job.batch,
                work,
                slopes,
                job.imposed,
                job.results,
                state_jets,
                state_scores,
                job.cotangents,
            )
            states.append((state_jets[:used], state_scores[:used]))
            if status == OK:
                idle.append((capacity, work, slopes))
                return states
            if status == LIST_FULL:
                capacity *= 2
                work, slopes = work_space(capacity)
            elif status != STATES_FULL:
                raise TreeFailure(status, first)

    workers = max(1, min(threads or os.cpu_count() or 1, items))
    if workers == 1:
        parts = []
        for first in range(0, max(items, 1), PIECE):  # without events too, there is one part
            between_pieces()
            parts += grow(first, min(first + PIECE, items))
        return parts
    cuts = _cuts(job.counts, job.trees, workers)
    if job.cotangents is not None:
        starts = np.append(job.starts, items)
        cuts = np.unique(starts[np.searchsorted(starts, cuts)])
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(grow, int(first), int(last)) for first, last in pairwise(cuts)]
        return [part for future in futures for part in future.result()]


def _cuts(counts: NDArray[np.int64], trees: int, workers: int) -> NDArray[np.int64]:
    """Bounds of the stretches of (event, tree) that threads take.

    The stretches become smaller and smaller, so that all threads end at about the same time.
    """
    cost = np.concatenate([[0.0], np.cumsum(counts**1.5 + 1.0)])  # measured: docs/performance.md
    bounds = [0.0]
    while bounds[-1] < 1.0:
        bounds.append(min(1.0, bounds[-1] + max((1.0 - bounds[-1]) / (2 * workers), 0.005)))
    items = np.interp(np.array(bounds) * cost[-1], cost, np.arange(len(cost)) * trees)
    return np.unique(np.rint(items).astype(np.int64))
