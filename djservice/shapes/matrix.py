"""Distances between all pairs of two groups of jets: the blocks of a matrix of distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.spectra import Spectra
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats
from djservice.shapes.emd import distance
from djservice.shapes.ground import Ground
from djservice.shapes.points import PT

#: The distances: by transport of momenta, or of the spectra of pairwise angles.
Kind = Literal["emd", "spectral"]


@dataclass(frozen=True)
class Group:
    """Events or jets that are compared together.

    Attributes
    ----------
    points
        Weight, rapidity and phi of all particles, shape (particle, 3).
    bounds
        Shape (jet + 1,): jet i owns the particles ``bounds[i]:bounds[i + 1]``.
    spectra
        Their spectra, for the spectral distance.
    """

    points: Floats
    bounds: NDArray[np.int64]
    spectra: Spectra | None = None

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @classmethod
    def of(cls, jets: Sequence[Floats], ground: Ground, kind: Kind) -> Group:
        """A group of jets, each as rows of pT, rapidity and phi."""
        prepared = [ground.prepared(points) for points in jets]
        bounds = np.cumsum([0, *map(len, prepared)])
        spectra = None
        if kind == "spectral":
            costs = [ground.cost(points, points) for points in prepared]
            spectra = Spectra.of([points[:, PT] for points in prepared], costs)
        return cls(np.concatenate(prepared), bounds, spectra)


def block(rows: Group, columns: Group, ground: Ground, *, diagonal: bool) -> Floats:
    """Distances of the jets of two groups, shape (of rows, of columns).

    Parameters
    ----------
    rows, columns
        Groups that were made with ``ground``.
    diagonal
        Whether both are the same group: then each pair is computed once.
    """
    if rows.spectra is not None and columns.spectra is not None:
        return rows.spectra.distances(columns.spectra)
    distances = np.zeros((len(rows), len(columns)))
    for i in range(len(rows)):
        between_pieces()
        points = rows.points[rows.bounds[i] : rows.bounds[i + 1]]
        weights, first = points[:, PT].copy(), i + 1 if diagonal else 0
        start = columns.bounds[first]
        costs = ground.cost(points, columns.points[start:])
        for j in range(first, len(columns)):
            low, high = columns.bounds[j] - start, columns.bounds[j + 1] - start
            other = columns.points[start + low : start + high, PT]
            distances[i, j], _ = distance(weights, other, costs[:, low:high])
    return distances + distances.T if diagonal else distances
