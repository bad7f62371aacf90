"""Losses: what the radius is chosen to minimise, per event and tree. They carry their selection, add and scale.

A term's value over a sample is a ratio pooled over events (weights w, selection I, N trees per event)

    L = sum_e w_e a_e / sum_e w_e b_e,

with a_e and b_e the means over trees of I l and of I, or for :class:`SquaredErrorOfMean` the means of their products
over pairs of different trees (the U-statistic), which makes the square of an expectation unbiased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from djservice.cuts import Cut
from djservice.errors import InputError
from djservice.observables import Observable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Term(ABC):
    """One term of a loss: an observable, what is done to its value, a selection and a coefficient."""

    observable: Observable
    target: float | None = None
    scale: float = 1.0
    cut: Cut | None = None
    coefficient: float = 1.0

    #: Whether the term is the square of an expectation over trees.
    squares_expectation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale is {self.scale}, expected a positive, finite number.")

    @abstractmethod
    def _of(self, value: Floats, target: Floats) -> Floats:
        """The quantity whose mean over accepted trees counts."""

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

    def evaluate(self, jets: Any, truth: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """The observable, I times the quantity, and I, each of shape (event, tree).

        Parameters
        ----------
        jets
            Leading jets, shape (event, tree, jet).
        truth
            True mass per event in GeV, shape (event,); used where the loss has no target of its own.

        Raises
        ------
        InputError
            If the loss has no target and an event no truth.
        """
        value = self.observable(jets)
        target = self._target(truth)
        accepted = np.isfinite(value) & (True if self.cut is None else self.cut(jets))
        quantity = self._of(np.where(accepted, value, 0.0), target[:, np.newaxis])
        return value, np.where(accepted, quantity, 0.0), accepted

    def _target(self, truth: Floats) -> Floats:
        if self.target is not None:
            return np.full(len(truth), self.target)
        if np.isnan(truth).any():
            raise InputError(
                f"the loss of {self.observable.name!r} has no target, and event {int(np.flatnonzero(np.isnan(truth))[0])} has no "
                "truth: give target=, or a truth in the schema."
            )
        return truth

    def __mul__(self, factor: float) -> Self:
        return replace(self, coefficient=self.coefficient * factor)

    __rmul__ = __mul__

    def __add__(self, other: Term | LossSum) -> LossSum:
        return LossSum(self.terms + other.terms)


@dataclass(frozen=True)
class SquaredError(Term):
    """((f - target) / scale)^2: mean over trees of the squared error; target None means the event's truth."""

    def _of(self, value: Floats, target: Floats) -> Floats:
        return np.square((value - target) / self.scale)


@dataclass(frozen=True)
class SquaredErrorOfMean(Term):
    """((E[f] - target) / scale)^2: square of the mean error over an event's trees.

    Its gradient 2 (E f - target) dE[f] is a product of two expectations, so it is averaged over pairs of different
    trees, which is unbiased. Needs two trees per event or more.
    """

    squares_expectation: ClassVar[bool] = True

    def _of(self, value: Floats, target: Floats) -> Floats:
        return (value - target) / self.scale


@dataclass(frozen=True)
class Mean(Term):
    """E[f] / scale: an observable as an objective of its own. It has no target."""

    def _target(self, truth: Floats) -> Floats:
        return np.zeros(len(truth))

    def _of(self, value: Floats, target: Floats) -> Floats:
        return value / self.scale


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
    """A loss as it is; an observable as its mean."""
    return Mean(objective) if isinstance(objective, Observable) else objective
