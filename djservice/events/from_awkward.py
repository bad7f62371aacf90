"""Awkward records of particles, such as NanoEvents' -> flat columns, or an error that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError


def flat_particles(particles: Any) -> dict[str, Any]:
    """The columns ``pt``, ``phi``, ``mass`` and ``rapidity`` (or ``eta``) of all particles, and their ``offsets``.

    Only these fields are read, so a virtual array stays virtual in all others.

    Parameters
    ----------
    particles
        Awkward array of records, shape (event, var).

    Raises
    ------
    InputError
        If it is something else, or an event, a particle or a value is None.
    """
    import awkward as ak

    if not isinstance(particles, ak.Array):
        raise InputError(
            f"expected an awkward array of particles or an EventBatch, found {type(particles).__name__}. Compute a lazy array "
            "first; flat arrays go through EventBatch.from_arrays."
        )
    names = ("pt", "phi", "mass", "rapidity" if "rapidity" in ak.fields(particles) else "eta")
    if particles.ndim != 2 or not set(names) <= set(ak.fields(particles)):
        raise InputError(
            f"expected one list per event of records with pt, phi, mass and rapidity or eta, found {particles.type}."
        )
    columns = {name: ak.materialize(particles[name]) for name in names}
    counts = ak.num(columns["pt"], axis=1)
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(counts)))
    if len(missing):
        raise InputError(
            f"event {missing[0]} is None ({len(missing)} of {len(particles)} events): drop them from the events, with "
            "events[~ak.is_none(particles)], or give them empty lists, with ak.fill_none(particles, [], axis=0)."
        )
    counts = np.ma.getdata(ak.to_numpy(counts)).astype(np.int64)
    flat = {name: _flat(column, name, counts) for name, column in columns.items()}
    return {**flat, "offsets": np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])}


def _flat(column: Any, name: str, counts: NDArray[Any]) -> NDArray[Any]:
    """One field of all particles."""
    import awkward as ak

    flat = ak.flatten(column, axis=1)
    if flat.ndim != 1:
        raise InputError(f"expected one {name} for each particle, found {column.type}.")
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(flat)))
    if len(missing):
        event = int(np.searchsorted(np.cumsum(counts), missing[0], side="right"))
        raise InputError(
            f"event {event}, particle {missing[0] - counts[:event].sum()}: {name} is None ({len(missing)} such particles): drop "
            f"them with particles[~ak.is_none(particles.{name}, axis=1)]."
        )
    values = np.ma.getdata(
        ak.to_numpy(flat)
    )  # of an option type without a None: a mask that hides nothing
    if len(values) and values.dtype.kind not in "biuf":
        raise InputError(f"expected numbers in {name}, found {column.type}.")
    return values.astype(np.float64) if len(values) == 0 else values
