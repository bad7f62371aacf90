"""Schemas: the branches of particles, event weight and true mass that an input must have.

A schema is plain, frozen data for run configurations and for other processes. It opens no file.
"""

from __future__ import annotations

from typing import Annotated, Any, Self, Unpack

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from djservice.config.base import as_tuple
from djservice.config.explanations import explained
from djservice.config.input import Input
from djservice.config.schema_fields import (
    PER_GEV,
    Kind,
    Name,
    SchemaFields,
    SchemaKeywords,
    takes_schema,
)
from djservice.errors import InputError
from djservice.input.layouts import LAYOUTS, FileLayout
from djservice.input.momentum_forms import COMPONENTS, forms_with
from djservice.input.particle_masses import CODE
from djservice.input.truth import GENERATED, QUARK_FIELDS

__all__ = [
    "Schema",
    "delphes",
    "hepmc",
    "make",
    "nanoaod",
    "pfnanoaod",
    "physlite",
]


class Schema(SchemaFields):
    """The branches that are read from an input, and the cuts on its particles.

    Build one with :func:`nanoaod`, :func:`pfnanoaod`, :func:`delphes`, :func:`physlite` or
    :func:`hepmc`.

    Attributes
    ----------
    kind
        Key of the file layout in :data:`djservice.input.layouts.LAYOUTS`: branch names and units.
    particles
        Collections of particles, which are joined.
    particle_weight
        Field of every collection, such as ``puppiWeight``, that multiplies the four-momentum of
        each particle. Particles with weight 0 are removed. None for no weight.
    tree
        Name of the TTree or RNTuple.
    pt_min, eta_max
        Particles with pt > ``pt_min`` (GeV, after the weight) and \\|eta\\| < ``eta_max`` are kept.
        ``eta_max`` None: no cut.
    weight
        Branch of the event weight; None for 1 in every event. The default, ``genWeight``, stands
        for the layout's own branch: in Delphes ``Event.Weight``, in PHYSLITE the first entry of
        ``EventInfoAuxDyn.mcEventWeights``. Only the default may be missing.
    truth
        The true mass. A number in GeV; a branch with one number per event, in the units of the
        layout; ``GenPart:higgs`` or ``GenPart:b_pair``, from the layout's generated particles
        (:func:`djservice.input.truth.generated_mass`); or None if it is unknown.
    quarks
        Whether the quarks of the decays of heavy particles are read, from the layout's generated
        particles (:func:`djservice.input.truth.generated_quarks`).
    columns
        Fields of every collection, or branches, by name. ``pt``, ``eta``, ``phi``, ``mass``,
        ``px``, ``py``, ``pz`` and ``E`` are those of the momenta, in place of the layout's; mass
        may be a number in GeV, or ``pdgId`` for the mass of the particle with that code. Others are further columns by the names that taggers use. What a
        file lacks of these has no column, and 0 in a batch with others. A list names fields after
        themselves.
    units
        Units of energy in the file, "GeV" or "MeV"; None for the layout's.
    identity
        Branches of event, of run and event, or of run, luminosity block and event, which must
        exist; None for the layout's.
    selection
        Name and parameters of a user's selection of events and particles
        (:mod:`djservice.input.selections`); None for all.
    """

    model_config = ConfigDict(strict=True)

    kind: Kind = "nanoaod"
    particles: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        "PFCands",
    )
    tree: Name = "Events"
    quarks: bool = False

    @model_validator(mode="after")
    def _collections_are_names(self) -> Self:
        if len(set(self.particles)) < len(self.particles):
            raise ValueError(f"particles={list(self.particles)}: a collection is named twice")
        return self

    @model_validator(mode="after")
    def _columns_make_momenta(self) -> Self:
        mapped = [name for name in self.columns if name in COMPONENTS]
        if not forms_with(mapped):
            raise ValueError(
                f"columns name {', '.join(mapped)}, which make no momentum together: expected pt, "
                "eta, phi or px, py, pz, and mass or E"
            )
        for name, field in self.columns.items():
            if name in ("weight", "truth", "identity"):
                raise ValueError(f"columns name {name}, expected it as a key beside columns")
            if not isinstance(field, str) and not (name == "mass" and field >= 0):
                raise ValueError(
                    f"columns: {name} is {field}, expected a field or a branch (a number is for "
                    "mass alone, 0 or more GeV)"
                )
        return self

    @model_validator(mode="after")
    def _generated_truth_is_known(self) -> Self:
        if isinstance(self.truth, str) and ":" in self.truth:
            available = [
                name
                for name, fields in GENERATED.items()
                if set(fields) <= set(self.layout.generated)
            ]
            if self.truth not in available:
                raise ValueError(
                    f"truth={self.truth!r}: expected a branch, or one of {', '.join(available)}"
                )
        return self

    @model_validator(mode="after")
    def _quarks_are_generated(self) -> Self:
        if self.quarks and not set(QUARK_FIELDS) <= set(self.layout.generated):
            raise ValueError(
                f"quarks: the layout {self.kind!r} has no generated particles with mothers; expected "
                "the number of prongs instead"
            )
        return self

    @property
    def layout(self) -> FileLayout:
        """Branch names and units of the file."""
        return LAYOUTS[self.kind]

    @property
    def per_gev(self) -> float:
        """Number of energy units of the file in one GeV."""
        return self.layout.per_gev if self.units is None else PER_GEV[self.units]

    @property
    def mass(self) -> float | None:
        """The mass of particles whose collection has none, in GeV; None if it must have one."""
        mass = self.columns.get("mass", 0.0 if self.layout.massless else None)
        return None if isinstance(mass, str) else mass

    @property
    def mass_by_code(self) -> bool:
        """Whether masses follow from the PDG codes of the particles."""
        return self.columns.get("mass") == CODE

    @property
    def further(self) -> dict[str, str]:
        """The columns beside those of the momenta."""
        return {
            name: field
            for name, field in self.columns.items()
            if name not in COMPONENTS and isinstance(field, str)
        }

    def names(self, collection: str, column: str) -> tuple[str, ...]:
        """Possible branches of a column of a collection: its field, or a branch of that name."""
        field = self.columns.get(column, column)
        if self.mass_by_code and column == "mass":
            field = self.columns.get(CODE, CODE)
        if not isinstance(field, str):
            return ()
        named = column in self.columns or column == self.particle_weight
        return (*self.layout.names(collection, field), *((field,) if named else ()))


