"""Distances: the configuration of a matrix of distances, for ``djservice emd``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from djservice.config.base import PathOrUrl, Section
from djservice.config.document import Document
from djservice.config.input import Input
from djservice.config.sections import ClusterSection
from djservice.core.bounds import limits
from djservice.core.private import public


class JetsSection(Section):
    """The leading jets of each event, clustered deterministically."""

    radius: float = Field(0.8, **limits("radius"), description="R of the clustering")
    power: float = Field(-1.0, **limits("power"), description="-1 anti-kT, 0 C/A, 1 kT")
    pt_min: float = Field(20.0, ge=0, description="jets with pT above this many GeV")
    number: int = Field(1, **limits("jets"), description="leading jets of each event")


class DistanceSection(Section):
    """What is computed for each pair."""

    kind: Literal["emd", "spectral"] = Field(
        "emd", description="transport of momenta, or of the spectra of pairwise angles"
    )
    radius: float = Field(0.8, **limits("radius"), description="R that distances are divided by")
    beta: float = Field(1.0, gt=0, le=10, description="exponent of distances in (y, phi)")
    norm: bool = Field(True, description="divide the pT of each by their sum")
    periodic_phi: bool = Field(True, description="take the shorter way around in phi")
    centre: bool | None = Field(
        None, description="move each to its pT-weighted mean; null: jets yes, events no"
    )

    @model_validator(mode="after")
    def _spectra_of_equal_sums(self) -> DistanceSection:
        if self.kind == "spectral" and not self.norm:
            raise ValueError("norm: spectra are compared between equal sums, expected true")
        return self


class StoreSection(Section):
    """Where the matrix is written."""

    store: PathOrUrl = Field(
        description="Zarr store: a folder, or a URL such as s3://bucket/emd.zarr"
    )


class Distances(Document):
    """A matrix of distances: input, jets, distance, output and cluster."""

    noun: ClassVar[str] = "distances"
    start: ClassVar[str] = "; docs/guides/emd.md has one to start from."

    input: Input
    jets: JetsSection | None = Field(JetsSection(), description="null: the particles of each event")
    distance: DistanceSection = DistanceSection()
    seed: int = Field(1, **limits("seed"), description="of augmentations")
    output: StoreSection
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _on_processors(self) -> Distances:
        if self.cluster.device == "cuda":
            raise ValueError("cluster.device: distances are computed on processors, found cuda")
        if self.input.lund_weights is not None:
            raise ValueError("input.lund_weights: distances take no weights, expected none")
        return self

    @property
    def centre(self) -> bool:
        """Whether each is moved to its pT-weighted mean."""
        chosen = self.distance.centre
        return self.jets is not None if chosen is None else chosen

    @property
    def numbers(self) -> dict[str, Any]:
        """The settings that affect numbers; the names of files do not, their identities do."""
        data = self.model_dump(mode="python", by_alias=True, exclude={"output", "cluster"})
        for key in ("files", "fileset", "cache", "timeout", "bundle_events"):
            del data["input"][key]
        data["distance"]["centre"] = self.centre
        plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(public(data)))
        return plain
