"""Spectra of events: all pairs of particles on a line, and the distances of such lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.spectra import spectral_distances
from djservice.core.typing import Floats


@dataclass(frozen=True)
class Spectra:
    """Spectra of several events.

    Attributes
    ----------
    omega, reached
        Shape (line,): positions in rising order, and the share of the weight up to each of them.
    bounds
        Shape (event + 1,): event i owns the lines ``bounds[i]:bounds[i + 1]``.
    """

    omega: Floats
    reached: Floats
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, weights: Sequence[Floats], costs: Sequence[Floats]) -> Spectra:
        """The spectra of events from weights (n,) and costs (n, n) of each.

        A pair of particles has the weight 2 w_i w_j at its cost, and each particle w_i^2 at 0.
        """
        lines = [_lines(*event) for event in zip(weights, costs, strict=True)]
        bounds = np.cumsum([0, *(len(omega) for omega, _ in lines)])
        omega, reached = (np.concatenate([line[k] for line in lines]) for k in range(2))
        return cls(omega, reached, bounds)

    def distances(self, other: Spectra) -> Floats:
        """Integral of the squared difference over quantiles, shape (event, other event)."""
        out = np.empty((len(self.bounds) - 1, len(other.bounds) - 1))
        spectral_distances(
            self.omega, self.reached, self.bounds, other.omega, other.reached, other.bounds, out
        )
        return out


def _lines(weight: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """Positions in rising order, and the share of the weight up to each."""
    i, j = np.triu_indices(len(weight), k=1)
    weight = weight / weight.sum()  # squares neither overflow nor vanish
    omega = np.append(0.0, cost[i, j])
    pairs = np.append((weight * weight).sum(), 2.0 * weight[i] * weight[j])
    order = np.argsort(omega, kind="stable")
    reached = np.cumsum(pairs[order])
    reached /= reached[-1]
    return omega[order], reached
