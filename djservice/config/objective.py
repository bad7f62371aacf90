"""The section ``objective``: what is maximised, in place of a loss that is minimised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from djservice.config.base import MANY, Section, as_tuple, named

#: Keys that only one kind of objective has.
_ONLY = {
    "truth_range": "mutual_information",
    "range": "mutual_information",
    "signal": "significance",
    "background": "significance",
    "luminosity": "significance",
    "background_uncertainty": "significance",
    "minimum_entries": "significance",
}


class ObjectiveSection(Section):
    """What is maximised: the information about the truth, or the significance of a signal."""

    kind: Literal["mutual_information", "significance"] = Field(
        description="of observable and true mass, or of a binned search"
    )
    observable: Annotated[Any, BeforeValidator(named)] = Field(
        {"name": "dijet_mass"}, description="name, {name: ..., parameters} or my_file.py:function"
    )
    cuts: tuple[Annotated[Any, BeforeValidator(named)], ...] = Field(
        (), max_length=MANY, description="selection of trees: all must pass"
    )
    bins: tuple[float, ...] | None = Field(
        None,
        description=(
            "mutual_information: numbers of bins of the observable and of the truth, by default "
            "[40, 20]; significance: the edges of the bins, in the observable's units"
        ),
    )
    range: tuple[float, float] = Field(
        (0.0, 250.0), description="mutual_information: of the observable's bins"
    )
    truth_range: tuple[float, float] = Field(
        (0.0, 250.0), description="mutual_information: of the bins of the true mass, in GeV"
    )
    signal: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        (), description="significance: datasets of the fileset that are signal"
    )
    background: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = Field(
        (), description="significance: datasets of the fileset that are background"
    )
    luminosity: float | None = Field(
        None, gt=0, description="significance: in the inverse of the unit of xsec"
    )
    background_uncertainty: float = Field(
        0.0, ge=0, le=10, description="significance: relative, of each bin by itself"
    )
    minimum_entries: float = Field(
        10.0,
        gt=0,
        description="significance: effective background events of a bin; with fewer, bins are merged",
    )
    held_back: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the events that do not choose R and score the optimum",
    )

    @model_validator(mode="after")
    def _of_one_kind(self) -> ObjectiveSection:
        fields = type(self).model_fields
        for key in self.model_fields_set & set(_ONLY):
            # Plain data of a whole section name the defaults too.
            if _ONLY[key] != self.kind and getattr(self, key) != fields[key].get_default():
                raise ValueError(f"a {self.kind} has no {key}, which is of a {_ONLY[key]}")
        if self.kind == "significance":
            missing = [
                key
                for key in ("signal", "background", "luminosity", "bins")
                if not getattr(self, key)
            ]
            if missing:
                raise ValueError(f"a significance needs {', '.join(missing)}, found none")
        elif self.bins is not None and not all(number.is_integer() for number in self.bins):
            raise ValueError(f"expected bins as two whole numbers, found {list(self.bins)}")
        return self
