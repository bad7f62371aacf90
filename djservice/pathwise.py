"""Gradient estimators that look at other jets than those of the sampled trees: other trees, or jets that are differentiable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.arrays import to_host
from djservice.cluster import Flips
from djservice.errors import InputError
from djservice.estimator import Draw, Estimator, Slopes, Values
from djservice.gumbel import jet_tangents
from djservice.relaxed import relaxed_jets
from djservice.trees import TreeSample, as_vectors

Floats = NDArray[np.float64]
#: Jets and a weight per tree.
Further = Iterable[tuple[Any, Floats | float]]


@dataclass(frozen=True)
class AlternativePath(Estimator):
    """W (f_alternative - f): what the tree would have been if R were infinitesimally larger (smoothed perturbation analysis).

    At a step whose drawn option loses probability with R, at the rate -s, the tree could have gone to an option that gains;
    W is the sum of these rates over the tree, and one such step, chosen in proportion to them, is flipped and the tree regrown
    with the same random numbers (docs/how-it-works.md). With ``all_steps`` each of them is, and the contribution is the sum of
    rate (f_alternative - f) over the steps: the mean of the former over the choice of the step.

    Estimand d E[f]/dR; unbiased, for what is lost is what is gained; costs two trees; its variance is about that of
    leave-one-out, which costs one. With ``all_steps`` it costs 10 to 20 trees at n = 140, and its variance at alpha = 1 is 0.36 of that
    of one flip, which does not pay. References: Arya et al., arXiv:2210.08572; Kagan, Heinrich, arXiv:2308.16680.

    Attributes
    ----------
    all_steps
        Whether every step that can flip is flipped, or one of each tree.
    """

    all_steps: bool = False

    name: ClassVar[str] = "alternative_path"

    @property
    def flips(self) -> Flips:
        return "all" if self.all_steps else True

    @property
    def bulk(self) -> int:
        return 10 if self.all_steps else 1

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> Further:
        assert sample.flips is not None
        for flip in np.moveaxis(sample.flips, 2, 0):
            left = np.flatnonzero((flip[..., 1] >= 0).any(axis=1))  # events in which a tree has so many flips
            events = to_host(left)
            some = Draw(draw.events.select(events), draw.settings)
            momenta = sample.momenta.copy()
            momenta[left] = some(radius=radius[events], flips=flip[left]).momenta
            yield as_vectors(momenta), flip[..., 0]

    def slopes(self, values: Values) -> Slopes:
        quantity, accepted = np.zeros_like(values.quantity), np.zeros_like(values.accepted)
        for other, other_accepted, rate in values.further:
            quantity += rate * (other - values.quantity)
            accepted += rate * (other_accepted - values.accepted)
        return Slopes(quantity, accepted)


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

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> Further:
        exact = draw(radius=radius, rigidity=np.inf, trees=1, jets=self.axes, settled_pt=None, on_device=False)
        return tuple(
            (relaxed_jets(draw.events, radius + step, exact.jets, self.temperature, draw.settings["jets"]), 0.5 / step)
            for step in (_STEP, -_STEP)
        )

    def slopes(self, values: Values) -> Slopes:
        return _central(values)


@dataclass(frozen=True)
class GumbelSoftmax(Estimator):
    """df/dR along the tangents of each tree's jets, every draw differentiated as a softmax at a temperature (straight-through).

    The trees are those that all estimators have. A draw is the argmax of log P_k + g_k with Gumbel noises g, and for its derivative
    it is taken for q = softmax((log P + g)/T): each object moves towards what it would be under the other options as their q
    grow with R, and moves the distances of all later steps (:mod:`djservice.kernels.gumbel`). The selection is held fixed.

    Estimand dE[f]/dR; biased at every T: on the exact tables of four particles its median error is 0.59, 0.43, 0.33 and 0.31 of
    the derivative at T = 1, 0.5, 0.2 and 0.1, of five particles 0.37, 0.31, 0.36 and 0.38. The standard deviation of a tree grows
    as T falls, there from 1.9 to 14 times the derivative (leave-one-out: 1.9), and with the number of steps and the rigidity, for a
    tangent moves all later steps. Costs two trees and a pass over all options of every step, about 100 trees at n = 140.
    There to be compared with: others have no bias and cost less. The derivative of f is that of a small step along the
    tangents, which is large where f has a kink (the mass of a massless jet). Reference: Jang, Gu, Poole, arXiv:1611.01144.

    Attributes
    ----------
    temperature
        T.
    """

    temperature: float = 0.5

    name: ClassVar[str] = "gumbel_softmax"
    slow: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise InputError(f"temperature is {self.temperature}, expected a positive number.")

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> Further:
        if sample.deterministic:
            raise InputError("gumbel_softmax needs a finite rigidity: without random draws there is no softmax.")
        whole = draw(radius=radius, history=True, settled_pt=None, on_device=False)
        given = draw.settings
        tangents = jet_tangents(
            draw.events,
            whole,
            radius,
            self.temperature,
            asymmetry=given["asymmetry"] if given["scale"] == "safe" else 0.0,
            **{name: given[name] for name in ("rigidity", "power", "seed", "stream", "iteration")},
        )
        # Tangents are of all sizes: a step of each tree moves its jets by a millionth of their energy.
        largest = np.nan_to_num(np.abs(tangents)).max(axis=(2, 3))
        energy = np.nan_to_num(np.abs(whole.momenta)).max(axis=(2, 3))
        step = np.divide(_RELATIVE * energy, largest, out=np.ones_like(largest), where=largest > 0)
        moved = step[..., np.newaxis, np.newaxis] * tangents
        return (as_vectors(whole.momenta + moved), 0.5 / step), (as_vectors(whole.momenta - moved), -0.5 / step)

    def slopes(self, values: Values) -> Slopes:
        return _central(values)


def _central(values: Values) -> Slopes:
    """The derivative of I l from its values at both sides, with the selection held fixed."""
    (high, high_accepted, weight), (low, low_accepted, _) = values.further
    slope = np.where(high_accepted == low_accepted, (high - low) * weight, 0.0)
    return Slopes(np.broadcast_to(slope, values.quantity.shape), np.zeros_like(values.accepted))


#: In R: the derivative of a smooth function by a central difference.
_STEP = 1e-4
#: The same along a straight line, as a part of the jets' energies.
_RELATIVE = 1e-6
