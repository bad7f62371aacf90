"""Features of particles: numbers that a weight model sees of each particle of an event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require_number
from djservice.core.columns import returned
from djservice.core.elementary import arcsinh, log, sinh
from djservice.core.entry_points import makers
from djservice.core.fingerprints import fingerprint, need_named
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.checks import refuse_particles

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ParticleFeature:
    """A number per particle.

    A model sees (value - ``centre``) / ``unit``. These are fixed, so that a particle of a new file
    has the same input as in the training.

    Attributes
    ----------
    function
        Takes an :class:`djservice.EventBatch`, and a mask of the charged particles that are known
        to come from the primary vertex, and returns an array of shape (particle,).
    name
        Name of the feature in tables.
    centre, unit
        A usual value, and the size of usual differences.
    fields
        Fields of the input that the function reads in ``columns``.
    """

    function: Callable[[EventBatch, Mask], ArrayLike]
    name: str
    centre: float = 0.0
    unit: float = 1.0
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_number("centre", self.centre)
        require_number("unit", self.unit)
        if not self.unit > 0:
            raise InputError(f"unit is {self.unit}, expected a positive number.")

    def __call__(self, events: EventBatch, primary: Mask) -> Floats:
        """Standardised value of each particle, shape (particle,).

        Raises
        ------
        InputError
            If the function fails, or returns another shape, or a number that is not finite; the message names
            the event and the particle.
        """
        what = f"feature {self.name!r}"
        values = returned(called(what, self.function, events, primary), what).astype(np.float64)
        if values.shape != events.pt.shape:
            raise InputError(f"{what} returned shape {values.shape}, expected {events.pt.shape}.")
        refuse_particles(events, what, values, np.isfinite(values), "a finite number")
        return (values - self.centre) / self.unit

    @property
    def fingerprint(self) -> str:
        """Qualified name of the function and a hash of its source, with centre and unit."""
        return f"{fingerprint(self.function)} ({self.centre:g}, {self.unit:g})"


@checked_arguments
def particle_feature(
    *, centre: float = 0.0, unit: float = 1.0, fields: tuple[str, ...] = ()
) -> Callable[[Callable[[EventBatch, Mask], ArrayLike]], ParticleFeature]:
    """Make a :class:`ParticleFeature` of a function.

    Examples
    --------
    >>> @particle_feature(unit=2.5)
    ... def rapidity(events, primary):
    ...     return events.rapidity
    """

    def wrap(function: Callable[[EventBatch, Mask], ArrayLike]) -> ParticleFeature:
        need_named(function, "particle_feature")
        return ParticleFeature(function, function.__name__, centre, unit, fields)

    return wrap


def pseudorapidity(events: EventBatch) -> Floats:
    """Pseudorapidity of each particle, shape (particle,)."""
    pt, mass = events.pt, events.mass
    ratio = np.sqrt(pt * pt + mass * mass) / pt
    central = np.clip(events.rapidity, -50.0, 50.0)  # beyond, the difference is constant
    return np.where(
        mass > 0.0,
        arcsinh(ratio * sinh(central)) + (events.rapidity - central),
        events.rapidity,
    )


@particle_feature(centre=0.4, unit=1.0)
def log_pt(events: EventBatch, primary: Mask) -> Floats:
    """Logarithm of pT in GeV."""
    return log(events.pt)


@particle_feature(centre=1.5, unit=1.0)
def abs_eta(events: EventBatch, primary: Mask) -> Floats:
    """Absolute pseudorapidity."""
    return np.abs(pseudorapidity(events))


@particle_feature(fields=("charge",))
def charged(events: EventBatch, primary: Mask) -> Floats:
    """1 for charged particles, 0 for neutral ones."""
    return np.where(events.columns["charge"] != 0.0, 1.0, 0.0)


def charged_density(inner: float = 0.02, outer: float = 0.4) -> ParticleFeature:
    """PUPPI's density of charged particles of the primary vertex around a particle.

    It is ln(1 + sum of (pT / dR)^2) over those at distances between ``inner`` and ``outer``
    (Bertolini, Harris, Low, Tran, arXiv:1407.6013).
    """
    return _density("charged_density", inner, outer, lambda events, primary: primary, ("charge",))


def density(inner: float = 0.02, outer: float = 0.4) -> ParticleFeature:
    """The same density of all particles."""
    return _density(
        "density", inner, outer, lambda events, primary: np.ones_like(events.pt, dtype=bool), ()
    )


def field(field: str, centre: float = 0.0, unit: float = 1.0) -> ParticleFeature:
    """A field of the particles in the input, as ``puppiWeight``."""
    if not (isinstance(field, str) and field):
        raise InputError(f"field is {field!r}, expected the name of a field of the particles.")
    return ParticleFeature(
        lambda events, primary: events.columns[field], field, centre, unit, (field,)
    )


def _density(
    name: str,
    inner: float,
    outer: float,
    among: Callable[[EventBatch, Mask], Mask],
    fields: tuple[str, ...],
) -> ParticleFeature:
    for key, value in (("inner", inner), ("outer", outer)):
        require_number(key, value)
    if not 0.0 < inner < outer:
        raise InputError(f"expected 0 < inner < outer, found {inner} and {outer}.")

    def around(events: EventBatch, primary: Mask) -> Floats:
        total, counted = np.zeros_like(events.pt), among(events, primary)
        for start, stop in pairwise(events.offsets):
            rows = slice(start, stop)
            y, phi, mask = events.rapidity[rows], events.phi[rows], counted[rows]
            turn = np.abs(phi[:, np.newaxis] - phi[mask])
            square = (y[:, np.newaxis] - y[mask]) ** 2 + np.minimum(turn, 2.0 * np.pi - turn) ** 2
            near = (square > inner**2) & (square < outer**2)
            share = np.where(near, events.pt[rows][mask] ** 2 / np.maximum(square, inner**2), 0.0)
            total[rows] = np.einsum("ij->i", share)
        return log(1.0 + total)

    return ParticleFeature(around, name, 4.0, 3.0, fields)


def named_particle_features() -> dict[str, Callable[..., ParticleFeature]]:
    """The features of particles that a run configuration can name.

    They are the features of this module and those of the entry-point group
    ``djservice.particle_features``.
    """
    builtin: dict[str, Any] = {feature.name: feature for feature in (log_pt, abs_eta, charged)}
    builtin |= {"charged_density": charged_density, "density": density, "field": field}
    return makers("djservice.particle_features", ParticleFeature, builtin)