@takes_schema
def nanoaod(
    particles: str | tuple[str, ...] = "PFCands", **options: Unpack[SchemaKeywords]
) -> Schema:
    """NanoAOD-like input: branches ``<collection>_{pt,eta,phi,mass}`` in GeV, in the tree Events.

    Parameters
    ----------
    particles, options
        Attributes of :class:`Schema`: ``particle_weight``, ``tree``, ``columns``, ``units``,
        ``pt_min``, ``eta_max``, ``weight``, ``identity``, ``truth``, ``selection``.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    return make("nanoaod", particles=particles, **options)


@takes_schema
def pfnanoaod(
    particles: str | tuple[str, ...] = "PFCands", **options: Unpack[SchemaKeywords]
) -> Schema:
    """PFNano input: the branches of :func:`nanoaod`, with coffea's ``PFNanoAODSchema``.

    Arguments are those of :func:`nanoaod`.
    """
    return make("pfnanoaod", particles=particles, **options)


@takes_schema
def delphes(
    particles: str | tuple[str, ...] = LAYOUTS["delphes"].particles,
    **options: Unpack[SchemaKeywords],
) -> Schema:
    """Delphes output: branches ``<collection>.{PT or ET,Eta,Phi,Mass}`` in the tree Delphes.

    Energies are in GeV. Towers (EFlowPhoton, EFlowNeutralHadron) get mass 0. Delphes writes no run
    number, so events are identified by file name and entry. Arguments are those of :func:`nanoaod`.
    """
    return make("delphes", particles=particles, **options)


@takes_schema
def physlite(particles: str | tuple[str, ...], **options: Unpack[SchemaKeywords]) -> Schema:
    """DAOD_PHYSLITE: branches ``<collection>AuxDyn.{pt,eta,phi,m}`` in the tree CollectionTree.

    Energies are read in MeV and converted to GeV. Collections are named as in the file. Arguments
    are those of :func:`nanoaod`.
    """
    return make("physlite", particles=particles, **options)


@takes_schema
def hepmc(
    particles: str | tuple[str, ...] = LAYOUTS["hepmc"].particles,
    **options: Unpack[SchemaKeywords],
) -> Schema:
    """HepMC events of generators, in GeV: stable particles but neutrinos.

    Other collections are Stable, with neutrinos, and GenPart, with all particles. Arguments are
    those of :func:`nanoaod`. Needs the extra ``hepmc``.
    """
    return make("hepmc", particles=particles, **options)


def make(kind: Kind, **options: Any) -> Schema:
    """A schema of a kind, with the defaults of its layout for particles and tree.

    Raises
    ------
    InputError
        If an argument is invalid, or particles are missing and the layout has no usual collection.
    """
    if kind not in LAYOUTS:
        raise InputError(f"schema is {kind!r}, expected one of {', '.join(LAYOUTS)}.")
    layout = LAYOUTS[kind]
    defaults = {"particles": layout.particles, "tree": layout.tree}
    options = defaults | {
        key: value for key, value in options.items() if key not in defaults or value is not None
    }
    if options["particles"] == ():
        raise InputError(
            f"schema {kind!r}: expected the name of a collection in particles, because it has no "
            "default."
        )
    try:
        return Schema(kind=kind, **options)
    except ValidationError as error:
        raise InputError(
            f"schema {kind!r}: {explained(error, Schema, 'schema', repr)}. Correct the argument."
        ) from None


def schema_of(section: Input, quarks: bool = False) -> Schema:
    """The schema that an input section describes, with quarks if its Lund weights need them."""
    weights = section.lund_weights
    return make(
        section.schema_,
        **{name: getattr(section, name) for name in SchemaFields.model_fields},
        quarks=quarks or (weights is not None and weights.jets.prongs == "quarks"),
    )
