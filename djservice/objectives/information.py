"""The mutual information of an observable and the truth, as an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import BOUNDS, are_numbers
from djservice.core.shown import MAXIMISED
from djservice.core.spelling import spelled
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.binned_statistics import BinnedStatistic, NegativeInformation
from djservice.objectives.losses import Term


@checked_arguments
@dataclass(frozen=True)
class MutualInformation(Term):
    """Mutual information I(f; truth) in nats over accepted trees, as an objective to maximise.

    The loss is -I, with I from a histogram of the observable f against the true mass (plug-in
    estimate), less its bias in second order. dI/dR = E[T S] with T = log(p(f, truth) / (p(f)
    p(truth))) and S the score of a tree: T need not be differentiated, because at the optimal T the
    bound on I is stationary (Donsker and Varadhan; docs/guides/information.md). I does not change
    under f -> h(f), so no shift of the scale is punished or rewarded. It needs many true masses:
    with one, it is 0.

    Attributes
    ----------
    bins
        Number of equal bins of the observable, and of the truth.
    range, truth_range
        Lowest and highest value of each histogram, in the observable's units and in GeV. What lies
        outside counts in the outermost bins.
    """

    bins: tuple[int, int] = (40, 20)
    range: tuple[float, float] = (0.0, 250.0)
    truth_range: tuple[float, float] = (0.0, 250.0)

    has_target: ClassVar[bool] = False
    maximised: ClassVar[str] = MAXIMISED["mutual_information"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (are_numbers(self.bins, 2) and all(map(BOUNDS["bins"].holds, self.bins))):
            raise InputError(
                f"bins are {spelled(self.bins)}, expected two numbers, of the observable's and of the "
                f"truth's bins, each {BOUNDS['bins']}."
            )
        for name in ("range", "truth_range"):
            check_range(name, getattr(self, name))

    @property
    def statistic(self) -> BinnedStatistic:
        return NegativeInformation(*self.bins)

    def categories(self, truth: Floats, dataset: str) -> NDArray[np.int64]:
        return bin_numbers(super()._target(truth), self.truth_range, self.bins[1]).astype(np.int64)

    def _target(self, truth: Floats) -> Floats:
        return np.zeros_like(truth)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        number = bin_numbers(value, self.range, self.bins[0])
        return tuple((number == i).astype(np.float64) for i in np.arange(self.bins[0]))


def bin_numbers(value: Floats, limits: tuple[float, float], bins: int) -> Floats:
    """Number of the equal bin that each value is in; values outside are in the outermost bins."""
    low, high = limits
    number: Floats = np.clip(np.floor((value - low) * (bins / (high - low))), 0, bins - 1)
    return number


def check_range(name: str, limits: tuple[float, float]) -> None:
    """Refuse limits of a histogram that are not finite, or not in order."""
    if not (are_numbers(limits, 2) and limits[0] < limits[1]):
        raise InputError(f"{name} is {spelled(limits)}, expected [lowest, highest].")
