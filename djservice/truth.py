"""The true mass of an event from its generator particles (NanoAOD's ``GenPart``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError

#: What a schema's ``truth`` can be beside a number and a branch, with the fields of GenPart that it takes.
GENERATED = {
    "GenPart:higgs": ("pdgId", "mass"),
    "GenPart:b_pair": ("pdgId", "genPartIdxMother", "pt", "eta", "phi", "mass"),
}

HIGGS, Z, B = 25, 23, 5


def branches(truth: object) -> tuple[str, ...]:
    """The branches that a schema's truth needs from ``GenPart``; none if it is something else."""
    return tuple(f"GenPart_{field}" for field in GENERATED.get(truth, ())) if isinstance(truth, str) else ()


def generated_mass(truth: str, fields: Mapping[str, Any], place: str, first: int) -> NDArray[np.float64]:
    """The true mass in GeV of each event.

    Parameters
    ----------
    truth
        ``GenPart:higgs``: the mass of the first Higgs boson of the list. ``GenPart:b_pair``: of the b quark and the anti-b
        quark, first of their kind, whose mother is a Higgs or Z boson, before they radiate.
    fields
        Awkward arrays of shape (event, var) by branch.
    place, first
        How messages call the input, and the entry of the first event.

    Raises
    ------
    InputError
        If an event has no such particles.
    """
    import awkward as ak
    import vector

    own = {name.removeprefix("GenPart_"): array for name, array in fields.items()}
    if truth == "GenPart:higgs":
        mass = ak.firsts(own["mass"][own["pdgId"] == HIGGS])
    else:
        mother = own["genPartIdxMother"]
        of_mother = own["pdgId"][ak.mask(mother, mother >= 0)]
        from_boson = ak.fill_none((of_mother == HIGGS) | (of_mother == Z), False)
        pair = []
        for quark in (B, -B):
            found = from_boson & (own["pdgId"] == quark)
            pair.append(vector.zip({name: ak.firsts(own[name][found]) for name in ("pt", "eta", "phi", "mass")}))
        mass = (pair[0] + pair[1]).mass
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(mass)))
    if len(missing):
        raise InputError(
            f"{place}: entry {first + missing[0]} has no {truth.partition(':')[2]} in GenPart ({len(missing)} such events). "
            "Choose another truth, or select the events."
        )
    return np.asarray(ak.to_numpy(mass), dtype=np.float64)
