"""Gradient estimators: values and scores of trees -> what each tree contributes to dE[I l]/dR and dE[I]/dR.

An estimator is one class. The mean of its contributions over an event's trees is the estimate, so the standard error
over trees, the selection (docs/how-it-works.md) and the reduction over events come for free, and are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.batch import EventBatch
from djservice.cluster import cluster
from djservice.errors import InputError
from djservice.relaxed import relaxed_jets
from djservice.trees import TreeSample

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Follow:
    """The states of growing trees, as a baseline reads them; see :class:`djservice.trees.States`.

    Attributes
    ----------
    quantity, accepted
        Shape (state,): I l and I of the jets that the tree would have, did it end in the state.
    score
        Shape (state,): of the steps that begin in the state.
    tree
        Shape (state,): event * trees + tree.
    """

    quantity: Floats
    accepted: Floats
    score: Floats
    tree: NDArray[np.int64]

    def sums(self, weights: Floats, shape: tuple[int, ...]) -> Floats:
        """Sum of weights per state over the states of each tree, shape (event, tree)."""
        return np.bincount(self.tree, weights, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


@dataclass(frozen=True)
class Draw:
    """Grows trees: :func:`djservice.cluster` with everything given but what the call gives.

    Attributes
    ----------
    events
        The particles.
    settings
        Arguments of :func:`djservice.cluster`.
    """

    events: EventBatch
    settings: dict[str, Any]

    def __call__(self, **more: Any) -> TreeSample:
        return cluster(self.events, **{**self.settings, **more})


@dataclass(frozen=True)
class Values:
    """What an estimator may know of one term of a loss, for some events and their trees.

    Attributes
    ----------
    quantity, accepted, score
        I l, I and the score of each tree, shape (event, tree).
    follow
        The same of the states of growing trees, for an estimator that ``follows``.
    further
        (I l, I) of each sample that :meth:`Estimator.further` asked for.
    rate
        Shape (event, tree): the rate of each tree's alternative path, for an estimator that ``flips``.
    """

    quantity: Floats
    accepted: Floats
    score: Floats
    follow: Follow | None = None
    further: tuple[tuple[Floats, Floats], ...] = ()
    rate: Floats | None = None


@dataclass(frozen=True)
class Estimator(ABC):
    """An estimator of d E[f] / dR from trees, or of the derivative in another parameter."""

    #: The name in a run configuration.
    name: ClassVar[str]
    #: How many trees per event it needs.
    minimum_trees: ClassVar[int] = 1
    #: Whether it reads the states of growing trees, and their alternative paths.
    follows: ClassVar[bool] = False
    flips: ClassVar[bool] = False
    #: Whether it gives the derivative in any parameter that there is a score for, and not in R alone.
    in_any_parameter: ClassVar[bool] = False

    def further(self, draw: Draw, radius: Floats, sample: TreeSample) -> tuple[Any, ...]:
        """Leading jets that it needs beside those of ``sample``, shape (event, tree or 1, jet) each."""
        return ()

    @abstractmethod
    def slopes(self, values: Values) -> Slopes:
        """What each tree contributes to dE[I l] and dE[I]: the means over an event's trees are the estimates."""


@dataclass(frozen=True)
class ScoreEstimator(Estimator):
    """An estimator that weighs the value of each tree with its score S = d log P / dt, t = R or another parameter."""

    in_any_parameter: ClassVar[bool] = True

    @abstractmethod
    def contributions(self, values: Floats, score: Floats) -> Floats:
        """What each tree contributes to d E[f] / dR, shape (event, tree).

        Parameters
        ----------
        values, score
            Shape (event, tree): f and S of each tree.
        """

    def slopes(self, values: Values) -> Slopes:
        # E[I S] = -E[(1 - I) S], as E[S] = 0: exactly 0, and not noise, where every tree is accepted.
        return Slopes(
            self.contributions(values.quantity, values.score), -self.contributions(1.0 - values.accepted, values.score)
        )


@dataclass(frozen=True)
class Slopes:
    """What each tree contributes to dE[I l] and dE[I], and the share of the state baseline in it, all (event, tree)."""

    quantity: Floats
    accepted: Floats
    share: Floats | None = None


@dataclass(frozen=True)
class Score(ScoreEstimator):
    """f_n S_n: the score (likelihood-ratio, REINFORCE) estimator without baseline.

    Estimand d E[f]/dt; unbiased; costs nothing beyond the tree and its score; its variance grows with E[f^2], so with
    the offset of f, and with the number of steps. References: Glynn 1990 (10.1145/84537.84552); Williams 1992
    (10.1007/BF00992696).
    """

    name: ClassVar[str] = "score"

    def contributions(self, values: Floats, score: Floats) -> Floats:
        return values * score


@dataclass(frozen=True)
class LeaveOneOut(ScoreEstimator):
    """(f_n - mean of the other trees' f) S_n: the score estimator with each tree's own leave-one-out baseline.

    Estimand d E[f]/dt; unbiased, because the baseline of a tree does not depend on it; costs nothing beyond the tree
    and its score; its variance does not depend on the offset of f. With fewer than about 8 trees the noise of the
    baseline can outweigh its gain. Reference: Kool, van Hoof, Welling 2019.
    """

    name: ClassVar[str] = "leave_one_out"
    minimum_trees: ClassVar[int] = 2

    def contributions(self, values: Floats, score: Floats) -> Floats:
        trees = values.shape[1]
        return np.asarray((values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1)))


