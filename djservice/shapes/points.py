"""Events and jets as points with weights: pT, rapidity and phi of their particles."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from djservice.core.columns import floats
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.momenta import fold, from_components

#: Columns of points.
PT, RAPIDITY, PHI = range(3)
_FIELDS = ("pt", "rapidity", "phi", "mass")
#: Bounds within which no distance overflows.
MOST_PT, MOST_RAPIDITY = 1e150, 1e3


def points_of(particles: Any, name: str) -> Floats:
    """The particles of one event or jet as points, rows of pT, rapidity and phi.

    See :func:`particles_of`.
    """
    return np.ascontiguousarray(particles_of(particles, name)[:, :3])


def particles_of(particles: Any, name: str) -> Floats:
    """The particles of one event or jet: rows of pT, rapidity, phi and mass.

    Parameters
    ----------
    particles
        An array of shape (particle, 3) with pT, rapidity and phi, of particles without mass; a
        ``vector`` momentum array of shape (particle,); an awkward array of records, shape
        (particle,), see :meth:`djservice.EventBatch.from_awkward`; or an
        :class:`djservice.EventBatch` of one event.
    name
        What it is called in messages.

    Raises
    ------
    InputError
        If it is none of these, it is empty, or a particle has a coordinate out of its bounds.
    """
    points = _points(particles, name)
    if len(points) == 0:
        raise InputError(f"{name} has no particles. Leave out empty events and jets.")
    pt, rapidity, phi, _ = points.T
    good = (pt > 0.0) & (pt < MOST_PT) & (np.abs(rapidity) < MOST_RAPIDITY) & np.isfinite(phi)
    bad = np.flatnonzero(~good)
    if len(bad):
        k = bad[0]
        raise InputError(
            f"{name}, particle {k}: pt {pt[k]:g}, rapidity {rapidity[k]:g}, phi {phi[k]:g}, "
            f"expected a positive pt below {MOST_PT:g}, |rapidity| below {MOST_RAPIDITY:g} and a "
            f"finite phi ({len(bad)} such particles). Leave out padding."
        )
    points[:, PHI] = fold(points[:, PHI])
    return points


def _points(particles: Any, name: str) -> Floats:
    if _is_awkward(particles):
        if not particles.fields:
            raise InputError(
                f"{name}: expected particles, found {particles.type}, which has no momenta. "
                "Constituents of jets are indices: take the particles that they name, as "
                "particles[i][jets.constituents[i, j]]."
            )
        if particles.ndim != 1:
            raise InputError(
                f"{name}: expected the particles of one event or jet, found {particles.type}. Take "
                "one, as particles[0]."
            )
        particles = EventBatch.from_awkward(particles[np.newaxis], source=name)
    if isinstance(particles, EventBatch):
        if len(particles) != 1:
            raise InputError(f"{name}: expected one event, found {len(particles)}. Select one.")
        return np.column_stack([getattr(particles, field) for field in _FIELDS])
    if all(hasattr(particles, field) for field in ("px", "py", "pz", "E")):
        px, py, pz, energy = (
            np.asarray(getattr(particles, field), np.float64) for field in ("px", "py", "pz", "E")
        )
        if px.ndim != 1:
            raise InputError(
                f"{name}: expected momenta of shape (particle,), found {px.shape}. Of a jet, give "
                "the particles."
            )
        columns = from_components(px, py, pz, energy)
        return np.column_stack([columns[field] for field in _FIELDS])
    points = floats(particles, "pt, rapidity and phi", name)
    if points.size == 0:
        return np.empty((0, 4))
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(
            f"{name}: expected rows of pt, rapidity and phi, shape (particle, 3), found shape "
            f"{points.shape}."
        )
    return np.pad(points, ((0, 0), (0, 1)))


def _is_awkward(particles: Any) -> bool:
    """Whether it is an array of awkward, which is not imported for this question."""
    awkward = sys.modules.get("awkward")
    return awkward is not None and isinstance(particles, awkward.Array)


def centred(points: Floats) -> Floats:
    """Points about their pT-weighted mean in rapidity and phi.

    The mean of phi is taken along the shorter way from the hardest particle.
    """
    weight = points[:, PT] / points[:, PT].sum()
    moved = points.copy()
    moved[:, PHI] = fold(points[:, PHI] - points[np.argmax(points[:, PT]), PHI])
    for coordinate in (RAPIDITY, PHI):
        moved[:, coordinate] -= (weight * moved[:, coordinate]).sum()
    moved[:, PHI] = fold(moved[:, PHI])
    return moved
