"""The order of the particles in the kernel, by falling d, their slots, and their names in histories.

It does not depend on the order of the particles in the file.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.kinematics import momenta
from djservice.clustering.kernels.sorting import DIGIT, fill_slots, sort_particles
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch


def sorted_particles(events: EventBatch, power: float) -> tuple[NDArray[np.int32], Floats]:
    """The order of the particles of each event by falling d_i, and the particles in that order.

    The columns of the particles are pt, rapidity, phi, px, py, pz and E.
    """
    event = np.repeat(np.arange(len(events)), events.counts)
    index = _order(events, event, power)
    order = (index - np.repeat(events.offsets[:-1], events.counts)).astype(np.int32)
    pt, y, phi, mass = (
        field[index] for field in (events.pt, events.rapidity, events.phi, events.mass)
    )
    particles = np.empty((len(index), 7))
    particles[:, 0], particles[:, 1], particles[:, 2] = pt, y, phi
    momenta(pt, y, phi, mass, particles[:, 3:])
    return order, particles


def momenta_of(events: EventBatch) -> Floats:
    """Components px, py, pz and E of the particles in GeV, shape (particle, 4)."""
    return components_of(events.pt, events.rapidity, events.phi, events.mass)


def components_of(pt: Floats, rapidity: Floats, phi: Floats, mass: Floats) -> Floats:
    """Components px, py, pz and E of momenta, shape (momentum, 4)."""
    components = np.empty((len(pt), 4))
    momenta(pt, rapidity, phi, mass, components[:, :])
    return components


def _order(events: EventBatch, event: NDArray[np.int64], power: float) -> NDArray[np.int64]:
    """Indices that sort particles by event and falling d, then by rapidity, phi and mass."""
    index, rising = np.empty_like(event), events.pt if power <= 0 else -events.pt
    begins = np.array(events.offsets)
    columns = events.rapidity, events.phi, events.mass
    sort_particles(index, event, begins, *_work_space(len(event)), rising, *columns)
    return index


def slots_of(particles: Floats, offsets: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The slot of each particle in the kernel: its place among those of its event.

    Small events keep the order of the particles. In those of at least
    :data:`djservice.clustering.kernels.pseudojets.LARGE` particles the hardest ones come
    first, a tile of them. The others follow by rapidity, and then as before. See
    :mod:`djservice.clustering.kernels.tiles`.
    """
    slots, largest = np.empty(offsets[-1], np.uint16), int(np.diff(offsets).max(initial=0))
    fill_slots(slots, offsets, particles[:, 1], *_work_space(largest))
    return slots


def _work_space(particles: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Work space for sorting so many particles."""
    return np.empty((2, particles), np.int64), np.empty(1 << DIGIT, np.int64)


def ranks(order: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rank of every particle in the kernel's order of its event: the inverse of ``order``."""
    first = np.repeat(offsets[:-1], np.diff(offsets))
    rank = np.empty(len(order), np.int32)
    rank[order + first] = np.arange(len(order)) - first
    return rank


def rename(
    history: NDArray[np.int32], names: NDArray[np.int32], offsets: NDArray[np.int64], trees: int
) -> None:
    """Rename the particles in histories, in place: particle k of an event becomes ``names[k]``.

    Merged objects keep their numbers.
    """
    for start, stop in pairwise(offsets.tolist()):
        rows = history[start * trees : stop * trees]
        particle = (rows >= 0) & (rows < stop - start)
        rows[particle] = names[start:stop][rows[particle]]
