"""Which branches an input must have: where the particles, the event weight and the true mass come from.

A schema is plain, frozen data: it travels in a run configuration and between processes, and opens no file.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from djservice.errors import InputError
from djservice.truth import GENERATED, branches

#: The event weight that simulation has and data have not: 1 where it is missing.
DEFAULT_WEIGHT = "genWeight"

#: The identity of an event as an experiment writes it; used when all three branches are there.
IDENTITY = ("run", "luminosityBlock", "event")

Name = Annotated[str, StringConstraints(min_length=1)]


class Schema(BaseModel):
    """What is read from an input. Build one with :func:`nanoaod` or :func:`pfnanoaod`, or from plain data.

    Attributes
    ----------
    kind
        The coffea schema that builds the particles.
    particles
        Collection with one list per event; branches ``<particles>_{pt,eta,phi,mass}``, GeV and rad.
    tree
        Name of the TTree or RNTuple.
    pt_min, eta_max
        Particles with pt > ``pt_min`` (GeV) and, if given, \\|eta\\| < ``eta_max`` are kept.
    weight
        Branch of the event weight; None: 1 for every event. Only the default may be missing.
    truth
        The true mass in GeV: one number, the branch with one number per event, ``GenPart:higgs`` or ``GenPart:b_pair``
        (:func:`djservice.truth.generated_mass`), or None where it is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: Literal["nanoaod", "pfnanoaod"] = "nanoaod"
    particles: Name = "PFCands"
    tree: Name = "Events"
    pt_min: float = Field(default=0.0, ge=0)
    eta_max: float | None = Field(default=None, gt=0)
    weight: Name | None = DEFAULT_WEIGHT
    truth: float | Name | None = None

    @model_validator(mode="after")
    def _collection_has_no_underscore(self) -> Self:
        if "_" in self.particles:  # coffea splits a branch at its first underscore into collection and field
            raise ValueError(f"particles={self.particles!r}: a collection has no underscore in its name")
        return self

    @model_validator(mode="after")
    def _generated_truth_is_known(self) -> Self:
        if isinstance(self.truth, str) and ":" in self.truth and self.truth not in GENERATED:
            raise ValueError(f"truth={self.truth!r}: expected a branch, or one of {', '.join(GENERATED)}")
        return self

    @property
    def particle_branches(self) -> dict[str, str]:
        """The branch of each particle field."""
        return {field: f"{self.particles}_{field}" for field in ("pt", "eta", "phi", "mass")}

    @property
    def required(self) -> tuple[str, ...]:
        """Branches without which an input cannot be read."""
        charge = (f"{self.particles}_charge",) if self.kind == "pfnanoaod" else ()
        weight = (self.weight,) if self.weight not in (None, DEFAULT_WEIGHT) else ()
        truth = branches(self.truth) or ((self.truth,) if isinstance(self.truth, str) else ())
        return tuple(name for name in (*self.particle_branches.values(), *charge, *weight, *truth) if name)


def nanoaod(
    particles: str = "PFCands",
    *,
    tree: str = "Events",
    pt_min: float = 0.0,
    eta_max: float | None = None,
    weight: str | None = DEFAULT_WEIGHT,
    truth: float | str | None = None,
) -> Schema:
    """NanoAOD-like input: flat branches ``<particles>_{pt,eta,phi,mass}``.

    The arguments are the attributes of :class:`Schema`.

    Raises
    ------
    InputError
        If an argument has no meaning.
    """
    return _schema("nanoaod", particles, tree, pt_min, eta_max, weight, truth)


def pfnanoaod(
    particles: str = "PFCands",
    *,
    tree: str = "Events",
    pt_min: float = 0.0,
    eta_max: float | None = None,
    weight: str | None = DEFAULT_WEIGHT,
    truth: float | str | None = None,
) -> Schema:
    """PFNano input, read with coffea's ``PFNanoAODSchema``, whose candidates must also have a ``charge`` branch.

    The arguments are the attributes of :class:`Schema`.

    Raises
    ------
    InputError
        If an argument has no meaning.
    """
    return _schema("pfnanoaod", particles, tree, pt_min, eta_max, weight, truth)


def _schema(
    kind: Literal["nanoaod", "pfnanoaod"],
    particles: str,
    tree: str,
    pt_min: float,
    eta_max: float | None,
    weight: str | None,
    truth: float | str | None,
) -> Schema:
    try:
        return Schema(
            kind=kind, particles=particles, tree=tree, pt_min=pt_min, eta_max=eta_max, weight=weight, truth=truth
        )
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise InputError(f"schema {kind!r}: {wrong}. Correct the argument.") from None
