"""Features: what a radius model knows of an event. A number from its deterministic jets and its particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from djservice.clustering.cluster import cluster
from djservice.core.entry_points import makers
from djservice.core.fingerprints import fingerprint
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.objectives.observables import dijet_mass as mass_of_two

#: Leading jets that features see.
JETS = 4


@dataclass(frozen=True)
class Feature:
    """A number per event.

    Attributes
    ----------
    function
        Takes the four leading jets of the deterministic clustering, a ``vector`` momentum array of shape (event, jet) in falling
        pT with NaN where an event has fewer, and the :class:`djservice.EventBatch`; returns shape (event,), NaN where the feature
        is not defined.
    name
        For tables.
    """

    function: Callable[[Any, EventBatch], ArrayLike]
    name: str

    def __call__(self, jets: Any, events: EventBatch) -> Floats:
        """The value per event.

        Raises
        ------
        InputError
            If the function returns another shape, or infinite values.
        """
        values = np.asarray(self.function(jets, events), dtype=np.float64)
        if values.shape != (len(events),) or np.isinf(values).any():
            raise InputError(
                f"feature {self.name!r} returned shape {values.shape}, expected ({len(events)},), with finite numbers or NaN."
            )
        return values

    @property
    def fingerprint(self) -> str:
        """The function's qualified name and a hash of its source."""
        return fingerprint(self.function)


def feature(function: Callable[[Any, EventBatch], ArrayLike]) -> Feature:
    """Make a :class:`Feature` of a function of the jets and the events.

    Examples
    --------
    >>> @feature
    ... def charged_share(jets, events):
    ...     return jets.mass[:, 0] / jets.pt[:, 0]
    """
    return Feature(function, function.__name__)


@feature
def leading_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the leading jet's pT."""
    return np.asarray(np.log(jets.pt[:, 0]))


@feature
def second_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the second jet's pT."""
    return np.asarray(np.log(jets.pt[:, 1]))


@feature
def third_pt_share(jets: Any, events: EventBatch) -> Floats:
    """pT of the third jet over that of the two leading ones together; 0 where there is no third jet."""
    return np.asarray(np.nan_to_num(jets.pt[:, 2]) / (jets.pt[:, 0] + jets.pt[:, 1]))


@feature
def separation(jets: Any, events: EventBatch) -> Floats:
    """Distance of the two leading jets in rapidity and azimuth."""
    return np.asarray(
        np.hypot(jets.rapidity[:, 0] - jets.rapidity[:, 1], jets[:, 0].deltaphi(jets[:, 1]))
    )


@feature
def dijet_mass(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the mass of the two leading jets."""
    mass = np.asarray(mass_of_two(jets))
    return np.log(mass, out=np.full_like(mass, np.nan), where=mass > 0)


@feature
def particles(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the number of particles."""
    counts = events.counts.astype(np.float64)
    return np.log(counts, out=np.full_like(counts, np.nan), where=counts > 0)


@feature
def scalar_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the scalar sum of the particles' pT."""
    total = np.add.reduceat(np.append(events.pt, 0.0), events.offsets[:-1]) * (events.counts > 0)
    logarithm: Floats = np.log(total, out=np.full_like(total, np.nan), where=total > 0)
    return logarithm


def named_features() -> dict[str, Callable[..., Feature]]:
    """What a run configuration can name: the features here and those of the entry-point group ``djservice.features``."""
    own = (leading_pt, second_pt, third_pt_share, separation, dijet_mass, particles, scalar_pt)
    return makers("djservice.features", Feature, {made.name: made for made in own})


def features_of(
    events: EventBatch, features: Sequence[Feature], radius: float, power: float
) -> Floats:
    """The features of each event, shape (event, feature), from deterministic jets of one radius.

    Parameters
    ----------
    events
        The particles.
    features
        What is wanted.
    radius, power
        Of the deterministic generalised-kT clustering.
    """
    jets = cluster(
        events, radius=radius, power=power, rigidity=np.inf, jets=JETS, threads=1, device="cpu"
    ).jets[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.stack([each(jets, events) for each in features], axis=1)
    return found
