"""Features: numbers computed from the deterministic jets and the particles of an event.

They are the input of a radius model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from djservice.clustering.cluster import cluster
from djservice.core.arguments import checked_arguments
from djservice.core.columns import returned
from djservice.core.elementary import azimuth_of, log, rapidity_of
from djservice.core.entry_points import makers
from djservice.core.fingerprints import fingerprint, need_named
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.objectives.observables import dijet_mass as mass_of_two

#: Number of leading jets that features see.
JETS = 4


@dataclass(frozen=True)
class Feature:
    """A number per event.

    Attributes
    ----------
    function
        Takes the four leading jets of the deterministic clustering and the
        :class:`djservice.EventBatch`, and returns an array of shape (event,), NaN where the feature
        is not defined. The jets are a ``vector`` momentum array of shape (event, jet) in falling
        pT, NaN where an event has fewer.
    name
        Name of the feature in tables.
    """

    function: Callable[[Any, EventBatch], ArrayLike]
    name: str

    def __call__(self, jets: Any, events: EventBatch) -> Floats:
        """Value of each event, shape (event,).

        Raises
        ------
        InputError
            If the function fails, or returns another shape, or infinite values.
        """
        what = f"feature {self.name!r}"
        values = returned(called(what, self.function, jets, events), what).astype(np.float64)
        if values.shape != (len(events),) or np.isinf(values).any():
            raise InputError(
                f"feature {self.name!r} returned shape {values.shape}, expected ({len(events)},), "
                "with finite numbers or NaN."
            )
        return values

    @property
    def fingerprint(self) -> str:
        """Qualified name of the function and a hash of its source."""
        return fingerprint(self.function)


@checked_arguments
def feature(function: Callable[[Any, EventBatch], ArrayLike]) -> Feature:
    """Make a :class:`Feature` of a function of the jets and the events.

    Examples
    --------
    >>> @feature
    ... def charged_share(jets, events):
    ...     return jets.mass[:, 0] / jets.pt[:, 0]
    """
    need_named(function, "feature")
    return Feature(function, function.__name__)


@feature
def leading_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the leading jet's pT."""
    return log(jets.pt[:, 0])


@feature
def second_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the second jet's pT."""
    return log(jets.pt[:, 1])


@feature
def third_pt_share(jets: Any, events: EventBatch) -> Floats:
    """Ratio of the third jet's pT to the summed pT of the two leading jets, or 0 with two jets."""
    return np.asarray(np.nan_to_num(jets.pt[:, 2]) / (jets.pt[:, 0] + jets.pt[:, 1]))


@feature
def separation(jets: Any, events: EventBatch) -> Floats:
    """Distance of the two leading jets in rapidity and azimuth."""
    rapidity, azimuth = rapidity_of(jets), azimuth_of(jets)
    difference, turn = rapidity[:, 0] - rapidity[:, 1], np.abs(azimuth[:, 0] - azimuth[:, 1])
    return np.asarray(np.sqrt(difference**2 + np.minimum(turn, 2 * np.pi - turn) ** 2))


@feature
def dijet_mass(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the mass of the two leading jets."""
    mass = np.asarray(mass_of_two(jets))
    return log(np.where(mass > 0, mass, np.nan))


@feature
def particles(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the number of particles."""
    counts = events.counts.astype(np.float64)
    return log(np.where(counts > 0, counts, np.nan))


@feature
def scalar_pt(jets: Any, events: EventBatch) -> Floats:
    """Logarithm of the scalar sum of the particles' pT."""
    total = np.add.reduceat(np.append(events.pt, 0.0), events.offsets[:-1]) * (events.counts > 0)
    return log(np.where(total > 0, total, np.nan))


def named_features() -> dict[str, Callable[..., Feature]]:
    """The features that a run configuration can name.

    They are the features of this module and those of the entry-point group ``djservice.features``.
    """
    builtin = (leading_pt, second_pt, third_pt_share, separation, dijet_mass, particles, scalar_pt)
    return makers("djservice.features", Feature, {feature.name: feature for feature in builtin})


def features_of(
    events: EventBatch, features: Sequence[Feature], radius: float, power: float
) -> Floats:
    """Features of each event, shape (event, feature), from deterministic jets of one radius.

    Parameters
    ----------
    events
        Events with their particles.
    features
        Features to compute.
    radius, power
        R and p of the deterministic generalised-kT clustering.
    """
    jets = cluster(
        events, radius=radius, power=power, rigidity=np.inf, jets=JETS, threads=1, device="cpu"
    ).jets[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = np.stack([feature(jets, events) for feature in features], axis=1)
    return values
