"""Numbers of trees for each event, by the spread of what its trees say about a gradient.

A sum over events is a stratified estimate in which each event is a stratum. For a given CPU time its
variance is least if the trees of an event are in proportion to the standard deviation of one of
them, over the root of its cost (J. Neyman, J. R. Stat. Soc. 97 (1934) 558; W. G. Cochran, Sampling
Techniques, section 5.5). The spread has to come from other trees, else the estimate is biased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from djservice.core.bounds import BOUNDS
from djservice.core.typing import Floats

#: Part of the mean variance that is added to that of each event, whose few trees may have missed
#: the rare ones, and the rigidity at which it doubles. At higher ones they are rarer, up to the
#: highest that was measured.
SHRINKAGE, DOUBLING_RIGIDITY, HIGHEST_RIGIDITY = 0.1, 30.0, 100.0
#: Fewest trees of an event, unless all have fewer: those of two or three hardly tell their spread.
FEWEST = 4
#: An event has at least 2^LEAST and at most 2^MOST times the given number of trees.
LEAST, MOST = -2, 5
#: Halvings of the interval in which the scale of the numbers is searched for.
_HALVINGS = 60


def tree_costs(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Relative CPU time of a tree of events with these numbers of particles, n^1.5.

    See docs/performance.md.
    """
    return np.rint(counts * np.sqrt(counts)).astype(np.int64) + 1


def allotted(
    spread: Floats,
    counts: NDArray[np.int64],
    trees: int,
    fewest: int,
    rigidity: float | Floats = 1.0,
) -> NDArray[np.int64]:
    """Trees of each event in proportion to its spread over the root of its cost.

    The numbers are powers of two times one of them, so that events form few groups. The same
    numbers follow on every machine, because only operations that IEEE 754 determines decide them.

    Parameters
    ----------
    spread, counts
        Standard deviation of one tree of each event, up to a common factor, and its number of
        particles, shape (event,). A spread that is NaN counts as the mean.
    trees
        All take the time of as many trees of each event, or less.
    fewest
        Fewest trees of an event; at least :data:`FEWEST`, or ``trees`` if these are fewer.
    rigidity
        alpha of the trees, one number or one per event.
    """
    variance, costs = pooled([spread]) ** 2, tree_costs(counts)
    if np.isnan(variance).any():
        return np.full(len(spread), trees)
    doublings = np.square(np.minimum(rigidity, HIGHEST_RIGIDITY) / DOUBLING_RIGIDITY)
    shrinkage, fewest = SHRINKAGE * (1.0 + doublings), max(fewest, min(trees, FEWEST))
    wanted = np.sqrt((variance + shrinkage) / costs)
    low, high = 0.0, 2.0**MOST / float(wanted.min(initial=1.0))  # where all have the most
    numbers, affordable = _numbers(wanted * low, trees, fewest), trees * int(costs.sum())
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        tried = _numbers(wanted * middle, trees, fewest)
        if int((tried * costs).sum()) <= affordable:
            low, numbers = middle, tried
        else:
            high = middle
    # Many events may have the same spread, and together be too many at the next power.
    more = affordable / max(int((numbers * costs).sum()), 1)
    raised = np.minimum(np.floor(numbers * more), BOUNDS["trees"].high)
    return np.asarray(raised, np.int64)


def pooled(spreads: Sequence[Floats], weights: Sequence[float] | None = None) -> Floats:
    """The spread of each event over several samples, shape (event,), each relative to its mean.

    Where a sample has none, NaN, its mean counts. NaN if no sample has any.

    Parameters
    ----------
    weights
        Weight of the variance of each sample; all the same by default.
    """
    variances = []
    for spread, weight in zip(spreads, weights or [1.0] * len(spreads), strict=True):
        known = np.isfinite(spread)
        largest = float(np.max(spread, where=known, initial=0.0))
        if largest > 0.0:
            variance = np.where(known, spread / largest, 0.0) ** 2
            mean = math.fsum(variance[known]) / int(known.sum())
            variances.append((weight, np.where(known, variance / mean, 1.0)))
    if not variances:
        return np.full(len(spreads[0]), math.nan)
    total = sum(weight * variance for weight, variance in variances)
    return np.asarray(np.sqrt(total / sum(weight for weight, _ in variances)))


def _numbers(shares: Floats, trees: int, fewest: int) -> NDArray[np.int64]:
    """The nearest power of two to each share, times ``trees``."""
    _, exponent = np.frexp(shares * math.sqrt(2.0))  # of 2^k it is k + 1
    power = np.where(shares > 0.0, np.clip(exponent - 1, LEAST, MOST), LEAST)
    numbers = np.rint(np.ldexp(float(trees), power)).astype(np.int64)
    return np.clip(numbers, fewest, int(BOUNDS["trees"].high))
