"""Gradient estimators: a value and a score per tree -> what each tree contributes to d E[value] / d parameter.

An estimator is one class with one method. The mean of its contributions over an event's trees is the estimate, so the
standard error over trees, the selection (docs/explanation.md, "Selections") and the reduction over events come for
free, and are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimator(ABC):
    """An estimator of d E[f] / dt from trees with their scores S = d log P / dt."""

    #: The name in a run configuration.
    name: ClassVar[str]
    #: How many trees per event it needs.
    minimum_trees: ClassVar[int] = 1

    @abstractmethod
    def contributions(self, values: Floats, score: Floats) -> Floats:
        """What each tree contributes, shape (event, tree); the mean over trees is the estimate.

        Parameters
        ----------
        values, score
            Shape (event, tree): f and S of each tree.
        """


@dataclass(frozen=True)
class Score(Estimator):
    """f_n S_n: the score (likelihood-ratio, REINFORCE) estimator without baseline.

    Estimand d E[f]/dt; unbiased; costs nothing beyond the tree and its score; its variance grows with E[f^2], so with
    the offset of f, and with the number of steps. References: Glynn 1990 (10.1145/84537.84552); Williams 1992
    (10.1007/BF00992696).
    """

    name: ClassVar[str] = "score"

    def contributions(self, values: Floats, score: Floats) -> Floats:
        return values * score


@dataclass(frozen=True)
class LeaveOneOut(Estimator):
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


#: The estimators a run configuration can name.
ESTIMATORS: tuple[type[Estimator], ...] = (Score, LeaveOneOut)
