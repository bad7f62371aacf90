"""LundSample: the configuration of a sample of jets, for ``djservice lund``."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from djservice.config.document import Document
from djservice.config.input import Input, LundJets
from djservice.config.sections import ClusterSection
from djservice.core.bounds import limits


class LundSample(Document):
    """A sample of jets for ``djservice lund``: input and jets."""

    noun: ClassVar[str] = "sample of jets"
    start: ClassVar[str] = "; docs/guides/lund.md has one to start from."

    input: Input
    jets: LundJets = LundJets()
    seed: int = Field(1, **limits("seed"), description="of augmentations and toys")
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _unweighted(self) -> LundSample:
        if self.input.lund_weights is not None:
            raise ValueError("input.lund_weights: expected none where Lund planes are measured")
        return self
