"""RatioTable: a ratio of Lund planes in bins, and its extrapolation in the pT of subjets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.lund_planes.binning import Binning

#: Below and above these pT in GeV the fit in 1 / pT takes the place of the bin.
FIT_BELOW, FIT_ABOVE = 15.0, 350.0
#: Ratios of bins with few emissions are limited to this in a fit.
_LARGEST = 20.0
_ORDERS = 3


@dataclass(frozen=True)
class RatioTable:
    """A ratio in bins with its error, and a polynomial in 1 / pT for each cell of the plane.

    Attributes
    ----------
    value, error
        Shape (pt, x, y).
    coefficients, covariance
        Shapes (x, y, 3) and (x, y, 3, 3), of 1, 1 / pT and 1 / pT^2 with pT in GeV.
    """

    value: Floats
    error: Floats
    coefficients: Floats
    covariance: Floats

    @classmethod
    def of(cls, value: Floats, error: Floats, binning: Binning) -> RatioTable:
        """A table with fits. The order of a polynomial grows while an F test asks for it."""
        inverse = 1.0 / _centres(binning)
        _, x, y = binning.shape
        coefficients, covariance = np.zeros((x, y, _ORDERS)), np.zeros((x, y, _ORDERS, _ORDERS))
        for i in range(x):
            for j in range(y):
                limited = (np.minimum(a[:, i, j], _LARGEST) for a in (value, error))
                fitted, spread = _fitted(inverse, *limited)
                count = len(fitted)
                coefficients[i, j, :count] = fitted
                covariance[i, j, :count, :count] = spread
        return cls(value, error, coefficients, covariance)

    def check(self, binning: Binning, what: str) -> RatioTable:
        """The table, if its shapes are those of a binning and its numbers ratios.

        Raises
        ------
        InputError
            If not.
        """
        plane = binning.shape[1:]
        shapes = {
            "value": binning.shape,
            "error": binning.shape,
            "coefficients": (*plane, _ORDERS),
            "covariance": (*plane, _ORDERS, _ORDERS),
        }
        for name, shape in shapes.items():
            numbers = getattr(self, name)
            if numbers.shape != shape:
                raise InputError(
                    f"{what}: {name} has shape {numbers.shape}, expected {shape}, the bins of "
                    "subjet pT, x and y: it is of another binning. Measure it again."
                )
            least = 0.0 if name in ("value", "error") else -np.inf
            if not np.isfinite(numbers).all() or numbers.min() < least:
                raise InputError(
                    f"{what}: {name} has entries that are no ratios. Measure it again."
                )
        return self

    def at(self, pt: Floats, bins: NDArray[np.int64], cell: NDArray[np.int64]) -> Floats:
        """The ratio for emissions of subjets: of their bin, or by the fit outside of 15 to 350 GeV."""
        value = self.value.reshape(len(self.value), -1)[bins, cell]
        outside = (pt < FIT_BELOW) | (pt > FIT_ABOVE)
        powers = (1.0 / pt[outside])[:, np.newaxis] ** np.arange(_ORDERS)
        value[outside] = (self.coefficients.reshape(-1, _ORDERS)[cell[outside]] * powers).sum(
            axis=1
        )
        return value

    def toy(self, kind: str, seed: int, number: int) -> RatioTable:
        """The table with Gaussian changes of its bins ("statistics"), or of its fits."""
        generator = np.random.default_rng([seed, int(kind == "extrapolation"), number])
        if kind == "statistics":
            changed = self.value + self.error * generator.standard_normal(self.value.shape)
            return replace(self, value=changed)
        size, vectors = np.linalg.eigh(self.covariance)
        normal = generator.standard_normal(self.coefficients.shape)
        step = np.einsum("...ij,...j->...i", vectors, np.sqrt(np.maximum(size, 0.0)) * normal)
        return replace(self, coefficients=self.coefficients + step)


def _centres(binning: Binning) -> Floats:
    """The pT in GeV at which the bins stand in a fit; the open one at 350, or above its edge."""
    edges = np.array(binning.pt)
    return np.append((edges[1:] + edges[:-1]) / 2.0, max(FIT_ABOVE, 1.1 * edges[-1]))


def _fitted(inverse: Floats, value: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Coefficients of the polynomial that the tests choose, and their covariance."""
    from scipy.special import chdtrc, fdtrc  # a fifth of a second that only a fit is to wait for

    points, order = len(inverse), 0
    best = _polynomial(inverse, value, error, 0)
    while order + 1 < _ORDERS and points - order - 2 >= 1:
        if chdtrc(points - order - 1, best[2]) >= 0.3:
            break
        better = _polynomial(inverse, value, error, order + 1)
        left = points - order - 2
        gain = (best[2] - better[2]) / max(better[2] / left, 1e-12)
        if fdtrc(1, left, gain) >= 0.05:
            break
        best, order = better, order + 1
    return best[0], best[1]


def _polynomial(
    inverse: Floats, value: Floats, error: Floats, order: int
) -> tuple[Floats, Floats, float]:
    """Least squares: coefficients, covariance and chi^2."""
    size = np.maximum(error, 1e-6)
    matrix = (inverse[:, np.newaxis] ** np.arange(order + 1)) / size[:, np.newaxis]
    covariance = np.asarray(np.linalg.pinv(matrix.T @ matrix), np.float64)
    coefficients = covariance @ (matrix.T @ (value / size))
    return coefficients, covariance, float(((matrix @ coefficients - value / size) ** 2).sum())
