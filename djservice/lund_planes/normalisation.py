"""normalised(weights, ...): weights of jets that change no number of jets, and no spectrum of pT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.core.inner import inner
from djservice.core.typing import Floats

#: Limits of a weight before and after it is divided by the mean.
_FIRST, _SECOND = 10.0, (0.1, 10.0)
#: With fewer jets the spectrum of pT is left as it is.
SPECTRUM_JETS = 500


def normalised(weights: Floats, prongs: NDArray[np.int64], pt: Floats, of_event: Floats) -> Floats:
    """The weights of jets with mean 1 for each number of prongs, and in bins of pT.

    Parameters
    ----------
    weights
        Shape (jet,).
    prongs, pt, of_event
        Number of prongs, pT in GeV and weight of the event of each jet.
    """
    result = np.minimum(weights, _FIRST)
    for number in np.unique(prongs):
        rows = prongs == number
        result[rows] = _divided(result[rows], of_event[rows])
        result[rows] = _divided(np.clip(result[rows], *_SECOND), of_event[rows])
    if len(weights) <= SPECTRUM_JETS:
        return result
    low, high = np.quantile(pt, (0.03, 0.97))
    count = int(np.clip(len(pt) // 100, 10, 100))
    edges = np.linspace(low, high, count + 1)[1:-1]
    bins = np.searchsorted(edges, pt)
    for number in np.unique(bins):
        rows = bins == number
        result[rows] = _divided(result[rows], of_event[rows])
    return result


def _divided(weights: Floats, of_event: Floats) -> Floats:
    """The weights divided by their mean over events; as they are, if that is not positive."""
    total, weighted = of_event.sum(), float(inner(weights, of_event))
    return weights * (total / weighted) if total > 0.0 and weighted > 0.0 else weights
