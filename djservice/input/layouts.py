"""File layouts of experiments and programs: branch names, units, identity, weight, generator truth.

The service, which reads branches, and coffea's processors, which get NanoEvents, share these
definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Branch names of NanoAOD.
NANO_BRANCH = ("{collection}_{field}",)


@dataclass(frozen=True)
class FileLayout:
    """A layout of events in a ROOT tree.

    Attributes
    ----------
    coffea
        Name of the coffea schema that makes NanoEvents from the tree.
    tree
        Usual name of the tree.
    particles
        Collections that are clustered by default; empty if there is no usual one.
    branch
        Formats of a branch name, with ``{collection}`` and ``{field}``. The first that exists is
        read.
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
            for branch in self.branch
            for name in self.fields.get(field, (field,))
        )

    def place(self, branch: str) -> tuple[str, str]:
        """Collection and field of a branch in coffea's NanoEvents.

        The field is empty for a number of the event.
        """
        if self.branch == NANO_BRANCH:
            collection, _, name = branch.partition("_")
        else:
            collection, _, name = branch.partition(".")
        if self.coffea == "PHYSLITESchema":
            collection = collection.replace("Analysis", "").replace("AuxDyn", "").replace("Aux", "")
        return collection, name


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
}
