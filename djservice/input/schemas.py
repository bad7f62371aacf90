"""Which branches an input must have: where the particles, the event weight and the true mass come from.

A schema is plain, frozen data: it travels in a run configuration and between processes, and opens no file.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from djservice.config.base import as_tuple, explained
from djservice.config.input import Input
from djservice.config.schema_fields import Kind, Name, SchemaFields
from djservice.errors import InputError
from djservice.input.layouts import LAYOUTS, FileLayout
from djservice.input.truth import GENERATED


class Schema(SchemaFields):
    """What is read from an input. Build one with :func:`nanoaod` and its like, or from plain data.

    Attributes
    ----------
    kind
        The layout of the file, of :data:`djservice.input.layouts.LAYOUTS`: names of branches, and units.
    particles
        One or several collections of particles, which are put together.
    particle_weight
        Field of every collection, such as ``puppiWeight``, that multiplies each particle's four-momentum; those with 0 are
        removed. None: none.
    tree
        Name of the TTree or RNTuple.
    pt_min, eta_max
        Particles with pt > ``pt_min`` (GeV, after the weight) and, if given, \\|eta\\| < ``eta_max`` are kept.
    weight
        Branch of the event weight; None: 1 for every event. Only the default may be missing: ``genWeight``, which stands for
        the layout's own, in Delphes ``Event.Weight``, in PHYSLITE the first of ``EventInfoAuxDyn.mcEventWeights``.
    truth
        The true mass: a number of GeV; the branch with one number per event, in the units of the layout; ``GenPart:higgs`` or
        ``GenPart:b_pair``, from the layout's generated particles (:func:`djservice.input.truth.generated_mass`); or None where it is
        unknown.
    selection
        Name, and any parameters, of a user's selection of events and particles (:mod:`djservice.input.selections`); None: all.
    """

    model_config = ConfigDict(strict=True)

    kind: Kind = "nanoaod"
    particles: Annotated[tuple[Name, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (
        "PFCands",
    )
    tree: Name = "Events"

    @model_validator(mode="after")
    def _collections_are_names(self) -> Self:
        if len(set(self.particles)) < len(self.particles):
            raise ValueError(f"particles={list(self.particles)}: a collection is named twice")
        for name in self.particles if self.layout.branch == "{collection}_{field}" else ():
            if (
                "_" in name
            ):  # coffea splits a branch at its first underscore into collection and field
                raise ValueError(f"particles={name!r}: a collection has no underscore in its name")
        return self

    @model_validator(mode="after")
    def _generated_truth_is_known(self) -> Self:
        if isinstance(self.truth, str) and ":" in self.truth:
            there = [
                name
                for name, fields in GENERATED.items()
                if set(fields) <= set(self.layout.generated)
            ]
            if self.truth not in there:
                raise ValueError(
                    f"truth={self.truth!r}: expected a branch, or one of {', '.join(there)}"
                )
        return self

    @property
    def layout(self) -> FileLayout:
        """Names and units."""
        return LAYOUTS[self.kind]


def nanoaod(particles: str | tuple[str, ...] = "PFCands", **given: Any) -> Schema:
    """NanoAOD-like input: branches ``<collection>_{pt,eta,phi,mass}`` in GeV, in the tree Events.

    Parameters
    ----------
    particles, given
        The attributes of :class:`Schema`: ``particle_weight``, ``tree``, ``pt_min``, ``eta_max``, ``weight``, ``truth``.

    Raises
    ------
    InputError
        If an argument has no meaning.
    """
    return make("nanoaod", particles=particles, **given)


def pfnanoaod(particles: str | tuple[str, ...] = "PFCands", **given: Any) -> Schema:
    """PFNano input: as :func:`nanoaod`, with coffea's ``PFNanoAODSchema`` where coffea is used."""
    return make("pfnanoaod", particles=particles, **given)


def delphes(
    particles: str | tuple[str, ...] = LAYOUTS["delphes"].particles, **given: Any
) -> Schema:
    """Delphes output: branches ``<collection>.{PT or ET,Eta,Phi,Mass}`` in GeV, in the tree Delphes.

    Towers (EFlowPhoton, EFlowNeutralHadron) have no mass, which is 0. Delphes writes no run number, so that events are known by
    the names of their files and their entries. Arguments as in :func:`nanoaod`.
    """
    return make("delphes", particles=particles, **given)


def physlite(particles: str | tuple[str, ...], **given: Any) -> Schema:
    """DAOD_PHYSLITE: branches ``<collection>AuxDyn.{pt,eta,phi,m}`` in MeV, read as GeV, in the tree CollectionTree.

    Collections are named as in the file. Arguments as in :func:`nanoaod`.
    """
    return make("physlite", particles=particles, **given)


def make(kind: Kind, **given: Any) -> Schema:
    """A schema of a kind; what is None or not given is the layout's own.

    Raises
    ------
    InputError
        If an argument has no meaning, or the layout has no usual collection and none is given.
    """
    layout = LAYOUTS[kind]
    usual = {"particles": layout.particles, "tree": layout.tree}
    given = usual | {
        key: value for key, value in given.items() if key not in usual or value is not None
    }
    if given["particles"] == ():
        raise InputError(
            f"schema {kind!r}: expected the name of a collection in particles, for it has no usual one."
        )
    try:
        return Schema(kind=kind, **given)
    except ValidationError as error:
        raise InputError(
            f"schema {kind!r}: {explained(error, Schema, 'schema')}. Correct the argument."
        ) from None


def schema_of(given: Input) -> Schema:
    """The schema that an input section describes."""
    return make(given.schema_, **{name: getattr(given, name) for name in SchemaFields.model_fields})
