"""The interface of an estimator, which turns values and scores of trees into contributions.

A contribution of a tree is its part of dE[I l]/dR and of dE[I]/dR. An estimator is one class. The
mean of its contributions over an event's trees is the estimate. The standard error over trees, the
selection (docs/how-it-works.md) and the reduction over events are therefore the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.sampling import Flips, Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.core.array_module import sums_by_owner
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch


@dataclass(frozen=True)
class StateValues:
    """Values and scores of the states of growing trees.

    :class:`djservice.clustering.trees.States` holds the states themselves.

    Attributes
    ----------
    quantity, accepted
        I l and I of the jets that the tree would have if it ended in the state, shape (state,).
    score
        Score of the steps that begin in the state, shape (state,).
    tree
        Index of the tree, event * trees + tree, shape (state,).
    """

    quantity: Floats
    accepted: Floats
    score: Floats
    tree: NDArray[np.int64]

    def sums(self, weights: Floats, shape: tuple[int, ...]) -> Floats:
        """Sums of weights over the states of each tree, shape (event, tree)."""
        sums: Floats = sums_by_owner(weights, self.tree, int(np.prod(shape))).reshape(shape)
        return sums


@dataclass(frozen=True)
class TreeValues:
    """The input of an estimator: values and scores of trees for one term of a loss.

    Attributes
    ----------
    quantity, accepted, score
        I l, I and the score of each tree, shape (event, tree).
    states
        Values and scores of the states of growing trees, or None unless the estimator has
        ``uses_states``.
    extra
        (I l, I, weight) of each entry of :meth:`Estimator.extra_jets`.
    rigidity, jets
        alpha of the trees, and the number of leading jets that the term reads.
    """

    quantity: Floats
    accepted: Floats
    score: Floats
    states: StateValues | None = None
    extra: tuple[tuple[Floats, Floats, Floats], ...] = ()
    rigidity: float = 1.0
    jets: int = 2


@dataclass(frozen=True)
class Contributions:
    """Contributions of each tree to dE[I l] and dE[I], shape (event, tree).

    Attributes
    ----------
    quantity, accepted
        Contributions to dE[I l] and dE[I].
    share
        Share of the state baseline in them, or None with other estimators.
    """

    quantity: Floats
    accepted: Floats
    share: Floats | None = None


#: Pairs of jets and a weight per tree.
ExtraJets = Iterable[tuple[Any, Floats | float]]


@dataclass(frozen=True)
class Estimator(ABC):
    """An estimator of d E[f] / dR from trees, or of the derivative in another parameter."""

    #: Name of the estimator in a run configuration.
    name: ClassVar[str]
    #: Number of trees per event that the estimator needs at least.
    minimum_trees: ClassVar[int] = 1
    #: Whether the estimator reads the states of growing trees.
    uses_states: ClassVar[bool] = False
    #: Whether all jets that the estimator makes have constituents.
    keeps_constituents: ClassVar[bool] = True
    #: Whether `djservice compare` leaves the estimator out, for its cost, unless it is named.
    slow: ClassVar[bool] = False
    #: Whether its mean differs from the derivative, by however little.
    biased: ClassVar[bool] = False
    #: Whether the estimator works for every parameter that has a score, and not for R alone.
    in_any_parameter: ClassVar[bool] = False

    @property
    def flips(self) -> Flips:
        """Alternative paths that the estimator needs; see :func:`djservice.clustering.cluster`."""
        return False

    @property
    def memory_factor(self) -> int:
        """Memory per tree, relative to a plain tree; divides how many trees are held at once."""
        return 1

    def extra_jets(
        self,
        events: EventBatch,
        radius: Floats,
        sampling: Sampling,
        request: TreeRequest,
        sample: TreeSample,
    ) -> ExtraJets:
        """Leading jets that the estimator needs in addition to those of ``sample``.

        Every entry has jets of shape (event, tree or 1, jet) and a weight per tree. The entries are
        read once, in order.

        Parameters
        ----------
        events, radius, sampling, request
            Events, R of each event and settings with which the trees of ``sample`` were grown.
        sample
            The trees.
        """
        return ()

    @abstractmethod
    def slopes(self, values: TreeValues) -> Contributions:
        """Contributions of each tree to dE[I l] and dE[I]; an event's estimates are their means."""


def central_difference(values: TreeValues) -> Contributions:
    """Derivative of I l from its values on both sides of R, with the selection held fixed."""
    (high, high_accepted, weight), (low, low_accepted, _) = values.extra
    slope = np.where(high_accepted == low_accepted, (high - low) * weight, 0.0)
    return Contributions(
        np.broadcast_to(slope, values.quantity.shape), np.zeros_like(values.accepted)
    )
