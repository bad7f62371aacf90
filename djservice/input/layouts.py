"""File layouts of experiments and programs: branch names, units, identity, weight, generator truth.

The service, which reads branches, and coffea's processors, which get NanoEvents, share these
definitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Branch names of NanoAOD.
NANO_BRANCH = ("{collection}_{field}",)


#: Fields of collections that are records, in any layout: RNTuples, EDM4hep, TreeMaker.
RECORD = "{collection}.{field}"

#: Names of an energy in files.
_ENERGY = ("E", "energy", "e")


@dataclass(frozen=True)
class FileLayout:
    """A layout of events in a file.

    Attributes
    ----------
    coffea
        Name of the coffea schema that makes NanoEvents from the tree; empty if there is none.
    tree
        Usual name of the tree.
    particles
        Collections that are clustered by default; empty if there is no usual one.
    branch
        Formats of a branch name, with ``{collection}`` and ``{field}``. The first that exists is
        read, or that of a record.
    fields
        Possible names in the file of pt, eta, phi, mass and charge. The first that exists is read.
    per_gev
        Number of energy units in one GeV: 1000 for files in MeV.
    identity
        Branches of run, luminosity block and event number; empty if the files have none.
    weight
        Branch of the generator's weight.
    massless
        True if collections without a branch of mass or charge have mass or charge 0.
    in_lists
        True if a number of an event may be a list, of which the first entry is read.
    generated
        Available branches of generated particles: ``pdgId``, ``mother`` (index), pt, eta, phi,
        mass.
    """

    coffea: str
    tree: str
    particles: tuple[str, ...]
    branch: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]
    identity: tuple[str, ...] = ()
    weight: str = "genWeight"
    per_gev: float = 1.0
    massless: bool = False
    in_lists: bool = False
    generated: Mapping[str, str] = field(default_factory=dict)

    def names(self, collection: str, field: str) -> tuple[str, ...]:
        """Possible branches of a field of a collection, by its name here or in the file."""
        return tuple(
            branch.format(collection=collection, field=name)
            for branch in dict.fromkeys((*self.branch, RECORD))
            for name in self.fields.get(field, _ENERGY if field == "E" else (field,))
        )

    def places(self, branch: str) -> list[tuple[str, str]]:
        """Collections and fields that a branch can be in coffea's NanoEvents.

        coffea takes what stands before the first underscore as the collection. A selection may make
        one with underscores. The field is empty for a number of the event.
        """
        first = branch.find("_" if self.branch == NANO_BRANCH else ".")
        ends = [end for end, letter in enumerate(branch) if letter in "_."]
        splits = [(branch[:end], branch[end + 1 :]) for end in sorted(ends, key=first.__ne__)]
        if self.coffea == "PHYSLITESchema":
            splits += [(re.sub("Analysis|AuxDyn|Aux", "", name), field) for name, field in splits]
        return [*splits, (branch, "")]


#: Scouting files of CMS have masses called m.
_NANO = {"pt": ("pt",), "eta": ("eta",), "phi": ("phi",), "mass": ("mass", "m")}
_GEN_PART = {"pdgId": "GenPart_pdgId", "mother": "GenPart_genPartIdxMother"} | {
    n: f"GenPart_{n}" for n in _NANO
}
#: The identity of an event in NanoAOD.
IDENTITY = ("run", "luminosityBlock", "event")

LAYOUTS = {
    "nanoaod": FileLayout(
        "NanoAODSchema",
        "Events",
        ("PFCands",),
        NANO_BRANCH,
        _NANO,
        IDENTITY,
        generated=_GEN_PART,
    ),
    "pfnanoaod": FileLayout(
        "PFNanoAODSchema",
        "Events",
        ("PFCands",),
        NANO_BRANCH,
        _NANO,
        IDENTITY,
        generated=_GEN_PART,
    ),
    "delphes": FileLayout(
        "DelphesSchema",
        "Delphes",
        ("EFlowTrack", "EFlowPhoton", "EFlowNeutralHadron"),
        ("{collection}.{field}",),
        {
            "pt": ("PT", "ET"),
            "eta": ("Eta",),
            "phi": ("Phi",),
            "mass": ("Mass",),
            "charge": ("Charge",),
        },
        weight="Event.Weight",
        massless=True,  # towers have an ET and no mass
        in_lists=True,
        generated={"pdgId": "Particle.PID", "mother": "Particle.M1"}
        | {
            name: f"Particle.{branch}"
            for name, branch in zip(_NANO, ("PT", "Eta", "Phi", "Mass"), strict=True)
        },
    ),
    "physlite": FileLayout(
        "PHYSLITESchema",
        "CollectionTree",
        (),
        ("{collection}AuxDyn.{field}", "{collection}Aux.{field}"),  # static containers have Aux
        {"pt": ("pt",), "eta": ("eta",), "phi": ("phi",), "mass": ("m",)},
        ("EventInfoAuxDyn.runNumber", "EventInfoAuxDyn.lumiBlock", "EventInfoAuxDyn.eventNumber"),
        weight="EventInfoAuxDyn.mcEventWeights",
        per_gev=1000.0,
        in_lists=True,
        generated={"pdgId": "TruthBosonAuxDyn.pdgId", "mass": "TruthBosonAuxDyn.m"},
    ),
    "hepmc": FileLayout(
        "",
        "events",
        ("Visible",),
        (RECORD,),
        {name: (name,) for name in ("px", "py", "pz", "E", "mass")},
        ("event",),
        weight="weight",
        generated={"pdgId": "GenPart.pdgId", "mother": "GenPart.mother"}
        | {name: f"GenPart.{name}" for name in _NANO},
    ),
}
