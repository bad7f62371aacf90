"""Differences between trees at two radii with the same random numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from djservice.clustering.trees import TreeSample
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Draw, Estimator, Further, Slopes, Values


@dataclass(frozen=True)
class FiniteDifference(Estimator):
    """(f(R + h) - f(R - h)) / 2h from trees grown at both radii, with common or independent random numbers.

    Estimand the central difference of E[f]; biased by h^2/6 times the third derivative, and more at kinks; costs three trees
    (one for the value itself); its variance falls like 1/h^2, for trees soon go different ways even with common random
    numbers. Reference: Glynn 1990 (10.1145/84537.84552).

    Attributes
    ----------
    step
        h, in R.
    common
        Whether both use the same random numbers.
    """

    step: float = 0.05
    common: bool = True

    name: ClassVar[str] = "finite_difference"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.step) and self.step > 0):
            raise InputError(f"step is {self.step}, expected a positive number, in R.")

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> Further:
        if radius.min() <= self.step:
            raise InputError(
                f"the step {self.step} of the finite difference reaches below R = 0 from R = {radius.min():g}."
            )
        # A tree's uniforms are keyed by its number: further numbers are independent trees.
        start = 0 if self.common else 2**30
        high = draw(radius=radius + self.step, first_tree=start)
        low = draw(radius=radius - self.step, first_tree=2 * start)
        return (high.jets, 0.5 / self.step), (low.jets, -0.5 / self.step)

    def slopes(self, values: Values) -> Slopes:
        (high, high_accepted, weight), (low, low_accepted, _) = values.further
        return Slopes((high - low) * weight, (high_accepted - low_accepted) * weight)
