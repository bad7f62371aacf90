"""Awkward records of particles, such as those of NanoEvents -> flat columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError


def flat_particles(particles: Any) -> dict[str, Any]:
    """Columns ``pt``, ``phi``, ``mass``, and ``rapidity`` or ``eta`` of all particles; ``offsets``.

    Only these fields are read. All others of a virtual array stay virtual.

    Parameters
    ----------
    particles
        Awkward array of records, shape (event, var).

    Raises
    ------
    InputError
        If the array has another type, or an event, a particle or a value is None.
    """
    import awkward as ak

    if not isinstance(particles, ak.Array):
        raise InputError(
            "expected an awkward array of particles or an EventBatch, found "
            f"{type(particles).__name__}. Compute a lazy array first; flat arrays go through "
            "EventBatch.from_arrays."
        )
    names = ("pt", "phi", "mass", "rapidity" if "rapidity" in ak.fields(particles) else "eta")
    if particles.ndim != 2 or not set(names) <= set(ak.fields(particles)):
        raise InputError(
            "expected one list per event of records with pt, phi, mass and rapidity or eta, "
            f"found {particles.type}."
        )
    columns = {name: ak.materialize(particles[name]) for name in names}
    counts = ak.num(columns["pt"], axis=1)
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(counts)))
    if len(missing):
        raise InputError(
            f"event {missing[0]} is None ({len(missing)} of {len(particles)} events): drop them "
            "from the events, with events[~ak.is_none(particles)], or give them empty lists, with "
            "ak.fill_none(particles, [], axis=0)."
        )
    counts = np.ma.getdata(ak.to_numpy(counts)).astype(np.int64)
    flat = {name: _flat(column, name, counts) for name, column in columns.items()}
    return {**flat, "offsets": np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])}


def _flat(column: Any, name: str, counts: NDArray[Any]) -> NDArray[Any]:
    """One field of all particles, as a flat array."""
    import awkward as ak

    flat = ak.flatten(column, axis=1)
    if flat.ndim != 1:
        raise InputError(f"expected one {name} for each particle, found {column.type}.")
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(flat)))
    if len(missing):
        event = int(np.searchsorted(np.cumsum(counts), missing[0], side="right"))
        raise InputError(
            f"event {event}, particle {missing[0] - counts[:event].sum()}: {name} is None "
            f"({len(missing)} such particles): drop them with "
            f"particles[~ak.is_none(particles.{name}, axis=1)]."
        )
    # An option type without a None gives a masked array that hides nothing.
    values = np.ma.getdata(ak.to_numpy(flat))
    if len(values) and values.dtype.kind not in "biuf":
        raise InputError(f"expected numbers in {name}, found {column.type}.")
    return values.astype(np.float64) if len(values) == 0 else values
