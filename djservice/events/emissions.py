"""Emissions: events to each of which one infrared or collinear particle is added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import cos, sin
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.events.checks import check_counts
from djservice.events.draws import in_proportion_to_pt, uniform
from djservice.events.keys import draw_keys
from djservice.events.momenta import fold

#: Kinds of emissions.
Kind = Literal["infrared", "collinear"]
KINDS: tuple[Kind, ...] = ("infrared", "collinear")
#: Largest distance of an infrared particle from its mother in (y, phi).
DISTANCE = 0.4


@dataclass(frozen=True)
class Emitted:
    """Events after one emission each.

    Attributes
    ----------
    events
        The new particle is the last one of its event. An event without particles stays.
    mother
        Place of the mother in its event, shape (event,); -1 without particles.
    """

    events: EventBatch
    mother: NDArray[np.int64]


def emitted(events: EventBatch, kind: Kind, epsilon: float, seed: int) -> Emitted:
    """The events after one emission each.

    The mother is drawn in proportion to pT. An infrared particle has no mass and ``epsilon`` times
    the pT of the hardest particle, at a point of the disc around its mother. A collinear emission
    splits the mother in two at the distance ``epsilon`` from each other in (y, phi); the share of
    pT is uniform, and the centre in pT stays. Draws are keyed by the seed and the event, not by
    ``epsilon``.

    Raises
    ------
    InputError
        If an event has too many particles afterwards.
    """
    filled = events.counts.nonzero()[0]
    keys = draw_keys(events.key, seed, f"emission:{kind}")[filled]
    mother = in_proportion_to_pt(events, filled, uniform(keys, 0))
    first, angle = uniform(keys, 1), 2.0 * np.pi * uniform(keys, 2)
    direction = np.stack([cos(angle), sin(angle)])
    if kind == "infrared":
        hardest = np.maximum.reduceat(events.pt, events.offsets[filled])
        away = DISTANCE * np.sqrt(first) * direction
        emission = _Emission(epsilon * hardest, away, np.zeros(len(filled)))
        changed = events
    else:
        share = np.zeros(len(events.pt))
        share[mother] = first  # of the new particle
        moves = np.zeros((2, len(events.pt)))
        moves[:, mother] = -first * epsilon * direction
        emission = _Emission(
            first * events.pt[mother],
            (1.0 - first) * epsilon * direction,
            first * events.mass[mother],
        )
        changed = replace(
            events,
            pt=(1.0 - share) * events.pt,
            mass=(1.0 - share) * events.mass,
            rapidity=events.rapidity + moves[0],
            phi=fold(events.phi + moves[1]),
        )
    places = np.full(len(events), -1)
    places[filled] = mother - events.offsets[filled]
    return Emitted(_with(changed, events, filled, mother, emission, kind), places)


@dataclass(frozen=True)
class _Emission:
    """New particles: pT, place relative to their mothers in (y, phi), and mass."""

    pt: Floats
    away: Floats
    mass: Floats


def _with(
    changed: EventBatch,
    events: EventBatch,
    filled: NDArray[np.int64],
    mother: NDArray[np.int64],
    emission: _Emission,
    kind: Kind,
) -> EventBatch:
    """The changed events with the new particles at their ends."""
    new = {
        "pt": emission.pt,
        "rapidity": events.rapidity[mother] + emission.away[0],
        "phi": fold(events.phi[mother] + emission.away[1]),
        "mass": emission.mass,
    }
    after = events.offsets[filled + 1]
    columns: dict[str, Any] = {
        name: np.insert(getattr(changed, name), after, values) for name, values in new.items()
    }
    # An infrared particle is like a neutral one, and a collinear one like its mother.
    columns["columns"] = {
        name: np.insert(values, after, 0.0 if kind == "infrared" else values[mother])
        for name, values in events.columns.items()
    }
    offsets = events.offsets + np.searchsorted(filled, np.arange(len(events) + 1))
    both = replace(changed, offsets=offsets, **columns)
    check_counts(both)
    return both
