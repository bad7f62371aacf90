"""Score-function estimators: plain, leave-one-out, and with a mean or an optimal baseline."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.array_module import quotient
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, Estimator, TreeValues

#: Effective number of trees at which half of the optimal baseline is used.
EFFECTIVE_TREES = 30.0


@dataclass(frozen=True)
class ScoreEstimator(Estimator):
    """An estimator that weights the value of each tree with its score.

    The score is S = d log P / dt, where t is R or another parameter.
    """

    in_any_parameter: ClassVar[bool] = True

    @abstractmethod
    def contributions(self, values: Floats, score: Floats) -> Floats:
        """Contributions of each tree to d E[f] / dt, shape (event, tree).

        Parameters
        ----------
        values, score
            f and S of each tree, shape (event, tree).
        """

    def slopes(self, values: TreeValues) -> Contributions:
        # E[I S] = -E[(1 - I) S] because E[S] = 0. The right side is exactly 0, without noise, where
        # every tree is accepted.
        return Contributions(
            self.contributions(values.quantity, values.score),
            -self.contributions(1.0 - values.accepted, values.score),
        )


@checked_arguments
@dataclass(frozen=True)
class Score(ScoreEstimator):
    """The score (likelihood-ratio, REINFORCE) estimator without baseline: f_n S_n.

    The estimand is d E[f]/dt. The estimator is unbiased and costs only the tree and its score. Its
    variance grows with E[f^2], and so with the offset of f, and with the number of steps.
    References: Glynn 1990 (10.1145/84537.84552); Williams 1992 (10.1007/BF00992696).
    """

    name: ClassVar[str] = "score"

    def contributions(self, values: Floats, score: Floats) -> Floats:
        return values * score


@checked_arguments
@dataclass(frozen=True)
class LeaveOneOut(ScoreEstimator):
    """The score estimator with a leave-one-out baseline: (f_n - mean of the other trees' f) S_n.

    The estimand is d E[f]/dt. The estimator is unbiased, because the baseline of a tree does not
    depend on that tree. It costs only the tree and its score. Its variance does not depend on the
    offset of f. With fewer than about 8 trees the noise of the baseline can outweigh its gain.
    Reference: Kool, van Hoof, Welling 2019.
    """

    name: ClassVar[str] = "leave_one_out"
    minimum_trees: ClassVar[int] = 2

    def contributions(self, values: Floats, score: Floats) -> Floats:
        trees = values.shape[1]
        weighted: Floats = (
            (values - values.mean(axis=1, keepdims=True)) * score * (trees / (trees - 1))
        )
        return weighted


@checked_arguments
@dataclass(frozen=True)
class MeanBaseline(LeaveOneOut):
    """The score estimator with a mean baseline: (f_n - mean of all trees' f) S_n N / (N - 1).

    Without the factor N / (N - 1) it would be biased by -1/N, because the mean contains f_n. With
    the factor it equals :class:`LeaveOneOut`, so estimand, bias, cost and variance are the same.
    Reference: Williams 1992 (10.1007/BF00992696).
    """

    name: ClassVar[str] = "mean_baseline"


@checked_arguments
@dataclass(frozen=True)
class OptimalBaseline(ScoreEstimator):
    """The score estimator with the constant baseline of least variance: (f_n - b_n) S_n.

    The baseline of least variance is o_n = sum f S^2 / sum S^2 over the other trees. With few
    trees, or where a rare tree has nearly all of S^2, it follows single trees: their noise is
    common to all contributions, and no error that is computed from the spread of these shows it.
    So b_n lies between o_n and the mean of f over the other trees, with the weight k / (k + 30) of
    o_n. Here k = (sum S^2)^2 / sum S^4 is the effective number of trees behind o_n.

    The estimand is d E[f]/dt. The estimator is unbiased, because the baseline of a tree does not
    depend on that tree. It costs only the tree and its score. On jets its variance is about that of
    leave-one-out. Where few options decide about f, it can be ten times smaller.
    Reference: Greensmith, Bartlett, Baxter, JMLR 5 (2004) 1471. The effective number of trees is
    Kish's; the mixture is our own.
    """

    name: ClassVar[str] = "optimal_baseline"
    minimum_trees: ClassVar[int] = 2

    def contributions(self, values: Floats, score: Floats) -> Floats:
        weight = score**2
        norm, square = _others(weight), _others(weight**2)
        optimum = quotient(_others(values * weight), norm, norm > 0)
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        effective = quotient(norm**2, square, square > 0)
        share = effective / (effective + EFFECTIVE_TREES)
        mean = _others(values) / (values.shape[1] - 1)
        weighted: Floats = (
            values - share * np.clip(optimum, low, high) - (1.0 - share) * mean
        ) * score
        return weighted


def _others(terms: Floats) -> Floats:
    """Sum over the other trees of an event, shape (event, tree).

    The difference to the sum over all trees would be pure rounding where one tree dominates.
    """
    before, after = np.zeros_like(terms), np.zeros_like(terms)
    before[:, 1:] = np.cumsum(terms[:, :-1], axis=1)
    after[:, :-1] = np.cumsum(terms[:, :0:-1], axis=1)[:, ::-1]
    sums: Floats = before + after
    return sums