@dataclass(frozen=True)
class MeanBaseline(ScoreEstimator):
    """(f_n - mean of all trees' f) S_n, times N / (N - 1).

    Without the factor it is biased by -1/N, for a tree's own f is in the mean; with it, it is leave-one-out in other words.
    Estimand, bias, cost and variance as of :class:`LeaveOneOut`. Reference: Williams 1992 (10.1007/BF00992696).
    """

    name: ClassVar[str] = "mean_baseline"
    minimum_trees: ClassVar[int] = 2

    def contributions(self, values: Floats, score: Floats) -> Floats:
        trees = values.shape[1]
        return np.asarray((values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1)))


@dataclass(frozen=True)
class OptimalBaseline(ScoreEstimator):
    """(f_n - b_n) S_n with b_n = sum f S^2 / sum S^2 over the other trees: the constant of least variance.

    Estimand d E[f]/dt; unbiased, because the baseline of a tree does not depend on it; costs nothing beyond the tree and its
    score; its variance is about that of leave-one-out (1 % less on jets up to alpha = 10), and larger with few trees, for the
    weights S^2 have heavy tails. Reference: Greensmith, Bartlett, Baxter, JMLR 5 (2004) 1471.
    """

    name: ClassVar[str] = "optimal_baseline"
    minimum_trees: ClassVar[int] = 2

    def contributions(self, values: Floats, score: Floats) -> Floats:
        weight = score**2
        own = values * weight
        others, norm = own.sum(axis=1, keepdims=True) - own, weight.sum(axis=1, keepdims=True) - weight
        # Where no other tree has a score to speak of, the difference of the sums is rounding.
        sound = norm > 1e-12 * weight.sum(axis=1, keepdims=True)
        baseline = np.divide(others, norm, out=np.zeros_like(own), where=sound)
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        return np.asarray((values - np.clip(baseline, low, high)) * score)


@dataclass(frozen=True)
class StateBaseline(LeaveOneOut):
    """sum_t (f_n - b_t) s_t, where b_t is what f would be if the tree ended before step t.

    That is f of the hardest among its final jets and active objects, from the first final jet above the threshold of
    the loss on; before, b_t is the leave-one-out mean. A tree's later choices hardly change f once its leading jets
    stand, and the score of those steps is then multiplied by f - b_t, about 0. Where that is worse than leave-one-out,
    as it can be where clustering is nearly deterministic, less of it is taken: the two are mixed with a share between 0
    and 1 that is fitted, event by event, to the even trees alone for the odd ones and the other way round.

    Estimand d E[f]/dt; unbiased: b_t is known before the step is drawn, and a tree's share does not depend on it; costs
    about a tenth of a tree; its variance is 0.5 to 0.9 of leave-one-out's at alpha = 1, and about equal at 100
    (docs/performance.md). References: baselines that depend on the state: Greensmith, Bartlett, Baxter, JMLR 5 (2004)
    1471; control variates: Glynn 1990 (10.1145/84537.84552).
    """

    name: ClassVar[str] = "state_baseline"
    minimum_trees: ClassVar[int] = 4
    follows: ClassVar[bool] = True

    def slopes(self, values: Values) -> Slopes:
        plain, more = self._parts(values)
        share = np.empty_like(values.score)
        for half in (0, 1):  # from the other half alone, its leave-one-out means too
            share[:, half::2] = _share(values, *self._parts(values, np.s_[1 - half :: 2]), np.s_[1 - half :: 2])
        return Slopes(plain.quantity + share * more.quantity, plain.accepted + share * more.accepted, share)

    def _parts(self, values: Values, trees: slice = np.s_[:]) -> tuple[Slopes, Slopes]:
        """Leave-one-out of some trees among themselves, and what the state baseline adds to it, of mean 0."""
        follow = values.follow
        assert follow is not None
        shape = values.score.shape
        covered, of_quantity, of_accepted = (
            follow.sums(weights, shape)[:, trees]
            for weights in (follow.score, follow.quantity * follow.score, follow.accepted * follow.score)
        )
        some = Values(values.quantity[:, trees], values.accepted[:, trees], values.score[:, trees])
        plain = super().slopes(some)
        before = super().slopes(replace(some, score=some.score - covered))
        more = Slopes(
            before.quantity + some.quantity * covered - of_quantity - plain.quantity,
            before.accepted + some.accepted * covered - of_accepted - plain.accepted,
        )
        return plain, more


def _share(values: Values, plain: Slopes, more: Slopes, trees: slice) -> Floats:
    """The c of the least variance of plain + c more among some trees of each event, between 0 and 1; shape (event, 1).

    The largest term of the variance counts twice: where a single one of many trees makes it, c is about 1/2 at most.
    """
    quantity, accepted = values.quantity[:, trees], values.accepted[:, trees]
    number = accepted.sum(axis=1, keepdims=True)
    loss = np.divide(quantity.sum(axis=1, keepdims=True), number, out=np.zeros_like(number), where=number > 0)
    # The gradient of the ratio follows dE[I l] - L dE[I].
    a, b = (x.quantity - loss * x.accepted for x in (plain, more))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    square = (b**2).sum(axis=1) + (b**2).max(axis=1)
    best = np.divide(-(a * b).sum(axis=1), square, out=np.zeros_like(square), where=square > 0)
    return np.asarray(np.clip(best, 0.0, 1.0)[:, np.newaxis])


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


def default_estimator(trees: int) -> Estimator:
    """The state baseline, or where too few trees per event are left to fit its share, leave-one-out."""
    return StateBaseline() if trees >= 8 else LeaveOneOut()


#: The estimators a run configuration can name.
ESTIMATORS: tuple[type[Estimator], ...] = (
    StateBaseline,
    LeaveOneOut,
    MeanBaseline,
    OptimalBaseline,
    Score,
    AlternativePath,
    FiniteDifference,
    SigmoidRelaxation,
)
