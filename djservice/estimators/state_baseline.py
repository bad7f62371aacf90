"""The default estimator: a baseline for each state of a tree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from djservice.core.array_module import quotient
from djservice.core.typing import Floats
from djservice.estimators.base import Contributions, TreeValues
from djservice.estimators.score_function import LeaveOneOut


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

    def slopes(self, values: TreeValues) -> Contributions:
        plain, more = self._parts(values)
        share = np.empty_like(values.score)
        for half in (0, 1):  # from the other half alone, its leave-one-out means too
            share[:, half::2] = _share(
                values, *self._parts(values, np.s_[1 - half :: 2]), np.s_[1 - half :: 2]
            )
        return Contributions(
            plain.quantity + share * more.quantity, plain.accepted + share * more.accepted, share
        )

    def _parts(
        self, values: TreeValues, trees: slice = np.s_[:]
    ) -> tuple[Contributions, Contributions]:
        """Leave-one-out of some trees among themselves, and what the state baseline adds to it, of mean 0."""
        states = values.states
        assert states is not None
        shape = values.score.shape
        covered, of_quantity, of_accepted = (
            states.sums(weights, shape)[:, trees]
            for weights in (
                states.score,
                states.quantity * states.score,
                states.accepted * states.score,
            )
        )
        some = TreeValues(
            values.quantity[:, trees], values.accepted[:, trees], values.score[:, trees]
        )
        plain = super().slopes(some)
        before = super().slopes(replace(some, score=some.score - covered))
        more = Contributions(
            before.quantity + some.quantity * covered - of_quantity - plain.quantity,
            before.accepted + some.accepted * covered - of_accepted - plain.accepted,
        )
        return plain, more


def _share(values: TreeValues, plain: Contributions, more: Contributions, trees: slice) -> Floats:
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
    rounding = 1e-24 * ((quantity**2 + (loss * accepted) ** 2) * values.score[:, trees] ** 2).sum(
        axis=1
    )
    best = quotient(-(a * b).sum(axis=1), square, square > rounding)
    share: Floats = np.clip(best, 0.0, 1.0)[:, np.newaxis]
    return share
