"""Distances: the configuration of a matrix of distances, for ``djservice emd``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from djservice.config.base import Section
from djservice.config.jets import JetsDocument
from djservice.core.bounds import limits


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


class Distances(JetsDocument):
    """A matrix of distances: input, jets, distance, output and cluster."""

    noun: ClassVar[str] = "distances"
    start: ClassVar[str] = "; docs/guides/emd.md has one to start from."

    distance: DistanceSection = DistanceSection()

    @property
    def centre(self) -> bool:
        """Whether each is moved to its pT-weighted mean."""
        chosen = self.distance.centre
        return self.jets is not None if chosen is None else chosen

    @property
    def numbers(self) -> dict[str, Any]:
        """The settings that affect numbers; the names of files do not, their identities do."""
        numbers = super().numbers
        numbers["distance"]["centre"] = self.centre
        return numbers
