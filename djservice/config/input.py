"""The section ``input`` of a run: files, layout, cuts and bundles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import PathOrUrl, Section, as_tuple, named
from djservice.config.schema_fields import Kind, SchemaFields
from djservice.core.bounds import limits

#: Augmentations of events, each a name or a mapping with its parameters.
Augmentations = tuple[Annotated[dict[str, Any], BeforeValidator(named)], ...]


class Files(Section):
    """The files of an input, and their layout."""

    files: Annotated[tuple[PathOrUrl, ...], BeforeValidator(as_tuple)] = Field(
        (),
        description=(
            "files of ROOT, Parquet (.parquet) or HepMC (.hepmc): paths, globs, URLs, or "
            "example:ZHllbb_1000"
        ),
    )
    fileset: PathOrUrl | dict[str, Any] | None = Field(
        None,
        description=(
            "instead of files: JSON of coffea's datasets, their files and their metadata "
            "xsec, sumw, weight"
        ),
    )
    schema_: Kind = Field(
        "nanoaod", alias="schema", description="layout of the branches, and their units"
    )

    @model_validator(mode="after")
    def _files_or_fileset(self) -> Files:
        if bool(self.files) == (self.fileset is not None):
            raise ValueError("expected one of files and fileset")
        return self


class LundJets(Section):
    """The jets of which Lund planes are measured, or which are weighed."""

    radius: float = Field(0.8, **limits("radius"), description="R of the anti-kT jets")
    pt_min: float = Field(225.0, ge=0, description="jets with pT above this many GeV")
    number: int = Field(1, **limits("jets"), description="leading jets of each event")
    mass: tuple[float, float] | None = Field(
        (70.0, 110.0),
        description="[lowest, highest] mass in GeV after mMDT with z > 0.1; null: any",
    )
    prongs: Annotated[int, Field(ge=1, le=20)] | Literal["quarks"] = Field(
        2,
        description=(
            "kT subjets of each jet; quarks: as many as generated quarks of a top, W, Z, Higgs or "
            "heavier boson are within 0.8 of its axis"
        ),
    )


class WeighedJets(LundJets):
    """The jets of a run that are weighed."""

    mass: tuple[float, float] | None = Field(
        None, description="[lowest, highest] mass in GeV after mMDT with z > 0.1; null: any"
    )


class LundWeightsSection(Section):
    """Weights of jets by the Lund plane of data, multiplied to the weights of their events."""

    ratio: str = Field(description="file of `djservice lund measure`, or the published ROOT file")
    variation: str = Field(
        "nominal",
        description="or NAME_up, NAME_down of the file, or statistics_0, extrapolation_0, ...: toys",
    )
    jets: WeighedJets = WeighedJets()


class Input(SchemaFields, Files):
    """Files, layout, weights and cuts of the events."""

    entries: tuple[int, int] | None = Field(
        None, description="[first, last + 1] of the entries of all files together"
    )
    dataset: str = Field("", description="name of the dataset, a part of each event's identity")
    bundle_events: int | None = Field(
        None, **limits("events"), description="events held by one task; null chooses from the input"
    )
    bad_inputs: Literal["fail", "quarantine"] = Field(
        "fail",
        description=(
            "a file or an event that cannot be read ends the run, or is left out and listed"
        ),
    )
    cache: str | None = Field(
        None,
        description=(
            "folder that keeps the selected events, so that a second run on the same "
            "files does not read them"
        ),
    )
    augment: Augmentations = Field(
        (),
        max_length=20,
        description=(
            "random changes of the events before clustering, in order: rotate, translate, "
            "collinear, soft, smear, drop, scale"
        ),
    )
    lund_weights: LundWeightsSection | None = Field(
        None, description="weights of jets by the Lund plane of data: docs/guides/lund.md"
    )
    timeout: float = Field(
        120.0,
        **limits("seconds"),
        description="seconds that one attempt at a read of a URL may take; there are three of them",
    )

    @model_validator(mode="after")
    def _datasets_have_names(self) -> Input:
        if self.fileset is not None and self.dataset:
            raise ValueError("a fileset has the names of its datasets, expected none beside it")
        return self
