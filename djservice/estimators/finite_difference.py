"""Finite differences between trees at two radii with the same random numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from djservice.clustering.cluster import sample_trees
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require_positive
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.estimators.base import Contributions, Estimator, ExtraJets, TreeValues
from djservice.events.batch import EventBatch


@checked_arguments
@dataclass(frozen=True)
class FiniteDifference(Estimator):
    """Central finite difference (f(R + h) - f(R - h)) / 2h from trees grown at both radii.

    The estimand is the central difference of E[f]. It is biased by h^2/6 times the third
    derivative, and more at kinks. It costs three trees, one of them for the value itself. Its
    variance falls like 1/h^2, because trees soon differ even with common random numbers.
    Reference: Glynn 1990 (10.1145/84537.84552).

    Attributes
    ----------
    step
        h, in R.
    common
        True for common random numbers at both radii, False for independent ones.
    """

    step: float = 0.05
    common: bool = True

    name: ClassVar[str] = "finite_difference"
    biased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_positive("step", self.step, more=", in R")

    def extra_jets(
        self,
        events: EventBatch,
        radius: Floats,
        sampling: Sampling,
        request: TreeRequest,
        sample: TreeSample,
    ) -> ExtraJets:
        if radius.min() <= self.step:
            raise InputError(
                f"the step {self.step} of the finite difference reaches below R = 0 from "
                f"R = {radius.min():g}; expected a step smaller than R. Give a smaller step."
            )
        # A tree's uniforms are keyed by its number, so distant numbers give independent trees.
        start = 0 if self.common else 2**30
        high = sample_trees(
            events, radius + self.step, sampling, replace(request, first_tree=start)
        )
        low = sample_trees(
            events, radius - self.step, sampling, replace(request, first_tree=2 * start)
        )
        return (high.jets, 0.5 / self.step), (low.jets, -0.5 / self.step)

    def slopes(self, values: TreeValues) -> Contributions:
        (high, high_accepted, weight), (low, low_accepted, _) = values.extra
        return Contributions((high - low) * weight, (high_accepted - low_accepted) * weight)
