"""The default estimator, with a baseline for each state of a tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.array_module import quotient
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, StateValues, TreeValues
from djservice.estimators.score_function import LeaveOneOut

#: The usual share at low rigidity, the rigidity at which it is halved, and the effective number of
#: trees at which what they say counts half (docs/performance.md).
USUAL_SHARE, HALVING_RIGIDITY, EFFECTIVE_TREES = 0.8, 30.0, 8.0


@checked_arguments
@dataclass(frozen=True)
class StateBaseline(LeaveOneOut):
    """The score estimator with a baseline that depends on the state: sum_t (f_n - b_t) s_t.

    The baseline b_t is the value that f would have if the tree ended before step t: f of the
    hardest among its final jets and active objects. It applies from the first final jet above the
    threshold of the loss on; before that, b_t is the leave-one-out mean. Once its leading jets are
    complete, a tree's later choices hardly change f, and the score of those steps is multiplied by
    f - b_t, which is about 0.

    Where clustering is nearly deterministic, this can be worse than leave-one-out. The two are
    therefore mixed, with a share between 0 and 1. It is fitted in each event: to the even trees for
    the odd ones, and to the odd trees for the even ones. Few trees say little about it, so it lies
    between the fitted one and a usual one, with the weight k / (k + 8) of the fitted one. Here k is
    the effective number of trees behind the fit, 0 for fewer than four trees. The usual one is
    0.8 / (1 + (alpha / 30)^2) for terms of one or two leading jets, and 0 for others, whose states
    are worse guesses. The share is 0 for a term that reads constituents, because states have none.

    The estimand is d E[f]/dt. The estimator is unbiased, because b_t is fixed before step t is
    drawn, and because a tree's share does not depend on that tree. It costs about a tenth of a
    tree. For the dijet mass its variance is 0.3 to 0.9 of that of leave-one-out up to alpha = 30,
    and about equal at alpha = 100 (docs/performance.md). References: baselines that depend on the
    state: Greensmith, Bartlett, Baxter, JMLR 5 (2004) 1471; control variates: Glynn 1990
    (10.1145/84537.84552). The effective number of trees is Kish's; the mixture is our own.
    """

    name: ClassVar[str] = "state_baseline"
    uses_states: ClassVar[bool] = True

    def slopes(self, values: TreeValues) -> Contributions:
        if values.states is None:
            plain = super().slopes(values)
            return replace(plain, share=np.zeros_like(values.score))
        state = _state_sums(values.states, values.score.shape)
        plain, correction = self._parts(values, state, np.s_[:])
        share = np.full_like(values.score, usual_share(values))
        # A tree's share, with its leave-one-out means, comes from the trees of the other half.
        for half in (0, 1) if values.score.shape[1] >= 4 else ():
            opposite = np.s_[1 - half :: 2]
            share[:, half::2] = _share(values, *self._parts(values, state, opposite), opposite)
        return Contributions(
            plain.quantity + share * correction.quantity,
            plain.accepted + share * correction.accepted,
            share,
        )

    def _parts(
        self, values: TreeValues, state: TreeValues, trees: slice
    ) -> tuple[Contributions, Contributions]:
        """Leave-one-out among some of the trees, and the correction by the state baseline.

        The correction has mean 0.
        """
        some, of_states = (
            TreeValues(x.quantity[:, trees], x.accepted[:, trees], x.score[:, trees])
            for x in (values, state)
        )
        plain = super().slopes(some)
        early = super().slopes(replace(some, score=some.score - of_states.score))
        correction = Contributions(
            early.quantity + some.quantity * of_states.score - of_states.quantity - plain.quantity,
            early.accepted + some.accepted * of_states.score - of_states.accepted - plain.accepted,
        )
        return plain, correction


def usual_share(values: TreeValues) -> float:
    """The share that a few trees cannot tell: 0.8 at low rigidity, and 0 where it is infinite.

    It is 0 for a term that reads more than two leading jets: a state has many soft objects beside
    the two hardest, and is a bad guess of how they end.
    """
    if values.jets > 2:
        return 0.0
    return USUAL_SHARE / (1.0 + (values.rigidity / HALVING_RIGIDITY) ** 2)


def _state_sums(states: StateValues, shape: tuple[int, ...]) -> TreeValues:
    """Sums over the states of each tree: of score times I l, of score times I, and of the score."""
    return TreeValues(
        states.sums(states.quantity * states.score, shape),
        states.sums(states.accepted * states.score, shape),
        states.sums(states.score, shape),
    )


def _share(
    values: TreeValues, plain: Contributions, correction: Contributions, trees: slice
) -> Floats:
    """The c between 0 and 1 that is to minimise the variance of plain + c correction.

    The variance is that over some of the trees of each event. The shape is (event, 1).
    """
    quantity, accepted = values.quantity[:, trees], values.accepted[:, trees]
    number = accepted.sum(axis=1, keepdims=True)
    loss = quotient(quantity.sum(axis=1, keepdims=True), number, number > 0)
    # The gradient of the ratio follows dE[I l] - L dE[I].
    a, b = (x.quantity - loss * x.accepted for x in (plain, correction))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    square = (b**2).sum(axis=1)
    # If the baseline changes nothing, the correction is pure rounding, and so would be the share.
    rounding = 1e-24 * ((quantity**2 + (loss * accepted) ** 2) * values.score[:, trees] ** 2).sum(
        axis=1
    )
    told = square > rounding
    fitted = quotient(-(a * b).sum(axis=1), square, told)
    weight = quotient(b**2, square[:, np.newaxis], told[:, np.newaxis])
    effective = quotient(1.0, (weight**2).sum(axis=1), told)
    usual = usual_share(values)
    best = usual + effective / (effective + EFFECTIVE_TREES) * (fitted - usual)
    share: Floats = np.clip(best, 0.0, 1.0)[:, np.newaxis]
    return share
