"""Awkward records of particles, such as those of NanoEvents -> flat columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import cosh
from djservice.errors import InputError
from djservice.events.momenta import from_components, is_timelike, mass_of

#: Names of the coordinates of a momentum, of which vector and coffea use several.
_NAMES = {
    "pt": ("pt", "rho"),
    "phi": ("phi",),
    "rapidity": ("rapidity",),
    "eta": ("eta",),
    "mass": ("mass", "M", "m", "tau"),
    "px": ("px", "x"),
    "py": ("py", "y"),
    "pz": ("pz", "z"),
    "E": ("E", "energy", "e", "t"),
}
#: Coordinates that are enough, those that lose least first.
_FORMS = (
    ("pt", "phi", "mass", "rapidity"),
    ("pt", "phi", "mass", "eta"),
    ("px", "py", "pz", "E"),
    ("pt", "eta", "phi", "E"),
)


def flat_particles(particles: Any) -> dict[str, Any]:
    """Columns ``pt``, ``phi``, ``mass``, and ``rapidity`` or ``eta`` of all particles; ``offsets``.

    Only the fields that are needed are read. All others of a virtual array stay virtual.

    Parameters
    ----------
    particles
        Awkward array of records, shape (event, var), with pt, phi, mass and rapidity or eta; with
        pt, eta, phi and E; or with px, py, pz and E, such as the jets of
        :func:`djservice.cluster_jets`.

    Raises
    ------
    InputError
        If the array has another type, or an event, a particle or a value is None, or an E is below
        the momentum.
    """
    import awkward as ak

    if not isinstance(particles, ak.Array):
        raise InputError(
            "expected an awkward array of particles or an EventBatch, found "
            f"{type(particles).__name__}. Compute a lazy array first; flat arrays go through "
            "EventBatch.from_arrays."
        )
    particles = _with_known_names(particles)
    names = _names_of(ak.fields(particles))
    if particles.ndim != 2 or not names:
        raise InputError(
            "expected one list per event of records with pt, phi, mass and rapidity or eta; with "
            f"pt, eta, phi and E; or with px, py, pz and E, found {particles.type}."
        )
    columns = {name: ak.materialize(particles[field]) for name, field in names.items()}
    counts = ak.num(next(iter(columns.values())), axis=1)
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(counts)))
    if len(missing):
        raise InputError(
            f"event {missing[0]} is None ({len(missing)} of {len(particles)} events): drop them "
            "from the events, with events[~ak.is_none(particles)], or give them empty lists, with "
            "ak.fill_none(particles, [], axis=0)."
        )
    counts = np.ma.getdata(ak.to_numpy(counts)).astype(np.int64)
    flat = {name: _flat(column, name, counts) for name, column in columns.items()}
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return {**without_energy(flat, offsets), "offsets": offsets}


def _names_of(fields: list[str]) -> dict[str, str]:
    """The coordinates to read, and the field of each; nothing if there are not enough."""
    names = {
        coordinate: next((name for name in aliases if name in fields), "")
        for coordinate, aliases in _NAMES.items()
    }
    form = next((form for form in _FORMS if all(names[each] for each in form)), ())
    return {coordinate: names[coordinate] for coordinate in form}


def _with_known_names(particles: Any) -> Any:
    """The particles; those of ``vector`` in other coordinates by their components or a mass."""
    import awkward as ak

    from djservice.core.vector_library import vector

    if _names_of(ak.fields(particles)) or not isinstance(particles, vector.Lorentz):
        return particles
    form = ("pt", "eta", "phi", "mass") if _has_mass(particles) else ("px", "py", "pz", "E")
    components = {"E": "t", "mass": "tau", "pt": "rho", "px": "x", "py": "y", "pz": "z"}
    return ak.zip({name: getattr(particles, components.get(name, name)) for name in form})


def _has_mass(particles: Any) -> bool:
    """Whether momenta of ``vector`` hold their mass."""
    import awkward as ak

    return bool(set(_NAMES["mass"]).intersection(ak.fields(particles)))


def without_energy(flat: dict[str, Any], offsets: NDArray[np.int64]) -> dict[str, Any]:
    """The columns with a mass in place of E."""
    if "E" not in flat:
        return flat
    flat = {name: column.astype(np.float64) for name, column in flat.items()}
    energy = flat.pop("E")
    with np.errstate(over="ignore", invalid="ignore"):
        size = (
            np.sqrt(flat["px"] ** 2 + flat["py"] ** 2 + flat["pz"] ** 2)
            if "px" in flat
            else flat["pt"] * cosh(flat["eta"])
        )
    # The checks of a batch name what is not finite.
    bad = np.flatnonzero(~is_timelike(size, energy) & np.isfinite(size) & np.isfinite(energy))
    if len(bad):
        event = int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise InputError(
            f"event {event}, particle {bad[0] - offsets[event]}: E is {energy[bad[0]]}, expected "
            f"{size[bad[0]]} or more, the size of the momentum ({len(bad)} such particles). "
            "Correct the energies, or give masses."
        )
    if "px" in flat:
        return from_components(**flat, energy=energy)
    return {**flat, "mass": mass_of(flat["pt"], flat["eta"], energy)}


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
