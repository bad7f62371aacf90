"""Binning of a correction: subjet pT, x = ln(R / delta) and y = ln(kT / GeV)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.lund_planes.subjets import Subjets


def _edges(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.linspace(low, high, bins + 1))


@dataclass(frozen=True)
class Binning:
    """Edges of the bins; the last bin of pT has no upper edge, and lower pT is in the first.

    Attributes
    ----------
    pt
        Lower edges in GeV.
    x, y
        Edges of ln(radius / delta) and ln(kT / GeV).
    radius
        R of the axis x.
    """

    pt: tuple[float, ...] = (10.0, 65.0, 110.0, 175.0, 240.0, 300.0)
    x: tuple[float, ...] = _edges(-1.0, 8.0, 20)
    y: tuple[float, ...] = _edges(-5.0, math.log(1000.0), 20)
    radius: float = 0.8

    def __post_init__(self) -> None:
        for name in ("pt", "x", "y"):
            edges = np.asarray(getattr(self, name))
            least = 1 if name == "pt" else 2
            if len(edges) < least or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
                raise InputError(f"the edges of {name} are {edges}, expected rising numbers.")
        if not 0.0 < self.radius < math.inf or self.pt[0] <= 0.0:
            raise InputError("a binning needs a positive radius and positive edges of pT.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of bins of pT, x and y."""
        return len(self.pt), len(self.x) - 1, len(self.y) - 1

    def of_pt(self, pt: Floats) -> NDArray[np.int64]:
        """The bin of pT of subjets."""
        return np.clip(np.searchsorted(self.pt, pt, side="right") - 1, 0, None)

    def of_emissions(self, subjets: Subjets) -> NDArray[np.int64]:
        """The bin x * bins of y + y of each emission; -1 outside of the plane."""
        numbers = np.log(self.radius / subjets.delta), np.log(subjets.kt)
        x, y = (
            np.searchsorted(edges, number, side="right") - 1
            for edges, number in zip((self.x, self.y), numbers, strict=True)
        )
        _, bins_x, bins_y = self.shape
        inside = (x >= 0) & (x < bins_x) & (y >= 0) & (y < bins_y)
        return np.where(inside, x * bins_y + y, -1)


@dataclass(frozen=True)
class PlaneSums:
    """Sums of weights of the subjets and emissions of a sample; those of chunks add up.

    Attributes
    ----------
    subjets
        Shape (pt,).
    emissions, squares
        Shape (pt, x, y): sums of weights, and of their squares.
    """

    subjets: Floats
    emissions: Floats
    squares: Floats

    @classmethod
    def of(
        cls,
        subjets: Subjets,
        weight: Floats,
        binning: Binning,
        used: NDArray[np.bool_] | None = None,
    ) -> PlaneSums:
        """The sums of subjets of jets with these weights, all or those of a mask."""
        bins, x, y = binning.shape
        of_pt = binning.of_pt(subjets.pt)
        of_subjet = weight[subjets.jet] * (1.0 if used is None else used)
        cell = binning.of_emissions(subjets)
        inside = cell >= 0
        place = of_pt[subjets.subjet[inside]] * (x * y) + cell[inside]
        of_emission = of_subjet[subjets.subjet[inside]]
        sums, squares = (
            _sums(place, of_emission**power, bins * x * y).reshape(bins, x, y) for power in (1, 2)
        )
        return cls(_sums(of_pt, of_subjet, bins), sums, squares)

    def __add__(self, other: PlaneSums) -> PlaneSums:
        return PlaneSums(
            self.subjets + other.subjets,
            self.emissions + other.emissions,
            self.squares + other.squares,
        )

    def density(self) -> tuple[Floats, Floats]:
        """Emissions per subjet of each bin, and their error; 0 where there is nothing."""
        subjets = np.where(self.subjets > 0.0, self.subjets, np.inf)[:, np.newaxis, np.newaxis]
        return self.emissions / subjets, np.sqrt(self.squares) / subjets


def _sums(place: NDArray[np.int64], weights: Floats, bins: int) -> Floats:
    return np.asarray(np.bincount(place, weights, bins), np.float64)


def ratio_of(numerator: PlaneSums, denominator: PlaneSums) -> tuple[Floats, Floats]:
    """Ratio of two densities and its error; 1 and 1 where one of them has nothing."""
    (a, da), (b, db) = numerator.density(), denominator.density()
    filled = (a > 0.0) & (b > 0.0)
    a, b = (np.where(filled, values, 1.0) for values in (a, b))
    error = a / b * np.sqrt((da / a) ** 2 + (db / b) ** 2)
    return np.where(filled, a / b, 1.0), np.where(filled, error, 1.0)
