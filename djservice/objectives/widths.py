"""Losses that are widths of a resonance: of its observable relative to its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import BOUNDS, are_numbers
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.losses import Term
from djservice.objectives.pooled_statistics import (
    PooledStatistic,
    QuantileWidth,
    RelativeVariance,
)


@checked_arguments
@dataclass(frozen=True)
class Width(Term):
    """Relative width of a resonance: Var(f) / mean(f)^2 over accepted trees and events.

    With ``scale`` None, f is the observable divided by the event's truth. Otherwise f is the
    observable divided by ``scale``, which does not change the width, and no truth is needed. Like
    any plug-in estimate, the width has a bias of O(1 / (events x trees)). A radius that shrinks
    all masses shrinks the mean too, so its square in the denominator keeps the minimum away from
    R -> 0.
    """

    has_target: ClassVar[bool] = False

    @property
    def statistic(self) -> PooledStatistic:
        return RelativeVariance()

    def _target(self, truth: Floats) -> Floats:
        return super()._target(truth) if self.scale is None else np.full_like(truth, self.scale)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        return value / target, np.square(value / target)


@checked_arguments
@dataclass(frozen=True)
class RobustWidth(Width):
    """Robust relative width: (q_84 - q_16) / (2 q_50) over accepted trees and events.

    This is half of the central 68 % interval divided by the median. f is defined as in
    :class:`Width`. Only the number of trees in the tails counts, not how far out they are. The
    quantiles are interpolated within the equal bins of a histogram from ``low`` to ``high``, so
    that chunks of events return plain sums. Trees outside the histogram are left out.

    Standard errors are too small with fewer than 200 events (docs/results.md).
    """

    low: float = 0.0
    high: float = 250.0
    bins: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        bound = BOUNDS["bins"]
        if not (
            are_numbers([self.low, self.high]) and self.low < self.high and bound.holds(self.bins)
        ):
            raise InputError(
                f"expected low < high and 4 bins or more, found {self.low}, {self.high} and "
                f"{self.bins}; there may be {bound.high:,} bins."
            )

    @property
    def statistic(self) -> PooledStatistic:
        return QuantileWidth(self.low, self.high, self.bins)

    def _quantities(self, value: Floats, target: Floats) -> tuple[Floats, ...]:
        number = np.floor((value / target - self.low) * (self.bins / (self.high - self.low)))
        return tuple((number == i).astype(np.float64) for i in range(self.bins))
