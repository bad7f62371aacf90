"""Losses that the radius is chosen to minimise. They carry their selection, add and scale.

The value of a term over a sample is a function F of sums pooled over events, with weights w, the
selection I and N trees per event:

    L = F(sum_e w_e a_e, sum_e w_e b_e)

Here a_e and b_e are the means over trees of I l and of I. F is their ratio
(:mod:`djservice.objectives.pooled_statistics`), except for the widths of a resonance, which have
several quantities l. For :class:`SquaredErrorOfMean`, a_e and b_e are the means of products over
pairs of different trees (the U-statistic), which makes the square of an expectation unbiased.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.array_module import array_module
from djservice.core.bounds import require_number, require_positive
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.objectives.cuts import Cut, need_cut
from djservice.objectives.observable import Observable, need_observable, no_truth
from djservice.objectives.pooled_statistics import PooledMean, PooledStatistic


@dataclass(frozen=True)
class Term(ABC):
    """One term of a loss: a function of an observable, with a selection and a coefficient.

    Attributes
    ----------
    observable
        Observable f of the leading jets.
    target
        Value that f is compared with; None for the truth of each event.
    scale
        Unit of f or of its difference to the target; None for the target itself.
    cut
        Selection of trees; None accepts all trees with a finite f.
    coefficient
        Factor of the term in a sum of losses.
    """

    observable: Observable
    target: float | None = None
    scale: float | None = 1.0
    cut: Cut | None = None
    coefficient: float = 1.0

    #: Whether the term is the square of an expectation over trees.
    squares_expectation: ClassVar[bool] = False
    #: Whether the term compares with a target, and so is meaningful for a single event.
    has_target: ClassVar[bool] = True
    #: What the negative of the loss is called, with units, for what is maximised; else empty.
    maximised: ClassVar[str] = ""

    def __post_init__(self) -> None:
        need_observable(self.observable)
        if self.cut is not None:
            need_cut(self.cut)
        require_number("coefficient", self.coefficient)
        if self.target is not None:
            require_number("target", self.target)
        if self.scale is not None:
            require_positive("scale", self.scale, more=", or None for the target")

    @abstractmethod
    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        """Quantities l, whose sums over accepted trees make the loss."""

    @property
    def statistic(self) -> PooledStatistic:
        """Function F from the pooled sums to the loss."""
        return PooledMean()

    @property
    def terms(self) -> tuple[Term, ...]:
        """Terms of this loss: the loss itself."""
        return (self,)

    @property
    def jets(self) -> int:
        """Number of leading jets that the term reads."""
        return max(self.observable.jets, 1 if self.cut is None else self.cut.jets)

    @property
    def needs_constituents(self) -> bool:
        """Whether the term reads constituents of jets."""
        of_cut = self.cut is not None and self.cut.needs_constituents
        return of_cut or self.observable.needs_constituents

    @property
    def settled_pt(self) -> float:
        """The pT in GeV below which jets that are still to form cannot change the loss.

        Trees may stop there (see ``dj.cluster``).
        """
        return self.cut.settled_pt if self.cut is not None and self.cut.jets == self.jets else 0.0

    def categories(self, truth: Floats, dataset: str) -> NDArray[np.int64] | None:
        """Category of each event, shape (event,), whose histograms are apart; None if there are none.

        Parameters
        ----------
        truth, dataset
            True masses in GeV, shape (event,), and the name of the events' dataset.

        Raises
        ------
        InputError
            If an event belongs to no category.
        """
        return None

    def where(self, cut: Cut) -> Self:
        """This loss for trees that ``cut`` accepts, in addition to any earlier selection.

        Raises
        ------
        InputError
            If it is no cut.
        """
        need_cut(cut)
        return replace(self, cut=cut if self.cut is None else self.cut & cut)

    def evaluate(self, jets: Any, truth: Floats) -> tuple[Floats, list[Floats], NDArray[np.bool_]]:
        """The observable f, I times each quantity l, and I, each of shape (event, tree).

        Parameters
        ----------
        jets
            Leading jets, shape (event, tree, jet). If they are on a GPU, so are the results.
        truth
            True mass of each event in GeV, shape (event,); used if the loss has no target.

        Raises
        ------
        InputError
            If the loss has no target and an event has no truth.
        """
        value = self.observable(jets)
        target = self._target(array_module(value).asarray(truth))
        accepted = np.isfinite(value) & (True if self.cut is None else self.cut(jets))
        quantities = called(
            f"loss {type(self).__name__}",
            self._quantities,
            np.where(accepted, value, 0.0),
            target[:, np.newaxis],
        )
        return value, [np.where(accepted, quantity, 0.0) for quantity in quantities], accepted

    def slopes(self, momenta: Floats, truth: Floats) -> Floats | None:
        """Derivatives of l in the momenta of jets, shape (event, tree, jet, 4), at any selection.

        None if the observable has no slopes, or l none in f.

        Parameters
        ----------
        momenta
            px, py, pz and E of the jets, shape (event, tree, jet, 4), NaN for missing ones.
        truth
            As in :meth:`evaluate`.
        """
        if self.observable.slopes is None:
            return None
        value, derivatives = called(
            f"slopes of observable {self.observable.name!r}", self.observable.slopes, momenta
        )
        slope = self._slope(value, self._target(truth)[:, np.newaxis])
        return None if slope is None else slope[..., np.newaxis, np.newaxis] * derivatives

    def _slope(self, value: Floats, target: Floats) -> Floats | None:
        """Derivative dl/df, or None."""
        return None

    def _target(self, truth: Floats) -> Floats:
        if self.target is not None:
            return np.full_like(truth, self.target)
        if np.isnan(truth).any():
            event = int(np.flatnonzero(np.isnan(truth))[0])
            lacks = "has no target" if self.has_target else "compares with the truth"
            instead = "target= or " if self.has_target else "scale= or " if not self.scale else ""
            raise InputError(
                f"the loss of {self.observable.name!r} {lacks}, and event {event} has no truth: "
                f"give {instead}a truth in the schema."
            )
        return truth

    def _scaled(self, value: Floats, target: Floats) -> Floats:
        """Scaled difference (value - target) / scale."""
        scaled: Floats = (value - target) / (target if self.scale is None else self.scale)
        return scaled

    def __mul__(self, factor: float) -> Self:
        require_number("factor", factor)
        return replace(self, coefficient=self.coefficient * factor)

    __rmul__ = __mul__

    def __add__(self, other: Term | LossSum) -> LossSum:
        return LossSum(self.terms + _terms_of(other))

    def __bool__(self) -> bool:
        raise no_truth("a loss", "Add losses with +.")


@checked_arguments
@dataclass(frozen=True)
class SquaredError(Term):
    """Mean over trees of the squared error ((f - target) / scale)^2.

    With ``target`` None, the target is the event's truth. With ``scale`` None, the scale is the
    target, which gives the relative error.
    """

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (np.square(self._scaled(value, target)),)

    def _slope(self, value: Floats, target: Floats) -> Floats | None:
        return 2.0 * self._scaled(value, target) / (target if self.scale is None else self.scale)


@checked_arguments
@dataclass(frozen=True)
class BoundedError(SquaredError):
    """Mean over trees of u / (1 + u / bound), where u is the squared error ((f - target) / scale)^2.

    It is u where u is small, and never more than ``bound``, so that a few trees with other jets do
    not rule it (Geman and McClure 1985).
    """

    bound: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("bound", self.bound)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        (square,) = super()._quantities(value, target)
        return (square / (1.0 + square / self.bound),)

    def _slope(self, value: Floats, target: Floats) -> Floats | None:
        (square,) = super()._quantities(value, target)
        slope = super()._slope(value, target)
        assert slope is not None
        return slope / np.square(1.0 + square / self.bound)


@checked_arguments
@dataclass(frozen=True)
class SquaredErrorOfMean(Term):
    """Square of the mean error over an event's trees: ((E[f] - target) / scale)^2.

    Its gradient 2 (E f - target) dE[f] is a product of two expectations. It is averaged over pairs
    of different trees, which is unbiased and needs at least two trees per event.
    """

    squares_expectation: ClassVar[bool] = True

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (self._scaled(value, target),)


@dataclass(frozen=True)
class Mean(Term):
    """Mean of an observable, E[f] / scale, as an objective. It has no target."""

    has_target: ClassVar[bool] = False

    def _target(self, truth: Floats) -> Floats:
        return np.zeros_like(truth)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return (value if self.scale is None else value / self.scale,)

    def _slope(self, value: Floats, target: Floats) -> Floats | None:
        return np.full_like(value, 1.0 if self.scale is None else 1.0 / self.scale)


@dataclass(frozen=True)
class LossSum:
    """A sum of losses, each with its own coefficient, selection and normalisation."""

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        binned = [type(term).__name__ for term in self.terms if term.maximised]
        if len(binned) > 1:
            raise InputError(
                f"a sum of {' and '.join(binned)}: expected at most one of these in a sum. Optimise "
                "one, and look at the other in a scan."
            )

    def categories(self, truth: Floats, dataset: str) -> NDArray[np.int64] | None:
        """Category of each event for the term that has categories; None if no term has."""
        categories = (term.categories(truth, dataset) for term in self.terms)
        return next((numbers for numbers in categories if numbers is not None), None)

    @property
    def jets(self) -> int:
        """Number of leading jets that the terms read."""
        return max(term.jets for term in self.terms)

    @property
    def needs_constituents(self) -> bool:
        """Whether a term reads constituents of jets."""
        return any(term.needs_constituents for term in self.terms)

    @property
    def settled_pt(self) -> float:
        """The pT in GeV below which jets that are still to form cannot change any term."""
        return min(term.settled_pt if term.jets == self.jets else 0.0 for term in self.terms)

    def __add__(self, other: Term | LossSum) -> LossSum:
        return LossSum(self.terms + _terms_of(other))

    def __bool__(self) -> bool:
        raise no_truth("a loss", "Add losses with +.")

    def __mul__(self, factor: float) -> LossSum:
        require_number("factor", factor)
        return LossSum(tuple(term * factor for term in self.terms))

    __rmul__ = __mul__


Loss = Term | LossSum


def _terms_of(loss: Any) -> tuple[Term, ...]:
    """The terms of the other loss of a sum."""
    if not isinstance(loss, (Term, LossSum)):
        raise InputError(
            f"expected another loss in a sum of losses, found {loss!r}. Scale a loss with *."
        )
    return loss.terms


def as_loss(objective: Loss | Observable) -> Loss:
    """Convert an objective to a loss: a loss stays as it is, an observable becomes its mean.

    Raises
    ------
    InputError
        If the objective is neither a loss nor an observable.
    """
    if isinstance(objective, (Term, LossSum)):
        return objective
    need_observable(objective, "a loss or an observable")
    return Mean(objective)
