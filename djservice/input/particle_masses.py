"""Masses of particles by their PDG codes, for files that have codes and no masses."""

from __future__ import annotations

from typing import Any

import numpy as np

from djservice.errors import InputError

#: The name that ``columns`` gives to ``mass`` where masses follow from codes, and that of the codes.
CODE = "pdgId"

#: Masses in GeV of particles that reach a detector, from the Review of Particle Physics 2024. Those
#: of 1 and 2 are clusters in the forward calorimeters of CMS, which have no mass.
MASSES = {
    **dict.fromkeys((1, 2, 12, 14, 16, 22), 0.0),
    11: 0.00051099895,
    13: 0.1056583755,
    15: 1.77693,
    111: 0.1349768,
    211: 0.13957039,
    **dict.fromkeys((130, 310, 311), 0.497611),
    321: 0.493677,
    2112: 0.93956542,
    2212: 0.93827209,
    3112: 1.197449,
    3122: 1.115683,
    3222: 1.18937,
    3312: 1.32171,
    3322: 1.31486,
    3334: 1.67245,
    1000010020: 1.875612943,
}


def masses_of(codes: Any, place: str) -> Any:
    """The masses in GeV of lists of PDG codes; antiparticles have those of their particles.

    Raises
    ------
    InputError
        If the mass of a code is not known.
    """
    import awkward as ak

    flat = np.abs(np.asarray(ak.to_numpy(ak.flatten(codes, axis=1)), dtype=np.int64))
    known, place_of = np.unique(flat, return_inverse=True)
    if unknown := [int(code) for code in known if int(code) not in MASSES]:
        raise InputError(
            f"{place}: the masses of particles with {CODE} {', '.join(map(str, unknown))} are not "
            "known. Name a field with the mass, the energy, or one mass in GeV."
        )
    masses = np.array([MASSES[int(code)] for code in known])
    return ak.unflatten(masses[place_of] if len(flat) else masses, ak.num(codes, axis=1))
