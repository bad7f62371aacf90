"""LundWeights: weights of jets, and what they change with each uncertainty."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats


@dataclass(frozen=True)
class LundWeights:
    """Weights of jets, each with mean 1.

    Attributes
    ----------
    nominal
        Shape (jet,).
    toys
        Shape (jet, toy), for "statistics" (of the bins of the ratio) and "extrapolation" (of the
        fits in pT).
    variations
        Pairs up and down, each of shape (jet,), by the name of the uncertainty: those of the file,
        "b_quarks", "prongs", "unmatched" and "distortion", which needs 1,000 jets.
    prongs
        Number of subjets of each jet.
    bad_match
        Jets with a subjet that is of no quark or of two.
    """

    nominal: Floats
    toys: dict[str, Floats]
    variations: dict[str, tuple[Floats, Floats]]
    prongs: NDArray[np.int64]
    bad_match: NDArray[np.bool_]

    def uncertainties(self, quantity: Callable[[Floats], float]) -> dict[str, tuple[float, float]]:
        """Changes of a number up and down under each uncertainty, and in quadrature as "total".

        Parameters
        ----------
        quantity
            Number that follows from the weights of the jets, such as an efficiency.

        Notes
        -----
        Of toys it is their spread plus the size of the shift of their mean, in both directions.
        """
        toys = {
            name: np.array([quantity(columns[:, i]) for i in range(columns.shape[1])])
            for name, columns in self.toys.items()
        }
        variations = {
            name: (quantity(up), quantity(down)) for name, (up, down) in self.variations.items()
        }
        return changes_of(quantity(self.nominal), toys, variations)


def changes_of(
    nominal: float, toys: Mapping[str, Floats], variations: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Changes up and down of a number, by its values with toys and with variations."""
    changes: dict[str, tuple[float, float]] = {}
    for name, values in toys.items():
        if len(values):
            size = float(values.std() + abs(values.mean() - nominal))
            changes[name] = (size, -size)
    for name, (up, down) in variations.items():
        changes[name] = (up - nominal, down - nominal)
    above = math.hypot(*(max(*pair, 0.0) for pair in changes.values()))
    below = math.hypot(*(min(*pair, 0.0) for pair in changes.values()))
    return {**changes, "total": (above, -below)}
