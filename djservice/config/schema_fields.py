"""SchemaFields: the fields that the input section of a run and a schema share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from djservice.config.base import Section, as_tuple, named

#: Default event weight, in any layout. Data have no such branch, and then the weight is 1.
DEFAULT_WEIGHT = "genWeight"

#: Supported file layouts.
Kind = Literal["nanoaod", "pfnanoaod", "delphes", "physlite"]
Name = Annotated[str, StringConstraints(min_length=1)]


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
    particle_fields: Annotated[tuple[Name, ...], BeforeValidator(as_tuple)] = Field(
        (), description="further fields of the particles to keep, as charge, for weights of a model"
    )
    pt_min: float = Field(0.0, ge=0, description="particles with pT above this many GeV")
    eta_max: float | None = Field(None, gt=0, description="particles with |eta| below this")
    weight: Name | None = Field(
        DEFAULT_WEIGHT,
        description="branch of the event weight, or as here the generator's; null for 1",
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
