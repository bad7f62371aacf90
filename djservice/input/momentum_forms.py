"""Momenta as files have them -> pT, eta, phi and mass."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.elementary import azimuth, cos, log, sin
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.momenta import is_timelike, mass_of

#: Fields that make a momentum, those that are looked for first at the front. The last are tracks.
FORMS = (
    ("pt", "eta", "phi", "mass"),
    ("pt", "eta", "phi", "E"),
    ("px", "py", "pz", "mass"),
    ("px", "py", "pz", "E"),
    ("qOverP", "theta", "phi", "mass"),
)
#: Fields that ``columns`` can name in place of a layout's.
COMPONENTS = tuple(dict.fromkeys(name for form in FORMS[:4] for name in form))


def forms_with(names: Collection[str]) -> list[tuple[str, ...]]:
    """The forms that have all these fields."""
    return [form for form in FORMS if set(names) <= set(form)]


def standard(
    columns: dict[str, NDArray[Any]], counts: NDArray[Any], place: str, entry: NDArray[Any]
) -> dict[str, Floats]:
    """pT, eta, phi and mass (where there is one, or an E) of all particles, as float64.

    Raises
    ------
    InputError
        If an E is below the momentum, but for rounding, of a particle with pT. The message names it.
    """
    flat = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if "px" in flat:
            px, py, pz = (flat.pop(name) for name in ("px", "py", "pz"))
            pt = np.sqrt(px * px + py * py)
            size = (np.abs(pz) + np.sqrt(pt * pt + pz * pz)) / pt
            flat |= {"pt": pt, "eta": np.copysign(log(size), pz), "phi": azimuth(px, py)}
        elif "qOverP" in flat:
            theta = flat.pop("theta")
            flat["eta"] = -log(sin(theta / 2.0) / cos(theta / 2.0))
            flat["pt"] = sin(theta) / np.abs(flat.pop("qOverP"))
    if "E" in flat:
        flat["mass"] = _mass(flat, flat.pop("E"), counts, place, entry)
    return flat


def _mass(
    flat: dict[str, Floats],
    energy: Floats,
    counts: NDArray[Any],
    place: str,
    entry: NDArray[Any],
) -> Floats:
    """The mass from an energy; 0 without pT, where a cut or a check removes the particle."""
    moving = flat["pt"] != 0.0
    pt, eta = flat["pt"], np.where(moving, flat["eta"], 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        size = pt * np.cosh(eta)
    bad = np.flatnonzero(~is_timelike(size, energy) & moving)
    if len(bad):
        ends = np.cumsum(counts)
        event = int(np.searchsorted(ends, bad[0], side="right"))
        raise InputError(
            f"{place}, entry {entry[event]}, particle {bad[0] - ends[event] + counts[event]}: E is "
            f"{energy[bad[0]]}, expected {size[bad[0]]} or more, the size of the momentum "
            f"({len(bad)} such particles). Correct the energies, or name a mass."
        )
    return np.where(moving, mass_of(pt, eta, energy), 0.0)
