"""Estimators from scores: plain, leave-one-out, and with a mean or an optimal baseline."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from djservice.core.array_module import quotient
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, Estimator, TreeValues


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

    def slopes(self, values: TreeValues) -> Contributions:
        # E[I S] = -E[(1 - I) S], as E[S] = 0: exactly 0, and not noise, where every tree is accepted.
        return Contributions(
            self.contributions(values.quantity, values.score),
            -self.contributions(1.0 - values.accepted, values.score),
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
        weighed: Floats = (
            (values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1))
        )
        return weighed


@dataclass(frozen=True)
class MeanBaseline(LeaveOneOut):
    """(f_n - mean of all trees' f) S_n, times N / (N - 1).

    Without the factor it is biased by -1/N, for a tree's own f is in the mean; with it, it is leave-one-out in other words.
    Estimand, bias, cost and variance as of :class:`LeaveOneOut`. Reference: Williams 1992 (10.1007/BF00992696).
    """

    name: ClassVar[str] = "mean_baseline"


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
        others, norm = (
            own.sum(axis=1, keepdims=True) - own,
            weight.sum(axis=1, keepdims=True) - weight,
        )
        # Where no other tree has a score to speak of, the difference of the sums is rounding.
        sound = norm > 1e-12 * weight.sum(axis=1, keepdims=True)
        baseline = quotient(others, norm, sound)
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        weighed: Floats = (values - np.clip(baseline, low, high)) * score
        return weighed
