"""The gradient estimators: here those that are made of the score; in :mod:`djservice.pathwise` those of other jets."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.arrays import quotient
from djservice.estimator import Draw, Estimator, Follow, Slopes, Values
from djservice.pathwise import AlternativePath, FiniteDifference, GumbelSoftmax, SigmoidRelaxation

__all__ = [
    "ESTIMATORS",
    "AlternativePath",
    "Draw",
    "Estimator",
    "FiniteDifference",
    "Follow",
    "GumbelSoftmax",
    "LeaveOneOut",
    "MeanBaseline",
    "OptimalBaseline",
    "Score",
    "ScoreEstimator",
    "SigmoidRelaxation",
    "Slopes",
    "StateBaseline",
    "Values",
    "default_estimator",
]

Floats = NDArray[np.float64]


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
        weighed: Floats = (values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1))
        return weighed


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
        weighed: Floats = (values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1))
        return weighed


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
        baseline = quotient(others, norm, sound)
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        weighed: Floats = (values - np.clip(baseline, low, high)) * score
        return weighed


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
    loss = quotient(quantity.sum(axis=1, keepdims=True), number, number > 0)
    # The gradient of the ratio follows dE[I l] - L dE[I].
    a, b = (x.quantity - loss * x.accepted for x in (plain, more))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    square = (b**2).sum(axis=1) + (b**2).max(axis=1)
    # Where the baseline changes nothing, the difference is rounding, and so would be the share.
    rounding = 1e-24 * ((quantity**2 + (loss * accepted) ** 2) * values.score[:, trees] ** 2).sum(axis=1)
    best = quotient(-(a * b).sum(axis=1), square, square > rounding)
    share: Floats = np.clip(best, 0.0, 1.0)[:, np.newaxis]
    return share


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
    GumbelSoftmax,
)
