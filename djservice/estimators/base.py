"""What an estimator is: values and scores of trees -> what each tree contributes to dE[I l]/dR and dE[I]/dR.

An estimator is one class. The mean of its contributions over an event's trees is the estimate, so the standard error
over trees, the selection (docs/how-it-works.md) and the reduction over events come for free, and are the same for all.
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
    """The states of growing trees, as a baseline reads them; see :class:`djservice.clustering.trees.States`.

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
        sums: Floats = sums_by_owner(weights, self.tree, int(np.prod(shape))).reshape(shape)
        return sums


@dataclass(frozen=True)
class TreeValues:
    """What an estimator may know of one term of a loss, for some events and their trees.

    Attributes
    ----------
    quantity, accepted, score
        I l, I and the score of each tree, shape (event, tree).
    states
        The same of the states of growing trees, for an estimator that ``follows``.
    extra
        (I l, I, weight) of each of the :meth:`Estimator.extra_jets`.
    """

    quantity: Floats
    accepted: Floats
    score: Floats
    states: StateValues | None = None
    extra: tuple[tuple[Floats, Floats, Floats], ...] = ()


@dataclass(frozen=True)
class Contributions:
    """What each tree contributes to dE[I l] and dE[I], and the share of the state baseline in it, all (event, tree)."""

    quantity: Floats
    accepted: Floats
    share: Floats | None = None


#: Jets and a weight per tree.
ExtraJets = Iterable[tuple[Any, Floats | float]]


@dataclass(frozen=True)
class Estimator(ABC):
    """An estimator of d E[f] / dR from trees, or of the derivative in another parameter."""

    #: The name in a run configuration.
    name: ClassVar[str]
    #: How many trees per event it needs.
    minimum_trees: ClassVar[int] = 1
    #: Whether it reads the states of growing trees.
    follows: ClassVar[bool] = False
    #: Whether it takes so long that `djservice compare` leaves it out unless it is named.
    slow: ClassVar[bool] = False
    #: Whether it gives the derivative in any parameter that there is a score for, and not in R alone.
    in_any_parameter: ClassVar[bool] = False

    @property
    def flips(self) -> Flips:
        """Which alternative paths of the trees it needs, as in :func:`djservice.clustering.cluster`."""
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
        """Leading jets that it needs beside those of ``sample``, shape (event, tree or 1, jet), with a weight per tree.

        They are read one after the other, and once.

        Parameters
        ----------
        events, radius, sampling, request
            How the trees of ``sample`` were grown; R of each event.
        sample
            The trees.
        """
        return ()

    @abstractmethod
    def slopes(self, values: TreeValues) -> Contributions:
        """What each tree contributes to dE[I l] and dE[I]: the means over an event's trees are the estimates."""


def central_difference(values: TreeValues) -> Contributions:
    """The derivative of I l from its values at both sides, with the selection held fixed."""
    (high, high_accepted, weight), (low, low_accepted, _) = values.extra
    slope = np.where(high_accepted == low_accepted, (high - low) * weight, 0.0)
    return Contributions(
        np.broadcast_to(slope, values.quantity.shape), np.zeros_like(values.accepted)
    )
