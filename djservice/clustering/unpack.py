"""Conversion of the kernel's results to scores, states and flips of a sample.

Rates are in R instead of log R, for the requested parameters. The conversion works on the device
of the results, the host or a GPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.trees import FLIP_RATE, FLIP_STEP, TRACE_FIELDS, States
from djservice.core.array_module import array_module
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch


def per_parameter(bounds: Floats) -> Floats:
    """Factors per event from the kernel's d/d log R, d/d log rho ... to d/dR, d/drho ...

    The shape is (event, 5).
    """
    with np.errstate(divide="ignore"):
        factor = np.where(np.isfinite(bounds) & (bounds > 0), 1.0 / bounds, 0.0)
    return np.concatenate([factor, np.ones((len(bounds), 2))], axis=1)


def with_physical_score(trace: Floats, factor: Floats, rows: NDArray[np.int64]) -> Floats:
    """The trace with its scores multiplied by a factor per event, in place.

    ``rows`` is the number of rows of each event.
    """
    trace[:, TRACE_FIELDS.index("score")] *= np.repeat(factor, rows)
    return trace


def flips_of(
    single: Floats, per_step: Floats | None, events: EventBatch, factor: Floats, trees: int
) -> Floats:
    """Flips of each tree with rates in R, shape (event, tree, flip, 4).

    The number of flips is one, or that of the tree with most flips.
    """
    if per_step is None:
        flips = single.reshape(len(events), trees, 1, 4)
    else:
        # The flips of a tree are in the first of its rows.
        module, largest = array_module(per_step), int(events.counts.max(initial=0))
        counts, start = (
            module.asarray(x)[:, np.newaxis, np.newaxis]
            for x in (events.counts, events.offsets[:-1] * trees)
        )
        step = module.arange(largest)
        row = np.minimum(
            start + module.arange(trees)[:, np.newaxis] * counts + step, len(per_step) - 1
        )
        flipped = (per_step[:, FLIP_STEP] >= 0)[row] & (step < counts)
        largest_number = int(flipped.sum(axis=-1).max()) if flipped.size else 0
        no_flip = module.asarray([0.0, -1.0, -1.0, -1.0])
        flips = np.where(
            flipped[..., :largest_number, np.newaxis], per_step[row[..., :largest_number]], no_flip
        )
    flips[..., FLIP_RATE] *= factor[:, np.newaxis, np.newaxis]
    return flips


def states_of(
    parts: list[tuple[Floats, Floats]],
    tree: NDArray[np.int64],
    chosen: list[int],
    physical: Floats,
    trees: int,
) -> States:
    """States of all parts of a job, in the order of (event, tree)."""
    score = np.concatenate([scores for _, scores in parts])[:, chosen]
    return States(
        momenta=np.concatenate([momenta for momenta, _ in parts]),
        scores=score * physical[tree // trees],
        tree=tree,
    )
