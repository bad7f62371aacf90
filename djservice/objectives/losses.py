"""Losses: what the radius is chosen to minimise, per event and tree. They carry their selection, add and scale.

A term's value over a sample is a function F of sums pooled over events (weights w, selection I, N trees per event)

    L = F(sum_e w_e a_e, sum_e w_e b_e),

with a_e and b_e the means over trees of I l and of I. F is their ratio (:mod:`djservice.objectives.pooled_statistics`), but for the widths of a
resonance, which have several quantities l. For :class:`SquaredErrorOfMean` a_e and b_e are the means of products over
pairs of different trees (the U-statistic), which makes the square of an expectation unbiased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from djservice.core.array_module import module_of
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.cuts import Cut
from djservice.objectives.observables import Observable
from djservice.objectives.pooled_statistics import (
    PooledMean,
    PooledStatistic,
    QuantileWidth,
    RelativeVariance,
)


@dataclass(frozen=True)
class Term(ABC):
    """One term of a loss: an observable, what is done to its value, a selection and a coefficient."""

    observable: Observable
    target: float | None = None
    scale: float | None = 1.0
    cut: Cut | None = None
    coefficient: float = 1.0

    #: Whether the term is the square of an expectation over trees.
    squares_expectation: ClassVar[bool] = False
    #: Whether it compares with a target, so that it means something for a single event.
    has_target: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.scale is not None and not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(
                f"scale is {self.scale}, expected a positive, finite number, or None for the target."
            )

    @abstractmethod
    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        """The quantities whose sums over accepted trees count."""

    @property
    def statistic(self) -> PooledStatistic:
        """How the sums make the loss."""
        return PooledMean()

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of this loss: itself."""
        return (self,)

    @property
    def jets(self) -> int:
        """How many leading jets are read."""
        return max(self.observable.jets, self.cut.jets if self.cut else 1)

    @property
    def settled_pt(self) -> float:
        """Jets below this pT (GeV) that are not yet there cannot change the loss: trees may stop, see ``dj.cluster``."""
        return self.cut.settled_pt if self.cut is not None and self.cut.jets == self.jets else 0.0

    def where(self, cut: Cut) -> Self:
        """The same with the trees that ``cut`` accepts, on top of any earlier selection."""
        return replace(self, cut=cut if self.cut is None else self.cut & cut)

    def evaluate(self, jets: Any, truth: Floats) -> tuple[Floats, list[Floats], NDArray[np.bool_]]:
        """The observable, I times each quantity (one but for a width), and I, each of shape (event, tree).

        Parameters
        ----------
        jets
            Leading jets, shape (event, tree, jet); where they are on a GPU, so is what is returned.
        truth
            True mass per event in GeV, shape (event,); used where the loss has no target of its own.

        Raises
        ------
        InputError
            If the loss has no target and an event no truth.
        """
        value = self.observable(jets)
        target = self._target(module_of(value).asarray(truth))
        accepted = np.isfinite(value) & (True if self.cut is None else self.cut(jets))
        quantities = self._of(np.where(accepted, value, 0.0), target[:, np.newaxis])
        return value, [np.where(accepted, quantity, 0.0) for quantity in quantities], accepted

    def _target(self, truth: Floats) -> Floats:
        if self.target is not None:
            return np.full_like(truth, self.target)
        if np.isnan(truth).any():
            raise InputError(
                f"the loss of {self.observable.name!r} has no target, and event {int(np.flatnonzero(np.isnan(truth))[0])} has no "
                "truth: give target=, or a truth in the schema."
            )
        return truth

    def _scaled(self, value: Floats, target: Floats) -> Floats:
        """(value - target) / scale."""
        scaled: Floats = (value - target) / (target if self.scale is None else self.scale)
        return scaled

    def __mul__(self, factor: float) -> Self:
        return replace(self, coefficient=self.coefficient * factor)

    __rmul__ = __mul__

    def __add__(self, other: Term | LossSum) -> LossSum:
        return LossSum(self.terms + other.terms)


