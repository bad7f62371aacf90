"""Schemas: the branches of particles, event weight and true mass that an input must have.

A schema is plain, frozen data for run configurations and for other processes. It opens no file.
"""

from __future__ import annotations

from typing import Annotated, Any, Self, Unpack

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from djservice.config.base import as_tuple
from djservice.config.explanations import explained
from djservice.config.input import Input
from djservice.config.schema_fields import Kind, Name, SchemaFields, SchemaKeywords, takes_schema
from djservice.errors import InputError
from djservice.input.layouts import LAYOUTS, NANO_BRANCH, FileLayout
from djservice.input.truth import GENERATED


class Schema(SchemaFields):
    """The branches that are read from an input, and the cuts on its particles.

    Build one with :func:`nanoaod`, :func:`pfnanoaod`, :func:`delphes` or :func:`physlite`.

    Attributes
    ----------
    kind
        Key of the file layout in :data:`djservice.input.layouts.LAYOUTS`: branch names and units.
    particles
        Collections of particles, which are joined.
    particle_weight
        Field of every collection, such as ``puppiWeight``, that multiplies the four-momentum of
        each particle. Particles with weight 0 are removed. None for no weight.
    tree
        Name of the TTree or RNTuple.
    pt_min, eta_max
        Particles with pt > ``pt_min`` (GeV, after the weight) and \\|eta\\| < ``eta_max`` are kept.
        ``eta_max`` None: no cut.
    weight
        Branch of the event weight; None for 1 in every event. The default, ``genWeight``, stands
        for the layout's own branch: in Delphes ``Event.Weight``, in PHYSLITE the first entry of
        ``EventInfoAuxDyn.mcEventWeights``. Only the default may be missing.
    truth
        The true mass. A number in GeV; a branch with one number per event, in the units of the
        layout; ``GenPart:higgs`` or ``GenPart:b_pair``, from the layout's generated particles
        (:func:`djservice.input.truth.generated_mass`); or None if it is unknown.
    columns
        Further fields of the particles by the names that taggers use: a mapping of names to fields
        of every collection, or a list of fields. What a file lacks has no column, and 0 in a batch
        with others.
    selection
        Name and parameters of a user's selection of events and particles
        (:mod:`djservice.input.selections`); None for all.
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
        for name in self.particles if self.layout.branch == NANO_BRANCH else ():
            # coffea splits a branch name at its first underscore into collection and field.
            if "_" in name:
                raise ValueError(f"particles={name!r}: a collection has no underscore in its name")
        return self

    @model_validator(mode="after")
    def _generated_truth_is_known(self) -> Self:
        if isinstance(self.truth, str) and ":" in self.truth:
            available = [
                name
                for name, fields in GENERATED.items()
                if set(fields) <= set(self.layout.generated)
            ]
            if self.truth not in available:
                raise ValueError(
                    f"truth={self.truth!r}: expected a branch, or one of {', '.join(available)}"
                )
        return self

    @property
    def layout(self) -> FileLayout:
        """Branch names and units of the file."""
        return LAYOUTS[self.kind]


@takes_schema
def nanoaod(
    particles: str | tuple[str, ...] = "PFCands", **options: Unpack[SchemaKeywords]
) -> Schema:
    """NanoAOD-like input: branches ``<collection>_{pt,eta,phi,mass}`` in GeV, in the tree Events.

    Parameters
    ----------
    particles, options
        Attributes of :class:`Schema`: ``particle_weight``, ``tree``, ``columns``, ``pt_min``,
        ``eta_max``, ``weight``, ``truth``, ``selection``.

    Raises
    ------
    InputError
        If an argument is invalid.
    """
    return make("nanoaod", particles=particles, **options)


@takes_schema
def pfnanoaod(
    particles: str | tuple[str, ...] = "PFCands", **options: Unpack[SchemaKeywords]
) -> Schema:
    """PFNano input: the branches of :func:`nanoaod`, with coffea's ``PFNanoAODSchema``.

    Arguments are those of :func:`nanoaod`.
    """
    return make("pfnanoaod", particles=particles, **options)


@takes_schema
def delphes(
    particles: str | tuple[str, ...] = LAYOUTS["delphes"].particles,
    **options: Unpack[SchemaKeywords],
) -> Schema:
    """Delphes output: branches ``<collection>.{PT or ET,Eta,Phi,Mass}`` in the tree Delphes.

    Energies are in GeV. Towers (EFlowPhoton, EFlowNeutralHadron) get mass 0. Delphes writes no run
    number, so events are identified by file name and entry. Arguments are those of :func:`nanoaod`.
    """
    return make("delphes", particles=particles, **options)


@takes_schema
def physlite(particles: str | tuple[str, ...], **options: Unpack[SchemaKeywords]) -> Schema:
    """DAOD_PHYSLITE: branches ``<collection>AuxDyn.{pt,eta,phi,m}`` in the tree CollectionTree.

    Energies are read in MeV and converted to GeV. Collections are named as in the file. Arguments
    are those of :func:`nanoaod`.
    """
    return make("physlite", particles=particles, **options)


def make(kind: Kind, **options: Any) -> Schema:
    """A schema of a kind, with the defaults of its layout for particles and tree.

    Raises
    ------
    InputError
        If an argument is invalid, or particles are missing and the layout has no usual collection.
    """
    if kind not in LAYOUTS:
        raise InputError(f"schema is {kind!r}, expected one of {', '.join(LAYOUTS)}.")
    layout = LAYOUTS[kind]
    defaults = {"particles": layout.particles, "tree": layout.tree}
    options = defaults | {
        key: value for key, value in options.items() if key not in defaults or value is not None
    }
    if options["particles"] == ():
        raise InputError(
            f"schema {kind!r}: expected the name of a collection in particles, because it has no "
            "default."
        )
    try:
        return Schema(kind=kind, **options)
    except ValidationError as error:
        raise InputError(
            f"schema {kind!r}: {explained(error, Schema, 'schema', repr)}. Correct the argument."
        ) from None


def schema_of(section: Input) -> Schema:
    """The schema that an input section describes."""
    return make(
        section.schema_, **{name: getattr(section, name) for name in SchemaFields.model_fields}
    )
