"""The input of a run: schema, files and datasets of an input section, resolved once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from djservice.config.input import Input
from djservice.input.files import GLOB, Search
from djservice.input.fileset import Source, load_fileset, sources
from djservice.input.schemas import Schema, schema_of
from djservice.input.selections import selection_fingerprint


@dataclass(frozen=True)
class InputPlan:
    """An input whose files were found.

    Attributes
    ----------
    section
        The section of the configuration.
    schema
        Branches and cuts of each file.
    fileset
        Datasets as :func:`djservice.input.fileset.load_fileset` returns them; empty without a
        fileset.
    sources
        The files to read.
    selection
        Fingerprint of the user's selection; empty without one.
    """

    section: Input
    schema: Schema
    fileset: dict[str, Any]
    sources: tuple[Source, ...]
    selection: str


def plan_input(section: Input, search: Search = GLOB, *, quarks: bool = False) -> InputPlan:
    """Find the files of an input section, without reading them; ``search`` expands patterns.

    With ``quarks``, generated quarks are read.

    Raises
    ------
    DjserviceError
        If a file or a selection does not exist, or the fileset is invalid.
    """
    fileset = {} if section.fileset is None else load_fileset(section.fileset)
    schema = schema_of(section, quarks)
    return InputPlan(
        section,
        schema,
        fileset,
        tuple(sources(section, fileset, search)),
        selection_fingerprint(schema.selection),
    )
