"""Augmentations: random transformations of events before clustering, keyed by event identity.

Those of the first group are symmetries of the clustering, or should be. The others are effects of a
detector, under which an answer should be robust. :func:`augmented` applies several, one after the
other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require
from djservice.core.elementary import cos, log, sin
from djservice.core.typing import Floats
from djservice.core.user_functions import called
from djservice.errors import InputError
from djservice.events.batch import EventBatch, need_batch
from djservice.events.checks import check_counts
from djservice.events.draws import (
    altarelli_parisi,
    in_proportion_to_pt,
    keys_of_particles,
    uniform,
)
from djservice.events.keys import Keys, draw_keys, mix
from djservice.events.momenta import fold

__all__ = [
    "Augmentation",
    "Collinear",
    "Drop",
    "Rotate",
    "Scale",
    "Smear",
    "Soft",
    "Translate",
    "augmented",
]


class Augmentation(ABC):
    """A random transformation of the particles of each event.

    Identities, weights and true masses stay. Generated quarks move with a symmetry, and stay
    otherwise.
    """

    name: ClassVar[str]

    def __call__(self, events: EventBatch, *, seed: int = 0, replica: int = 0) -> EventBatch:
        """The transformed events; see :func:`augmented`."""
        return augmented(events, [self], seed=seed, replica=replica)

    @abstractmethod
    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        """The transformed events, with draws from a key for each event."""


@checked_arguments
def augmented(
    events: EventBatch,
    augmentations: Sequence[Augmentation],
    *,
    seed: int = 0,
    replica: int = 0,
    before: int = 0,
) -> EventBatch:
    """Events after several augmentations, one after the other.

    Parameters
    ----------
    events
        Any batch. It stays as it is.
    augmentations
        Augmentations in their order. Each has draws of its own, also if it is named twice.
    seed, replica
        Keys of the draws, beside the identity of the event. Replicas of one seed are independent.
    before
        Number of augmentations that the events have gone through before. The draws are those of
        the same augmentations at the end of one chain.

    Raises
    ------
    InputError
        If a number is out of its bounds, an augmentation fails, or an event has too many particles afterwards.
    """
    need_batch(events)
    require("seed", seed)
    require("iteration", replica, of="replica")
    if not isinstance(augmentations, Sequence) or not all(
        isinstance(augmentation, Augmentation) for augmentation in augmentations
    ):
        raise InputError(
            f"augmentations is {augmentations!r}, expected a list of augmentations such as "
            "[djservice.augment.Rotate()]."
        )
    require("iteration", before, of="before")
    for place, augmentation in enumerate(augmentations, before):
        keys = mix(draw_keys(events.key, seed, f"augment:{place}"), replica)
        events = called(f"augmentation {augmentation!r}", augmentation.transform, events, keys)
        need_batch(events)
        check_counts(events)  # after each, for a chain may double the particles many times
    return events


@checked_arguments
@dataclass(frozen=True)
class Rotate(Augmentation):
    """Rotation of the whole event about the beam, an exact symmetry.

    Attributes
    ----------
    angle
        In rad; uniform over the circle for each event by default.
    """

    angle: float | None = None
    name: ClassVar[str] = "rotate"

    def __post_init__(self) -> None:
        _within("angle", 0.0 if self.angle is None else self.angle, -100.0, 100.0)

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        angle = 2.0 * np.pi * uniform(keys, 0) if self.angle is None else self.angle
        quarks = None if events.quarks is None else events.quarks.moved(phi=angle)
        phi = fold(events.phi + _of_particles(events, angle))
        return replace(events, phi=phi, quarks=quarks)


@checked_arguments
@dataclass(frozen=True)
class Translate(Augmentation):
    """Boost of the whole event along the beam, an exact symmetry: y becomes y + c.

    Attributes
    ----------
    shift
        c; by default uniform within +- ``width`` for each event.
    width
        Largest size of a random c.
    """

    shift: float | None = None
    width: float = 1.0
    name: ClassVar[str] = "translate"

    def __post_init__(self) -> None:
        _within("shift", 0.0 if self.shift is None else self.shift, -20.0, 20.0)
        _within("width", self.width, 0.0, 20.0)

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        shift = self.width * (2.0 * uniform(keys, 0) - 1.0) if self.shift is None else self.shift
        quarks = None if events.quarks is None else events.quarks.moved(rapidity=shift)
        rapidity = events.rapidity + _of_particles(events, shift)
        return replace(events, rapidity=rapidity, quarks=quarks)


@checked_arguments
@dataclass(frozen=True)
class Collinear(Augmentation):
    """Splitting of particles in two: p -> z p and (1 - z) p.

    Attributes
    ----------
    fraction
        Probability that a particle splits.
    law
        Law of z: "uniform", or "altarelli-parisi", (1 + z^2) / (1 - z) up to 1 - z = 0.001.
    angle
        Distance of the two in (y, phi), in a random direction. Their centre in pT stays. 0, the
        default, is exactly collinear: then the distribution of the jets does not change.
    """

    fraction: float = 1.0
    law: Literal["uniform", "altarelli-parisi"] = "uniform"
    angle: float = 0.0
    name: ClassVar[str] = "collinear"

    def __post_init__(self) -> None:
        _within("fraction", self.fraction, 0.0, 1.0)
        _within("angle", self.angle, 0.0, 10.0)
        _one_of("law", self.law, ("uniform", "altarelli-parisi"))

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        of_particles = keys_of_particles(events, keys)
        chosen = np.flatnonzero(uniform(of_particles, 0) < self.fraction)
        z = uniform(of_particles[chosen], 1)
        if self.law == "altarelli-parisi":
            z = altarelli_parisi(z)
        direction = 2.0 * np.pi * uniform(of_particles[chosen], 2)
        shift = self.angle * np.stack([cos(direction), sin(direction)])
        twice = _with_copies(events, chosen)
        first = chosen + np.arange(len(chosen))
        share = np.ones(len(twice.pt))
        share[first], share[first + 1] = z, 1.0 - z
        moves = np.zeros((2, len(twice.pt)))
        moves[:, first], moves[:, first + 1] = (1.0 - z) * shift, -z * shift
        return replace(
            twice,
            pt=twice.pt * share,
            mass=twice.mass * share,
            rapidity=twice.rapidity + moves[0],
            phi=fold(twice.phi + moves[1]),
        )


@checked_arguments
@dataclass(frozen=True)
class Soft(Augmentation):
    """Soft massless particles that are added to each event.

    Attributes
    ----------
    number
        Particles added to each event.
    pt_max
        GeV; pT is uniform below it.
    law
        "uniform" in y and phi; or "near": uniform in a disc around a particle of the event, which
        is chosen in proportion to its pT. An event without particles then gets none.
    rapidity_max
        Largest abs(y) of law "uniform".
    distance
        Radius of the disc of law "near".
    """

    number: int = 1
    pt_max: float = 1e-3
    law: Literal["uniform", "near"] = "uniform"
    rapidity_max: float = 2.5
    distance: float = 0.4
    name: ClassVar[str] = "soft"

    def __post_init__(self) -> None:
        _within("number", self.number, 1, 10_000, whole=True)
        _within("pt_max", self.pt_max, 1e-100, 1e6)
        _within("rapidity_max", self.rapidity_max, 0.0, 20.0)
        _within("distance", self.distance, 0.0, 10.0)
        _one_of("law", self.law, ("uniform", "near"))

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        filled = np.arange(len(events)) if self.law == "uniform" else events.counts.nonzero()[0]
        event = np.repeat(filled, self.number)
        of_soft = mix(keys[event], np.tile(np.arange(self.number), len(filled)))
        pt, first, second = (uniform(of_soft, draw) for draw in range(3))
        if self.law == "uniform":
            rapidity = self.rapidity_max * (2.0 * first - 1.0)
            phi = np.pi * (2.0 * second - 1.0)
        else:
            host = in_proportion_to_pt(events, event, uniform(of_soft, 3))
            away, direction = self.distance * np.sqrt(first), 2.0 * np.pi * second
            rapidity = events.rapidity[host] + away * cos(direction)
            phi = events.phi[host] + away * sin(direction)
        columns: dict[str, Any] = {
            "pt": self.pt_max * pt,
            "rapidity": rapidity,
            "phi": fold(phi),
            "mass": np.zeros(len(event)),
        }
        after = events.offsets[event + 1]
        for name, values in columns.items():
            columns[name] = np.insert(getattr(events, name), after, values)
        offsets = events.offsets + np.searchsorted(event, np.arange(len(events) + 1))
        # As of a neutral particle.
        further = {name: np.insert(x, after, 0.0) for name, x in events.columns.items()}
        return replace(events, offsets=offsets, columns=further, **columns)


@checked_arguments
@dataclass(frozen=True)
class Smear(Augmentation):
    """Smearing of directions: y and phi move by N(0, scale / pT). pT stays.

    Attributes
    ----------
    scale
        In GeV. Such a soft physics scale moves hard particles less than soft ones.
    pt_min
        GeV; softer particles move like one of this pT.

    References
    ----------
    Dillon et al., "Symmetries, safety, and self-supervision", arXiv:2108.04253.
    """

    scale: float = 0.1
    pt_min: float = 0.1
    name: ClassVar[str] = "smear"

    def __post_init__(self) -> None:
        _within("scale", self.scale, 0.0, 1e6)
        _within("pt_min", self.pt_min, 1e-6, 1e6)

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        of_particles = keys_of_particles(events, keys)
        size = np.sqrt(-2.0 * log(uniform(of_particles, 0)))  # Box and Muller
        direction = 2.0 * np.pi * uniform(of_particles, 1)
        size = size * self.scale / np.maximum(events.pt, self.pt_min)
        return replace(
            events,
            rapidity=events.rapidity + size * cos(direction),
            phi=fold(events.phi + size * sin(direction)),
        )


@checked_arguments
@dataclass(frozen=True)
class Drop(Augmentation):
    """Loss of particles, as by the inefficiency of a detector.

    Attributes
    ----------
    probability
        Probability that a particle is lost.
    below
        GeV; harder particles stay.
    """

    probability: float = 0.05
    below: float = math.inf
    name: ClassVar[str] = "drop"

    def __post_init__(self) -> None:
        _within("probability", self.probability, 0.0, 1.0)
        _within("below", self.below, 0.0, math.inf)

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        lost = uniform(keys_of_particles(events, keys), 0) < self.probability
        return _with_particles(events, np.flatnonzero(~(lost & (events.pt < self.below))))


@checked_arguments
@dataclass(frozen=True)
class Scale(Augmentation):
    """Scaling of all four-momenta, as by an error of the energy scale.

    Attributes
    ----------
    factor
        What pT and mass are multiplied by.
    """

    factor: float = 1.01
    name: ClassVar[str] = "scale"

    def __post_init__(self) -> None:
        _within("factor", self.factor, 1e-3, 1e3)

    def transform(self, events: EventBatch, keys: Keys) -> EventBatch:
        return replace(events, pt=self.factor * events.pt, mass=self.factor * events.mass)


#: The augmentations that a configuration can name.
AUGMENTATIONS: dict[str, type[Augmentation]] = {
    kind.name: kind for kind in (Rotate, Translate, Collinear, Soft, Smear, Drop, Scale)
}


def _within(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    good = type(value) is int or (not whole and isinstance(value, (float, np.floating)))
    if not (good and low <= value <= high):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{name} is {value!r}, expected {kind} from {low:g} to {high:g}.")


def _one_of(name: str, value: Any, names: Sequence[str]) -> None:
    if value not in names:
        raise InputError(f"{name} is {value!r}, expected {' or '.join(map(repr, names))}.")


def _of_particles(events: EventBatch, values: Floats | float) -> Floats:
    """Numbers of the events, for each of their particles."""
    return np.repeat(np.broadcast_to(values, (len(events),)), events.counts)


def _with_copies(events: EventBatch, chosen: NDArray[np.int64]) -> EventBatch:
    """The events in which each chosen particle stands twice in a row."""
    copies = np.ones(len(events.pt), np.int64)
    copies[chosen] = 2
    return _with_particles(events, np.repeat(np.arange(len(events.pt)), copies))


def _with_particles(events: EventBatch, index: NDArray[np.int64]) -> EventBatch:
    """The events with the particles at ``index``, which does not fall."""
    columns: dict[str, Any] = {
        name: getattr(events, name)[index] for name in ("pt", "rapidity", "phi", "mass")
    }
    columns["columns"] = {name: values[index] for name, values in events.columns.items()}
    return replace(events, offsets=np.searchsorted(index, events.offsets), **columns)
