"""The true mass of an event from its generated particles, such as NanoAOD's ``GenPart``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import InputError

#: Names of a schema's generated ``truth``, with the fields of generated particles that each needs.
GENERATED = {
    "GenPart:higgs": ("pdgId", "mass"),
    "GenPart:b_pair": ("pdgId", "mother", "pt", "eta", "phi", "mass"),
}

HIGGS, Z, B = 25, 23, 5


def generated_mass(
    truth: str, fields: Mapping[str, Any], place: str, entries: NDArray[Any]
) -> NDArray[np.float64]:
    """The true mass of each event, in the units of the fields.

    Parameters
    ----------
    truth
        ``GenPart:higgs``: the mass of the first Higgs boson in the list. ``GenPart:b_pair``: the
        mass of the first b quark and the first anti-b quark whose mother is a Higgs or Z boson,
        before they radiate.
    fields
        Awkward arrays of shape (event, var), named as in :data:`GENERATED`. ``mother`` is an index
        into the list, or negative.
    place, entries
        Name of the input in messages, and the entry of each event.

    Raises
    ------
    InputError
        If an event lacks these particles.
    """
    import awkward as ak
    import vector

    if truth == "GenPart:higgs":
        mass = ak.firsts(fields["mass"][fields["pdgId"] == HIGGS])
    else:
        mother = fields["mother"]
        of_mother = fields["pdgId"][ak.mask(mother, mother >= 0)]
        from_boson = ak.fill_none((of_mother == HIGGS) | (of_mother == Z), False)
        pair = []
        for quark in (B, -B):
            selected = from_boson & (fields["pdgId"] == quark)
            pair.append(
                vector.zip(
                    {
                        name: ak.firsts(fields[name][selected])
                        for name in ("pt", "eta", "phi", "mass")
                    }
                )
            )
        mass = (pair[0] + pair[1]).mass
    missing = np.flatnonzero(ak.to_numpy(ak.is_none(mass)))
    if len(missing):
        raise InputError(
            f"{place}: entry {entries[missing[0]]} has no {truth.partition(':')[2]} in GenPart "
            f"({len(missing)} such events). Choose another truth, or select the events."
        )
    return np.asarray(ak.to_numpy(mass), dtype=np.float64)
