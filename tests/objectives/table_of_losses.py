"""Losses of every kind, and the events on which they are tested."""

from __future__ import annotations

import numpy as np

from djservice import SquaredError, SquaredErrorOfMean, cuts, observables
from djservice.events.batch import EventBatch
from djservice.objectives.widths import RobustWidth, Width

MASS = observables.dijet_mass
SELECTED = cuts.two_jets(pt_min=15.0) & cuts.mass_below(120.0)
SQUARED = SquaredError(MASS, target=80.0, scale=80.0)
OF_MEAN = SquaredErrorOfMean(MASS, target=80.0, scale=80.0)

#: A new loss is tested by adding a row.
LOSSES = {
    "squared error": SQUARED,
    "squared error, selected": SQUARED.where(SELECTED),
    "squared error to the truth": SquaredError(MASS, scale=80.0).where(SELECTED),
    "of mean": OF_MEAN,
    "of mean, selected": OF_MEAN.where(SELECTED),
    "sum": SQUARED.where(SELECTED)
    + 0.5 * OF_MEAN
    + SquaredError(observables.leading_jet_mass, target=10.0) * 1e-3,
}


#: Those whose value is no mean of single terms; narrow bins, for the histogram is differentiated as it is.
WIDTHS = {
    "width": Width(MASS),
    "width, selected": Width(MASS).where(SELECTED),
    "robust width": RobustWidth(MASS, high=300.0, bins=20),
    "robust width, selected": RobustWidth(MASS, high=120.0, bins=12).where(SELECTED),
    "width of the response": Width(MASS, scale=None),
    "robust width of the response": RobustWidth(MASS, scale=None, high=3.0, bins=20),
    "width and error": 0.3 * Width(MASS).where(SELECTED) + SQUARED,
}


def forty_events() -> EventBatch:
    """Forty small events with weights."""
    rng = np.random.default_rng(5)
    counts = rng.integers(3, 9, 40)
    n = counts.sum()
    return EventBatch.from_arrays(
        pt=rng.exponential(30.0, n) + 2.0,
        rapidity=rng.uniform(-2, 2, n),
        phi=rng.uniform(-np.pi, np.pi, n),
        mass=np.zeros(n),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        weight=rng.uniform(0.2, 2.0, 40),
        truth=rng.uniform(60, 100, 40),
    )
