"""Scores, states and flips of a sample from what the kernel gives: rates in R and not in log R, for the parameters asked for.

All of it works where the kernel's results are, on the host or on a GPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import FLIP_RATE, FLIP_STEP, TRACE_FIELDS, States
from djservice.core.array_module import array_module
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch


def per_parameter(reach: Floats) -> Floats:
    """Per event, what takes each of the kernel's slopes from d/d log R, rho ... to d/dR, shape (event, 5)."""
    with np.errstate(divide="ignore"):
        per = np.where(np.isfinite(reach) & (reach > 0), 1.0 / reach, 0.0)
    return np.concatenate([per, np.ones((len(reach), 2))], axis=1)


def with_physical_score(trace: Floats, factor: Floats, rows: NDArray[np.int64]) -> Floats:
    trace[:, TRACE_FIELDS.index("score")] *= np.repeat(factor, rows)
    return trace


def flips_of(
    one: Floats, of_steps: Floats | None, events: EventBatch, factor: Floats, trees: int
) -> Floats:
    """The flips of each tree, rates in R, shape (event, tree, flip, 4): one, or as many as the tree with most has."""
    if of_steps is None:
        flips = one.reshape(len(events), trees, 1, 4)
    else:
        # Those of a tree are the first of its rows.
        module, largest = array_module(of_steps), int(events.counts.max(initial=0))
        counts, start = (
            module.asarray(x)[:, np.newaxis, np.newaxis]
            for x in (events.counts, events.offsets[:-1] * trees)
        )
        place = module.arange(largest)
        row = np.minimum(
            start + module.arange(trees)[:, np.newaxis] * counts + place, len(of_steps) - 1
        )
        flipped = (of_steps[:, FLIP_STEP] >= 0)[row] & (place < counts)
        most = int(flipped.sum(axis=-1).max()) if flipped.size else 0
        none = module.asarray([0.0, -1.0, -1.0, -1.0])
        flips = np.where(flipped[..., :most, np.newaxis], of_steps[row[..., :most]], none)
    flips[..., FLIP_RATE] *= factor[:, np.newaxis, np.newaxis]
    return flips


def states_of(
    parts: list[tuple[Floats, Floats]],
    tree: NDArray[np.int64],
    chosen: list[int],
    physical: Floats,
    trees: int,
) -> States:
    """The states of all stretches, in the order of (event, tree)."""
    score = np.concatenate([scores for _, scores in parts])[:, chosen]
    return States(
        momenta=np.concatenate([momenta for momenta, _ in parts]),
        scores=score * physical[tree // trees],
        tree=tree,
    )
