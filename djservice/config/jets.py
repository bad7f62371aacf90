"""Parts of the configurations of what is computed for jets or events: ``emd`` and ``shapes``."""

from __future__ import annotations

from typing import Any, Self

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


class StoreSection(Section):
    """Where the numbers are written."""

    store: PathOrUrl = Field(
        description="Zarr store: a folder, or a URL such as s3://bucket/jets.zarr"
    )


class JetsDocument(Document):
    """Input, jets, output and cluster."""

    input: Input
    jets: JetsSection | None = Field(JetsSection(), description="null: the particles of each event")
    seed: int = Field(1, **limits("seed"), description="of augmentations")
    output: StoreSection
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _on_processors(self) -> Self:
        if self.cluster.device == "cuda":
            raise ValueError(f"cluster.device: {self.noun} are computed on processors, found cuda")
        if self.input.lund_weights is not None:
            raise ValueError(f"input.lund_weights: {self.noun} take no weights, expected none")
        return self

    @property
    def numbers(self) -> dict[str, Any]:
        """The settings that affect numbers; the names of files do not, their identities do."""
        data = self.model_dump(mode="python", by_alias=True, exclude={"output", "cluster"})
        for key in ("files", "fileset", "cache", "timeout", "bundle_events"):
            del data["input"][key]
        plain: dict[str, Any] = public(data)
        return plain