@dataclass(frozen=True)
class SquaredError(Term):
    """((f - target) / scale)^2: mean over trees of the squared error.

    ``target`` None is the event's truth, ``scale`` None the target, which makes it the relative error.
    """

    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (np.square(self._scaled(value, target)),)


@dataclass(frozen=True)
class SquaredErrorOfMean(Term):
    """((E[f] - target) / scale)^2: square of the mean error over an event's trees.

    Its gradient 2 (E f - target) dE[f] is a product of two expectations, so it is averaged over pairs of different
    trees, which is unbiased. Needs two trees per event or more.
    """

    squares_expectation: ClassVar[bool] = True

    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (self._scaled(value, target),)


@dataclass(frozen=True)
class Mean(Term):
    """E[f] / scale: an observable as an objective of its own. It has no target."""

    has_target: ClassVar[bool] = False

    def _target(self, truth: Floats) -> Floats:
        return np.zeros_like(truth)

    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (value if self.scale is None else value / self.scale,)


@dataclass(frozen=True)
class Width(Term):
    """Var(f) / mean(f)^2 over accepted trees and events: how wide a resonance is, whatever its mass.

    f is the observable over ``scale``, which changes nothing, or with ``scale`` None over the event's truth; else it needs no
    truth. Biased by the finite sample as any plug-in estimate, by O(1 / (events x trees)). A radius that makes everything
    small makes the mean small too, so its square in the denominator keeps the minimum from R -> 0.
    """

    has_target: ClassVar[bool] = False

    @property
    def statistic(self) -> PooledStatistic:
        return RelativeVariance()

    def _target(self, truth: Floats) -> Floats:
        return super()._target(truth) if self.scale is None else np.full_like(truth, self.scale)

    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return value / target, np.square(value / target)


@dataclass(frozen=True)
class RobustWidth(Width):
    """(q_84 - q_16) / (2 q_50) over accepted trees and events: half of the central 68 % over the median.

    f is as of :class:`Width`. Tails count by their number alone. The quantiles are those of a histogram of equal bins from
    ``low`` to ``high``, within which they are interpolated, so that chunks of events return sums; trees outside are left out.
    """

    low: float = 0.0
    high: float = 250.0
    bins: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (
            np.isfinite([self.low, self.high]).all() and self.low < self.high and self.bins >= 4
        ):
            raise InputError(
                f"expected low < high and 4 bins or more, found {self.low}, {self.high} and {self.bins}."
            )

    @property
    def statistic(self) -> PooledStatistic:
        return QuantileWidth(self.low, self.high, self.bins)

    def _of(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        number = np.floor((value / target - self.low) * (self.bins / (self.high - self.low)))
        return tuple((number == i).astype(np.float64) for i in range(self.bins))


@dataclass(frozen=True)
class LossSum:
    """A sum of losses, each with its own coefficient, selection and normalisation."""

    terms: tuple[Term, ...]

    @property
    def jets(self) -> int:
        """How many leading jets are read."""
        return max(term.jets for term in self.terms)

    @property
    def settled_pt(self) -> float:
        """As of its terms, for all of them together."""
        return min(term.settled_pt if term.jets == self.jets else 0.0 for term in self.terms)

    def __add__(self, other: Term | LossSum) -> LossSum:
        return LossSum(self.terms + other.terms)

    def __mul__(self, factor: float) -> LossSum:
        return LossSum(tuple(term * factor for term in self.terms))

    __rmul__ = __mul__


Loss = Term | LossSum


def as_loss(objective: Loss | Observable) -> Loss:
    """A loss as it is; an observable as its mean.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(objective, Observable):
        return Mean(objective)
    if isinstance(objective, (Term, LossSum)):
        return objective
    raise InputError(
        f"expected a loss or an observable, found {objective!r}. Make an observable of a function with @djservice.observable(...)."
    )
