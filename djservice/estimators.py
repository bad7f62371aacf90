"""Gradient estimators: a value and a score per tree -> what each tree contributes to d E[value] / d parameter.

An estimator is one class. The mean of its contributions over an event's trees is the estimate, so the standard error
over trees, the selection (docs/how-it-works.md) and the reduction over events come for free, and are the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

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
class Estimator(ABC):
    """An estimator of d E[f] / dt from trees with their scores S = d log P / dt."""

    #: The name in a run configuration.
    name: ClassVar[str]
    #: How many trees per event it needs.
    minimum_trees: ClassVar[int] = 1
    #: Whether it reads the states of growing trees.
    follows: ClassVar[bool] = False

    @abstractmethod
    def contributions(self, values: Floats, score: Floats) -> Floats:
        """What each tree contributes, shape (event, tree); the mean over trees is the estimate.

        Parameters
        ----------
        values, score
            Shape (event, tree): f and S of each tree.
        """

    def slopes(self, quantity: Floats, accepted: Floats, score: Floats, follow: Follow | None) -> Slopes:
        """Contributions to dE[I l] and dE[I], for I l and I of each tree, shape (event, tree)."""
        # E[I S] = -E[(1 - I) S], as E[S] = 0: exactly 0, and not noise, where every tree is accepted.
        return Slopes(self.contributions(quantity, score), -self.contributions(1.0 - accepted, score))


@dataclass(frozen=True)
class Slopes:
    """What each tree contributes to dE[I l] and dE[I], and the share of the state baseline in it, all (event, tree)."""

    quantity: Floats
    accepted: Floats
    share: Floats | None = None


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


@dataclass(frozen=True)
class StateBaseline(LeaveOneOut):
    """sum_t (f_n - b_t) s_t, where b_t is what f would be if the tree ended before step t.

    That is f of the hardest among its final jets and active objects, from the first final jet above the threshold of
    the loss on; before, b_t is the leave-one-out mean. A tree's later choices hardly change f once its leading jets
    stand, and the score of those steps is then multiplied by f - b_t, about 0. Where that is worse than leave-one-out,
    as it can be where clustering is nearly deterministic, less of it is taken: the two are mixed with a share between 0
    and 1 that is fitted, event by event, to the even trees for the odd ones and the other way round.

    Estimand d E[f]/dt; unbiased: b_t is known before the step is drawn, and a tree's share does not depend on it; costs
    about a tenth of a tree; its variance is 0.3 to 0.8 of leave-one-out's at alpha = 1, and about equal at 100
    (docs/performance.md). References: baselines that depend on the state: Greensmith, Bartlett, Baxter, JMLR 5 (2004)
    1471; control variates: Glynn 1990 (10.1145/84537.84552).
    """

    name: ClassVar[str] = "state_baseline"
    minimum_trees: ClassVar[int] = 4
    follows: ClassVar[bool] = True

    def slopes(self, quantity: Floats, accepted: Floats, score: Floats, follow: Follow | None) -> Slopes:
        assert follow is not None
        plain = super().slopes(quantity, accepted, score, None)
        shape = score.shape
        covered = follow.sums(follow.score, shape)
        before = super().slopes(quantity, accepted, score - covered, None)
        # What the state baseline adds to leave-one-out, of mean 0.
        more_quantity = before.quantity + quantity * covered - plain.quantity
        more_quantity -= follow.sums(follow.quantity * follow.score, shape)
        more_accepted = before.accepted + accepted * covered - plain.accepted
        more_accepted -= follow.sums(follow.accepted * follow.score, shape)
        share = _share(quantity, accepted, plain, Slopes(more_quantity, more_accepted))
        return Slopes(plain.quantity + share * more_quantity, plain.accepted + share * more_accepted, share)


def _share(quantity: Floats, accepted: Floats, plain: Slopes, more: Slopes) -> Floats:
    """For each tree the c of the least variance of plain + c more among the trees of the other half, between 0 and 1.

    The largest term of the variance counts twice: where a single tree makes it, c is not above 1/2.
    """
    share = np.empty_like(quantity)
    for half in (0, 1):
        others = np.s_[:, 1 - half :: 2]
        number = accepted[others].sum(axis=1, keepdims=True)
        loss = np.divide(
            quantity[others].sum(axis=1, keepdims=True), number, out=np.zeros_like(number), where=number > 0
        )
        # The gradient of the ratio follows dE[I l] - L dE[I].
        a, b = (x.quantity[others] - loss * x.accepted[others] for x in (plain, more))
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
        square = (b**2).sum(axis=1) + (b**2).max(axis=1)
        best = np.divide(-(a * b).sum(axis=1), square, out=np.zeros_like(square), where=square > 0)
        share[:, half::2] = np.clip(best, 0.0, 1.0)[:, np.newaxis]
    return share


def default_estimator(trees: int) -> Estimator:
    """The state baseline, or with too few trees per event for it, leave-one-out."""
    return StateBaseline() if trees >= StateBaseline.minimum_trees else LeaveOneOut()


#: The estimators a run configuration can name.
ESTIMATORS: tuple[type[Estimator], ...] = (Score, LeaveOneOut, StateBaseline)
