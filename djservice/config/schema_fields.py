"""What of a file's events is read: the fields that an input section of a run and a schema have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from djservice.config.base import Section, as_tuple, named

#: The event weight that simulation has and data have not, whatever a layout calls it: 1 where it is missing.
DEFAULT_WEIGHT = "genWeight"

#: The layouts of files that are known.
Kind = Literal["nanoaod", "pfnanoaod", "delphes", "physlite"]
Name = Annotated[str, StringConstraints(min_length=1)]


class SchemaFields(Section):
    """What of the events is read, and which particles are kept."""

    tree: Name | None = Field(
        None, description="name of the tree; null for the layout's own: Events, Delphes"
    )
    particles: Annotated[tuple[Name, ...] | None, BeforeValidator(as_tuple)] = Field(
        None,
        description="collections that are clustered together; null for the layout's own: PFCands, EFlow*",
    )
    particle_weight: Name | None = Field(
        None,
        description="field of the particles that multiplies their momenta, as puppiWeight; those with 0 are left out",
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
        description="of events and particles: name of an entry point of djservice.selections, or {name: ..., parameters}",
    )
