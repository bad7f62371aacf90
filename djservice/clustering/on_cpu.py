"""The trees of a job on this machine's processors: threads share the (event, tree) pairs in stretches."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.candidates import Work
from djservice.clustering.kernels.cpu import cluster_items
from djservice.clustering.kernels.steps import LIST_FULL, OK, STATES_FULL
from djservice.clustering.kernels.workspace import allocate, pairs_at_first
from djservice.clustering.tree_job import Job, TreeFailure
from djservice.core.typing import Floats

#: States that there is room for per tree, at first.
STATES = 8


def grow_on_cpu(job: Job, threads: int | None) -> list[tuple[Floats, Floats]]:
    """Fill the results; returns the jets and scores of the states, in parts, by item.

    Raises
    ------
    TreeFailure
        Of a tree that cannot be grown.
    """
    items, largest = len(job.results.numbers), job.largest
    jets, wide = job.results.jets.shape[1], job.results.scores.shape[1]
    spare: list[
        tuple[int, Work]
    ] = []  # work space, with its room for pairs, that no thread is using

    def stretch(first: int, last: int) -> list[tuple[Floats, Floats]]:
        """Fill the results of items ``first`` to ``last``; returns their states."""
        try:
            capacity, work = spare.pop()
        except IndexError:
            capacity = pairs_at_first(largest)
            work = allocate(largest, capacity, jets)
        kept, room = [], STATES * (last - first) + largest if job.states else 0
        while True:
            state_jets, state_scores = np.empty((room, jets, 4)), np.empty((room, wide))
            status, first, used = cluster_items(
                first,
                last,
                job.trees,
                job.first_tree,
                job.iteration,
                job.setting,
                job.batch,
                work,
                job.given,
                job.results,
                state_jets,
                state_scores,
            )
            kept.append((state_jets[:used], state_scores[:used]))
            if status == OK:
                spare.append((capacity, work))
                return kept
            if status == LIST_FULL:
                capacity *= 2
                work = allocate(largest, capacity, jets)
            elif status != STATES_FULL:
                raise TreeFailure(status, first)

    workers = max(1, min(threads or os.cpu_count() or 1, items))
    if workers == 1:
        return stretch(0, items)
    with ThreadPoolExecutor(workers) as pool:
        running = [
            pool.submit(stretch, int(a), int(b))
            for a, b in pairwise(_cuts(job.counts, job.trees, workers))
        ]
        return [part for done in running for part in done.result()]


def _cuts(counts: NDArray[np.int64], trees: int, workers: int) -> NDArray[np.int64]:
    """Where to cut (event, tree) into stretches for threads: ever smaller ones, so that all end at the same time."""
    cost = np.concatenate([[0.0], np.cumsum(counts**1.5 + 1.0)])  # measured: docs/performance.md
    done = [0.0]
    while done[-1] < 1.0:
        done.append(min(1.0, done[-1] + max((1.0 - done[-1]) / (2 * workers), 0.005)))
    items = np.interp(np.array(done) * cost[-1], cost, np.arange(len(cost)) * trees)
    return np.unique(np.rint(items).astype(np.int64))
