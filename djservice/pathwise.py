"""Gradient estimators that look at other jets than those of the sampled trees: other trees, or jets that are differentiable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError
from djservice.estimator import Draw, Estimator, Slopes, Values
from djservice.relaxed import relaxed_jets
from djservice.trees import TreeSample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AlternativePath(Estimator):
    """W (f_alternative - f): what the tree would have been if R were infinitesimally larger (smoothed perturbation analysis).

    At a step whose drawn option loses probability with R, at the rate -s, the tree could have gone to an option that gains;
    W is the sum of these rates over the tree, and one such step, chosen in proportion to them, is flipped and the tree regrown
    with the same random numbers (docs/how-it-works.md).

    Estimand d E[f]/dR; unbiased, for what is lost is what is gained; costs two trees; its variance is about that of
    leave-one-out, which costs one. References: Arya et al., arXiv:2210.08572; Kagan, Heinrich, arXiv:2308.16680.
    """

    name: ClassVar[str] = "alternative_path"
    flips: ClassVar[bool] = True

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> tuple[Any, ...]:
        return (draw(radius=radius, flips=sample.flips).jets,)

    def slopes(self, values: Values) -> Slopes:
        ((quantity, accepted),) = values.further
        assert values.rate is not None
        return Slopes(values.rate * (quantity - values.quantity), values.rate * (accepted - values.accepted))


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

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> tuple[Any, ...]:
        if radius.min() <= self.step:
            raise InputError(
                f"the step {self.step} of the finite difference reaches below R = 0 from R = {radius.min():g}."
            )
        # A tree's uniforms are keyed by its number: further numbers are independent trees.
        start = 0 if self.common else 2**30
        high = draw(radius=radius + self.step, first_tree=start)
        low = draw(radius=radius - self.step, first_tree=2 * start)
        return high.jets, low.jets

    def slopes(self, values: Values) -> Slopes:
        (high, high_accepted), (low, low_accepted) = values.further
        return Slopes((high - low) / (2.0 * self.step), (high_accepted - low_accepted) / (2.0 * self.step))


@dataclass(frozen=True)
class SigmoidRelaxation(Estimator):
    """df/dR of jets with soft edges around deterministic axes: no trees at all, and no unbiasedness.

    The axes are those of the jets of infinite rigidity. A particle belongs to a jet with the weight
    sigmoid((R^2 - dR^2) / (T R^2)) instead of a step (:mod:`djservice.relaxed`). The axes and the selection are held fixed.

    Estimand dE[f]/dR; biased, whatever T, for the trees are not what they are differentiated as: on the exact tables its median
    error is as large as the derivative itself. Costs one deterministic clustering; has no variance over trees. The baseline that
    others must beat.

    Attributes
    ----------
    temperature
        T.
    axes
        At most so many jets of an event.
    """

    temperature: float = 0.1
    axes: int = 16

    name: ClassVar[str] = "sigmoid_relaxation"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0 and self.axes >= 1):
            raise InputError(
                f"expected a positive temperature and at least one axis, found {self.temperature} and {self.axes}."
            )

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> tuple[Any, ...]:
        exact = draw(radius=radius, rigidity=np.inf, trees=1, jets=self.axes, settled_pt=None)
        return tuple(
            relaxed_jets(draw.events, radius + step, exact.jets, self.temperature, draw.settings["jets"])
            for step in (_STEP, -_STEP)
        )

    def slopes(self, values: Values) -> Slopes:
        (high, high_accepted), (low, low_accepted) = values.further
        slope = np.where(high_accepted == low_accepted, (high - low) / (2.0 * _STEP), 0.0)
        return Slopes(np.broadcast_to(slope, values.quantity.shape), np.zeros_like(values.accepted))


#: In R: the derivative of a smooth function by a central difference.
_STEP = 1e-4
