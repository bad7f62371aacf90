"""How programs and experiments lay out their files: names of branches, units, identity, weight, generated particles.

The one definition for the service, which reads branches, and for coffea's processors, which get NanoEvents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FileLayout:
    """A layout of events in a ROOT tree.

    Attributes
    ----------
    coffea
        Name of the coffea schema that makes NanoEvents of it.
    tree
        Usual name of the tree.
    particles
        Collections that are clustered by default; none where there is nothing usual.
    branch
        How a branch is called: a format of ``collection`` and ``field``.
    fields
        Names, in the file, of pt, eta, phi and mass: the first of those that is there.
    per_gev
        Units of energy in a GeV: 1000 in files in MeV.
    identity
        Branches of run, luminosity block and event number; none where the files have no such thing.
    weight
        Branch of the generator's weight.
    massless
        Collections without a branch of the mass have mass 0.
    in_lists
        Numbers of an event may be lists, whose first entry counts.
    generated
        Branches of generated particles: ``pdgId``, ``mother`` (index), pt, eta, phi, mass, as far as there are any.
    """

    coffea: str
    tree: str
    particles: tuple[str, ...]
    branch: str
    fields: Mapping[str, tuple[str, ...]]
    identity: tuple[str, ...] = ()
    weight: str = "genWeight"
    per_gev: float = 1.0
    massless: bool = False
    in_lists: bool = False
    generated: Mapping[str, str] = field(default_factory=dict)

    def names(self, collection: str, field: str) -> tuple[str, ...]:
        """The branches that may hold a field of a collection, by what it is called in the file or here."""
        return tuple(
            self.branch.format(collection=collection, field=name)
            for name in self.fields.get(field, (field,))
        )

    def place(self, branch: str) -> tuple[str, str]:
        """Where coffea's NanoEvents have a branch: collection and field, which is empty for a number of the event."""
        if self.branch == "{collection}_{field}":
            collection, _, name = branch.partition("_")
        else:
            collection, _, name = branch.partition(".")
        if self.coffea == "PHYSLITESchema":
            collection = collection.replace("Analysis", "").replace("AuxDyn", "").replace("Aux", "")
        return collection, name


_NANO = {name: (name,) for name in ("pt", "eta", "phi", "mass")}
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
        "{collection}_{field}",
        _NANO,
        IDENTITY,
        generated=_GEN_PART,
    ),
    "pfnanoaod": FileLayout(
        "PFNanoAODSchema",
        "Events",
        ("PFCands",),
        "{collection}_{field}",
        _NANO,
        IDENTITY,
        generated=_GEN_PART,
    ),
    "delphes": FileLayout(
        "DelphesSchema",
        "Delphes",
        ("EFlowTrack", "EFlowPhoton", "EFlowNeutralHadron"),
        "{collection}.{field}",
        {"pt": ("PT", "ET"), "eta": ("Eta",), "phi": ("Phi",), "mass": ("Mass",)},
        weight="Event.Weight",
        massless=True,  # towers, which have an ET too
        in_lists=True,
        generated={"pdgId": "Particle.PID", "mother": "Particle.M1"}
        | {
            name: f"Particle.{theirs}"
            for name, theirs in zip(_NANO, ("PT", "Eta", "Phi", "Mass"), strict=True)
        },
    ),
    "physlite": FileLayout(
        "PHYSLITESchema",
        "CollectionTree",
        (),
        "{collection}AuxDyn.{field}",
        {"pt": ("pt",), "eta": ("eta",), "phi": ("phi",), "mass": ("m",)},
        ("EventInfoAuxDyn.runNumber", "EventInfoAuxDyn.lumiBlock", "EventInfoAuxDyn.eventNumber"),
        weight="EventInfoAuxDyn.mcEventWeights",
        per_gev=1000.0,
        in_lists=True,
        generated={"pdgId": "TruthBosonAuxDyn.pdgId", "mass": "TruthBosonAuxDyn.m"},
    ),
}
