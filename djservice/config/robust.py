"""The section ``robust``: augmentations under which the radius is to be good."""

from __future__ import annotations

from pydantic import Field, model_validator

from djservice.config.base import Section
from djservice.config.input import Augmentations


class RobustSection(Section):
    """The loss as its mean over the events and their augmentations, plus a multiple of its spread."""

    augmentations: Augmentations = Field(
        (),
        max_length=20,
        description=(
            "augmentations, each applied alone, as of input.augment; none: the loss is that of the "
            "events as they are"
        ),
    )
    weight: float = Field(
        0.0, ge=0, description="factor of the spread, the standard deviation of the losses"
    )

    @model_validator(mode="after")
    def _of_something(self) -> RobustSection:
        if self.weight and not self.augmentations:
            raise ValueError(
                f"weight is {self.weight:g} and there are no augmentations, expected one or more"
            )
        return self
