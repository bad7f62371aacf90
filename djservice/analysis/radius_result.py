"""RadiusResult: what a :class:`djservice.RadiusProcessor` gives for a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from djservice.errors import NothingAcceptedError
from djservice.evaluation.moments import Moments, Quantity


@dataclass(frozen=True)
class RadiusResult:
    """A loss and its derivative at one radius, over one dataset or all datasets.

    Attributes
    ----------
    loss, gradient
        L and dL/dR (with variable-R jets dL/drho). NaN where no tree is accepted, or where the
        accepted weights do not sum to more than 0.
    mean, sd
        Mean and standard deviation of the first term's observable over accepted trees; NaN in the
        same cases.
    acceptance
        Weighted fraction of accepted trees.
    spectrum
        ``hist.Hist`` of the first term's observable, with the event weight shared among the trees
        of an event. Variances are over events, because the trees of an event are not independent.
    moments
        Sums from which the numbers follow, including the numbers of events and trees.
    remarks
        What looks like a mistake in the events, and columns that count as their defaults.
    lund
        ``hist.Hist`` of the density of emissions in the Lund plane (:func:`djservice.lund_density`)
        of the leading jets of the deterministic clustering; None unless it was asked for.
    """

    loss: Quantity
    gradient: Quantity
    mean: Quantity
    sd: Quantity
    acceptance: Quantity
    spectrum: Any
    moments: Moments
    remarks: tuple[str, ...] = ()
    lund: Any = None


def or_nan(number: Callable[[], Quantity]) -> Quantity:
    """A number, or NaN where it is not defined, so that an empty dataset does not stop the rest."""
    try:
        return number()
    except NothingAcceptedError:
        return Quantity(math.nan, math.nan, math.nan)
