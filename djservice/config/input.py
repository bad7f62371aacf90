"""The section ``input`` of a run: what is read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import Section, as_list, named


class Input(Section):
    """What is read."""

    files: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (), description="ROOT files: paths, globs, URLs, or example:ZHllbb_1000"
    )
    fileset: str | dict[str, Any] | None = Field(
        None,
        description="instead of files: JSON of coffea's datasets, their files and their metadata xsec, sumw, weight",
    )
    schema_: Literal["nanoaod", "pfnanoaod", "delphes", "physlite"] = Field(
        "nanoaod", alias="schema", description="layout of the branches, and their units"
    )
    tree: str | None = Field(None, description="name of the tree; null for the layout's own: Events, Delphes")
    particles: Annotated[tuple[str, ...] | None, BeforeValidator(as_list)] = Field(
        None, description="collections that are clustered together; null for the layout's own: PFCands, EFlow*"
    )
    particle_weight: str | None = Field(
        None,
        description="field of the particles that multiplies their momenta, as puppiWeight; those with 0 are left out",
    )
    pt_min: float = Field(0.0, ge=0, description="particles with pT above this many GeV")
    eta_max: float | None = Field(None, gt=0, description="particles with |eta| below this")
    weight: str | None = Field(
        "genWeight", description="branch of the event weight, or as here the generator's; null for 1"
    )
    truth: float | str | None = Field(
        None, description="true mass: a number of GeV, a branch, GenPart:higgs or GenPart:b_pair"
    )
    entries: tuple[int, int] | None = Field(None, description="[first, last + 1] of the entries of all files together")
    dataset: str = Field("", description="name of the dataset, a part of each event's identity")
    bundle_events: int | None = Field(None, ge=1, description="events held by one task; null chooses from the input")
    bad_inputs: Literal["fail", "quarantine"] = Field(
        "fail", description="a file or an event that cannot be read ends the run, or is left out and listed"
    )

    selection: Annotated[dict[str, Any] | None, BeforeValidator(named)] = Field(
        None,
        description="of events and particles: name of an entry point of djservice.selections, or {name: ..., parameters}",
    )
    cache: str | None = Field(
        None,
        description="folder that keeps the selected events, so that a second run on the same files does not read them",
    )
    timeout: float = Field(
        120.0, gt=0, description="seconds that one attempt at a read of a URL may take; there are three of them"
    )

    @model_validator(mode="after")
    def _files_or_fileset(self) -> Input:
        if bool(self.files) == (self.fileset is not None):
            raise ValueError("expected one of files and fileset")
        if self.fileset is not None and self.dataset:
            raise ValueError("a fileset has the names of its datasets, expected none beside it")
        return self
