"""SchemaFields: the fields that the input section of a run and a schema share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field, StringConstraints

from djservice.config.base import MANY, Section, as_tuple, named
from djservice.core.arguments import takes
from djservice.core.spelling import spelled

#: Default event weight, in any layout. Data have no such branch, and then the weight is 1.
DEFAULT_WEIGHT = "genWeight"

#: Supported file layouts.
Kind = Literal["nanoaod", "pfnanoaod", "delphes", "physlite", "hepmc"]
Name = Annotated[str, StringConstraints(min_length=1)]


#: Units of energy, by the number of them in one GeV.
PER_GEV = {"GeV": 1.0, "MeV": 1000.0}


def _by_name(columns: Any) -> Any:
    """A list of fields as a mapping of each to itself."""
    if isinstance(columns, str):
        columns = [columns]
    if isinstance(columns, (list, tuple)):
        if not all(isinstance(name, str) for name in columns):
            raise ValueError(f"expected names, or a mapping of names, found {spelled(columns)}")
        return {name: name for name in columns}
    return {} if columns is None else columns


class SchemaFields(Section):
    """Fields of the events that are read, and cuts on the particles."""

    tree: Name | None = Field(
        None, description="name of the tree; null for the layout's own: Events, Delphes"
    )
    particles: Annotated[tuple[Name, ...] | None, BeforeValidator(as_tuple)] = Field(
        None,
        description=(
            "collections that are clustered together; null for the layout's own: PFCands, EFlow*"
        ),
    )
    particle_weight: Name | None = Field(
        None,
        description=(
            "field of the particles that multiplies their momenta, as puppiWeight; those "
            "with 0 are left out"
        ),
    )
    columns: Annotated[dict[Name, Name | float], BeforeValidator(_by_name)] = Field(
        {},
        max_length=MANY,
        description=(
            "fields of the particles, or branches, by name: of the momenta where they differ from "
            "the layout's, as {px: part_px, py: part_py, pz: part_pz, E: part_energy} or {mass: "
            "0.13957}, and further ones that taggers read, as [charge, pdgId] or {d0: dxy}, where "
            "what a file lacks counts as the variable's default"
        ),
    )
    units: Literal["GeV", "MeV"] | None = Field(
        None, description="of energies in the files; null for the layout's own"
    )
    pt_min: float = Field(0.0, ge=0, description="particles with pT above this many GeV")
    eta_max: float | None = Field(None, gt=0, description="particles with |eta| below this")
    weight: Name | None = Field(
        DEFAULT_WEIGHT,
        description="branch of the event weight, or as here the generator's; null for 1",
    )
    identity: Annotated[tuple[Name, ...] | None, BeforeValidator(as_tuple)] = Field(
        None,
        min_length=1,
        max_length=3,
        description=(
            "branches of the event number, [run, event], or [run, luminosityBlock, event]; null "
            "for the layout's own"
        ),
    )
    truth: float | Name | None = Field(
        None, description="true mass: a number of GeV, a branch, GenPart:higgs or GenPart:b_pair"
    )
    selection: Annotated[dict[str, Any] | None, BeforeValidator(named)] = Field(
        None,
        description=(
            "of events and particles: name of an entry point of djservice.selections, or "
            "{name: ..., parameters}"
        ),
    )


class EventSchemaKeywords(TypedDict, total=False):
    """Keywords of a function that reads events which are open already: fields of a schema."""

    particle_weight: str | None
    """Field of the particles that multiplies their momenta."""
    columns: Mapping[str, str | float] | Sequence[str]
    """Fields of the momenta and further ones, by name; a list names each after itself."""
    units: str | None
    """Units of energy, "GeV" or "MeV"; the layout's own by default."""
    pt_min: float
    """Particles with pT above this many GeV are kept; 0 by default."""
    eta_max: float | None
    """Particles with \\|eta\\| below this are kept; all by default."""
    weight: str | None
    """Branch of the event weight; the generator's by default, None for 1."""
    truth: float | str | None
    """True mass: a number of GeV, a branch, ``GenPart:higgs`` or ``GenPart:b_pair``."""


class SchemaKeywords(EventSchemaKeywords, total=False):
    """Keywords of a function that makes a schema: fields of :class:`SchemaFields`."""

    tree: str | None
    """Name of the TTree or RNTuple; the layout's own by default."""
    identity: str | Sequence[str] | None
    """Branches of event, of run and event, or of run, luminosity block and event."""
    selection: str | Mapping[str, Any] | None
    """Selection of events and particles: its name, or a mapping with parameters."""
    quarks: bool
    """Whether the generated quarks of heavy particles are read; False by default."""


#: Defaults of the keywords, by name.
SCHEMA_DEFAULTS = {name: field.default for name, field in SchemaFields.model_fields.items()} | {
    "quarks": False
}
#: Decorator of the functions that have ``**options`` of :class:`SchemaKeywords`.
takes_schema = takes(SchemaKeywords, SCHEMA_DEFAULTS)
