"""What a matrix of distances says about a sample: nearest neighbours and correlation dimension.

Errors are those of a jackknife over groups of jets, because distances that share a jet are not
independent.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.core.formatting import counted
from djservice.core.typing import Floats
from djservice.errors import InputError

#: Groups of the jackknife, and scales of the dimension.
GROUPS, SCALES = 20, 16


@dataclass(frozen=True)
class Estimate:
    """A number or several, with the standard error of each."""

    value: Floats
    error: Floats


@dataclass(frozen=True)
class Geometry:
    """Summary of a matrix of distances.

    Attributes
    ----------
    nearest, neighbour
        Shape (jet,): distance of each jet to its nearest neighbour, and the place of that.
    mean, mean_nearest
        Mean distance of two jets, and of a jet and its nearest neighbour.
    scale
        Shape (scale,): distances Q, in the middle of bins of ln Q.
    dimension
        Correlation dimension d ln N(Q) / d ln Q in each bin, N(Q) being the number of pairs below
        Q; NaN where too few pairs are.
    """

    nearest: Floats
    neighbour: NDArray[np.int64]
    mean: Estimate
    mean_nearest: Estimate
    scale: Floats
    dimension: Estimate


def geometry(distances: Floats, scales: int = SCALES) -> Geometry:
    """The summary of a symmetric matrix of distances.

    Raises
    ------
    InputError
        If it has fewer than two jets.
    """
    number = len(distances)
    if number < 2:
        raise InputError(f"{counted(number, 'jet')}: distances need 2 or more.")
    bounds = np.linspace(0, number, min(GROUPS, number) + 1).astype(np.int64)
    apart = distances + np.diag(np.full(number, np.inf))
    closest = np.stack([apart[:, lo:hi].min(axis=1) for lo, hi in _pairs(bounds)], axis=1)
    edges = _edges(apart, scales)
    counts, sums = _blocks(distances, bounds, edges)
    sizes = np.diff(bounds)
    dimension = _jackknife([_slopes(_without(counts, g), edges) for g in _omitted(bounds)])
    mean = _jackknife([_mean(_without(sums, g), number, sizes, g) for g in _omitted(bounds)])
    near = _jackknife([_mean_nearest(closest, bounds, g) for g in _omitted(bounds)])
    middle = np.sqrt(edges[1:] * edges[:-1])
    return Geometry(closest.min(axis=1), apart.argmin(axis=1), mean, near, middle, dimension)


def _pairs(bounds: NDArray[np.int64]) -> list[tuple[int, int]]:
    return [(int(low), int(high)) for low, high in itertools.pairwise(bounds)]


def _omitted(bounds: NDArray[np.int64]) -> list[int | None]:
    """None for the whole sample, then the groups that are left out in turn."""
    return [None, *range(len(bounds) - 1)]


def _edges(apart: Floats, scales: int) -> Floats:
    """Edges of bins of equal width in ln Q, from the 20th closest pair to the median distance."""
    finite = np.sort(apart[np.triu_indices(len(apart), k=1)])
    positive = finite[finite > 0.0]
    if len(positive) == 0 or positive[0] == positive[-1]:
        return np.empty(0)
    low, high = positive[min(20, len(positive) // 4)], np.median(positive)
    if not low < high:
        low, high = positive[0], positive[-1]
    return np.geomspace(low, high, scales + 1)


def _blocks(distances: Floats, bounds: NDArray[np.int64], edges: Floats) -> tuple[Floats, Floats]:
    """Numbers of ordered pairs at most at each edge, and sums of distances, by two groups."""
    groups = len(bounds) - 1
    counts, sums = np.zeros((groups, groups, len(edges))), np.zeros((groups, groups, 1))
    for g, (low, high) in enumerate(_pairs(bounds)):
        for h, (first, last) in enumerate(_pairs(bounds)):
            part = distances[low:high, first:last]
            ordered = np.sort(part, axis=None)
            counts[g, h] = np.searchsorted(ordered, edges, side="right")
            if g == h:
                counts[g, h] -= high - low  # a jet and itself
            sums[g, h] = part.sum()
    return counts, sums


def _without(values: Floats, group: int | None) -> Floats:
    """The sum over the pairs of all groups but one."""
    total: Floats = values.sum(axis=(0, 1))
    if group is not None:
        total = total - values[group].sum(axis=0) - values[:, group].sum(axis=0)
        total = total + values[group, group]
    return total


def _slopes(counts: Floats, edges: Floats) -> Floats:
    """The slope of ln N against ln Q in each bin; NaN where no pairs are."""
    if len(edges) == 0:
        return np.empty(0)
    logarithms = np.log(np.where(counts > 0.0, counts, np.nan))
    return np.diff(logarithms) / np.diff(np.log(edges))


def _mean(total: Floats, number: int, sizes: NDArray[np.int64], group: int | None) -> Floats:
    left = number - (0 if group is None else int(sizes[group]))
    return total / (left * (left - 1)) if left > 1 else total * np.nan


def _mean_nearest(closest: Floats, bounds: NDArray[np.int64], group: int | None) -> Floats:
    """Mean distance to the nearest neighbour; without a group, its jets are no neighbours."""
    if group is None:
        return np.atleast_1d(closest.min(axis=1).mean())
    rows = np.delete(closest, slice(bounds[group], bounds[group + 1]), axis=0)
    nearest = np.delete(rows, group, axis=1).min(axis=1, initial=np.inf)
    return np.atleast_1d(nearest.mean() if np.isfinite(nearest).all() else np.nan)


def _jackknife(estimates: list[Floats]) -> Estimate:
    """The estimate of the whole sample, and its error from those without each group."""
    whole, parts = estimates[0], np.array(estimates[1:])
    groups = len(parts)
    spread = parts - parts.mean(axis=0)
    return Estimate(whole, np.sqrt((groups - 1) / groups * (spread * spread).sum(axis=0)))
