"""The true mass and the quarks of an event from its generated particles, such as NanoAOD's GenPart."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
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

#: Fields of generated particles that the quarks of an event need.
QUARK_FIELDS = ("pdgId", "mother", "pt", "eta", "phi", "mass")
#: What to do where there are none.
NO_QUARKS = "Data have no generated quarks: give the number of prongs."
#: PDG codes of what decays to prongs: the top quark, Z, W and Higgs bosons, and heavier ones.
_HEAVY = (6, Z, 24, HIGGS, *range(32, 38))


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

    from djservice.core.vector_library import vector

    if truth == "GenPart:higgs":
        mass = ak.firsts(fields["mass"][fields["pdgId"] == HIGGS])
    else:
        from_boson = _of_mothers(fields, (HIGGS, Z))
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


def generated_quarks(fields: Mapping[str, Any], place: str, entries: NDArray[Any]) -> Any:
    """The quarks of each event whose mother is a top quark, or a W, Z, Higgs or heavier boson.

    They are those before radiation, the top quark excluded.

    Parameters
    ----------
    fields
        Awkward arrays of shape (event, var), named as in :data:`QUARK_FIELDS`.
    place, entries
        See :func:`generated_mass`.

    Returns
    -------
    ak.Array
        Records with pt, eta, phi, mass and pdgId, shape (event, var), in the units of the fields.

    Raises
    ------
    InputError
        If an event has none.
    """
    import awkward as ak

    code = abs(fields["pdgId"])
    selected = (code >= 1) & (code <= B) & _of_mothers(fields, _HEAVY)
    names = ("pt", "eta", "phi", "mass", "pdgId")
    quarks = ak.zip({name: fields[name][selected] for name in names})
    number = ak.to_numpy(ak.num(quarks))
    without = np.flatnonzero(number == 0)
    if len(without):
        raise InputError(
            f"{place}: entry {entries[without[0]]} has no quark of a top quark or of a W, Z, Higgs "
            f"or heavier boson among its {len(code[without[0]])} generated particles "
            f"({len(without)} such events). Give the number of prongs, or select the events."
        )
    return quarks


def _of_mothers(fields: Mapping[str, Any], codes: Sequence[int]) -> Any:
    """Whether the mother of each generated particle has one of the PDG codes, but for its sign."""
    import awkward as ak

    code, mother = abs(fields["pdgId"]), fields["mother"]
    listed = (mother >= 0) & (mother < ak.num(code))
    of_mother = code[ak.mask(mother, listed)]
    return ak.fill_none(functools.reduce(operator.or_, (of_mother == c for c in codes)), False)
