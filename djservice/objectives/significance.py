"""The expected significance of a binned search, as an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.array_module import array_module
from djservice.core.bounds import are_numbers, require_number, require_positive
from djservice.core.shown import MAXIMISED
from djservice.core.spelling import spelled
from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.asimov import NegativeSignificance
from djservice.objectives.losses import Term


@checked_arguments
@dataclass(frozen=True)
class Significance(Term):
    """Expected discovery significance Z of a binned search, as an objective to maximise.

    The loss is -Z, of expected events in bins of the observable (the Asimov data set;
    :class:`djservice.objectives.asimov.NegativeSignificance`), less its bias in second order. Bins
    are counted as they are, with no relaxation: a bin's content is an expectation over trees, which
    is smooth in R. Trees outside of the bins are left out.

    Attributes
    ----------
    signal, background
        Names of datasets. Weights of their events sum to cross sections.
    luminosity
        Integrated luminosity, in the inverse of the unit of the cross sections.
    bins
        Edges of the bins, in the observable's units.
    background_uncertainty
        Relative uncertainty of the background in each bin, independent between bins.
    minimum_entries
        Effective background entries of a bin; with fewer, it is merged with the next ones.
    """

    signal: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    luminosity: float = 0.0
    bins: tuple[float, ...] = ()
    background_uncertainty: float = 0.0
    minimum_entries: float = 10.0

    has_target: ClassVar[bool] = False
    maximised: ClassVar[str] = MAXIMISED["significance"]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("signal", "background"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, (getattr(self, name),))
        names = (*self.signal, *self.background)
        if not (self.signal and self.background) or len(set(names)) < len(names):
            raise InputError(
                f"signal is {list(self.signal)} and background is {list(self.background)}, expected "
                "one dataset or more in each, and none twice."
            )
        edges = self.bins
        if not (are_numbers(edges) and len(edges) > 1 and (np.diff(edges) > 0.0).all()):
            raise InputError(
                f"bins are {spelled(edges)}, expected the edges of one bin or more, increasing."
            )
        for name in ("luminosity", "minimum_entries"):
            require_positive(name, getattr(self, name))
        require_number("background_uncertainty", self.background_uncertainty)
        if self.background_uncertainty < 0.0:
            raise InputError(
                f"background_uncertainty is {self.background_uncertainty}, expected 0 or more."
            )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets, those of the signal first."""
        return (*self.signal, *self.background)

    @property
    def statistic(self) -> NegativeSignificance:
        return NegativeSignificance(
            len(self.bins) - 1,
            len(self.datasets),
            signals=len(self.signal),
            luminosity=self.luminosity,
            uncertainty=self.background_uncertainty,
            minimum_entries=self.minimum_entries,
        )

    def categories(self, truth: Floats, dataset: str) -> NDArray[np.int64]:
        if dataset not in self.datasets:
            raise InputError(
                f"events of dataset {dataset!r}, expected one of {', '.join(self.datasets)}"
                f"{nearest(dataset, list(self.datasets))}. Name it as signal or background."
            )
        return np.full(len(truth), self.datasets.index(dataset))

    def _target(self, truth: Floats) -> Floats:
        return np.zeros_like(truth)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        edges = array_module(value).asarray(self.bins)
        number = np.searchsorted(edges, value, side="right") - 1
        return tuple((number == i).astype(np.float64) for i in range(len(self.bins) - 1))
