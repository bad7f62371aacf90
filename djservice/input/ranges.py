"""A range of entries of a file, whatever its format -> the arrays of its branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from djservice.core.redact import redacted, shareable
from djservice.core.suggest import listed
from djservice.errors import ChangedFileError, InputError, SchemaError
from djservice.input.branch_names import Branches, absent_branches, find_branches
from djservice.input.formats import opened
from djservice.input.open_file import OpenFile
from djservice.input.root_file import RootFile
from djservice.input.schemas import Schema
from djservice.input.truth import NO_QUARKS

if TYPE_CHECKING:
    from djservice.input.segments import Segment


def lacking(file: OpenFile, schema: Schema) -> tuple[str, ...]:
    """The optional branches that are missing."""
    return absent_branches(schema, file.has)


def branches_of(file: OpenFile, schema: Schema, place: str) -> Branches:
    """The branches to read: those that the schema needs, and the optional ones that exist.

    Raises
    ------
    SchemaError
        If a branch is missing.
    """

    def missing(name: str) -> SchemaError:
        advice = " ".join(filter(None, map(file.hint, schema.particles))) or (
            "Choose another schema, or name the branch in it (those of momenta in columns)."
        )
        if schema.quarks and name in schema.layout.generated.values():
            advice = NO_QUARKS
        return SchemaError(
            f"{place}: schema {schema.kind!r} needs branch {name!r}; {file.text} has "
            f"{listed(sorted(file.names), name)}. {advice}"
        )

    return find_branches(schema, file.has, missing)


@contextmanager
def _unchanged(segment: Segment, schema: Schema) -> Iterator[OpenFile]:
    """An open file, still the one that was inspected."""
    with opened(segment.path, schema, str(segment)) as file:
        _check_unchanged(file, segment)
        yield file


def _check_unchanged(file: OpenFile, segment: Segment) -> None:
    """Refuse a file that is not the one of the inspection, or is too short for the range."""
    facts: dict[str, Any] = {"bytes": file.size, "entries": file.entries, "UUID": file.uuid}
    expected: dict[str, Any] = {"entries or more": segment.stop}
    changed = facts["entries"] < segment.stop
    if segment.file is not None:
        recorded = {
            "bytes": segment.file.size,
            "entries": segment.file.entries,
            "UUID": segment.file.uuid,
        }
        # A server may report no size.
        expected = {unit: value for unit, value in recorded.items() if value and facts[unit]}
        changed = changed or any(facts[unit] != value for unit, value in expected.items())
    if changed:
        raise ChangedFileError(
            f"{segment}: expected {_named(expected)}, found "
            f"{_named({unit: facts[unit.split()[0]] for unit in expected})}: the file changed since it was "
            "inspected. Start again with the file as it is."
        )


def _named(quantities: Mapping[str, Any]) -> str:
    return ", ".join(
        f"UUID {value}" if unit == "UUID" else f"{value} {unit}"
        for unit, value in quantities.items()
    )


def arrays(segment: Segment, schema: Schema) -> tuple[Branches, dict[str, Any], int]:
    """Branches of a schema, their awkward arrays in a range of entries, and the bytes read.

    Raises
    ------
    MissingFileError, InputFileError
        If the file is missing, damaged, or not the one that was inspected.
    SchemaError
        If the tree or a branch is missing.
    """
    with _unchanged(segment, schema) as file:
        branches = branches_of(file, schema, str(segment))
        columns = file.arrays(list(branches), segment.start, segment.stop)
        return branches, columns, file.bytes_read


def bounds_within(segment: Segment, schema: Schema) -> list[int]:
    """Entries within a range at which a piece of a branch begins that is stored as a whole.

    They are baskets of a TTree, clusters of an RNTuple, row groups of Parquet and events of HepMC.
    Entries between two bounds are stored together, and are lost together if the file is damaged.

    Raises
    ------
    DjserviceError
        See :func:`arrays`.
    """
    with _unchanged(segment, schema) as file:
        names = None if schema.selection else list(branches_of(file, schema, str(segment)))
        bounds = set(file.bounds(names))
    return sorted(int(bound) for bound in bounds if segment.start < bound < segment.stop)


@contextmanager
def nano_events(segment: Segment, schema: Schema) -> Iterator[tuple[Any, OpenFile]]:
    """NanoEvents of a range of entries, and the open file.

    Branches are read when they are first used.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`arrays`; also if the file is not one of ROOT.
    """
    import coffea.nanoevents

    with _unchanged(segment, schema) as file:
        if not isinstance(file, RootFile) or not schema.layout.coffea:
            raise SchemaError(
                f"{segment}: expected a ROOT file, of whose tree coffea makes the NanoEvents that "
                "a selection needs. Leave out the selection, or select when you write the file."
            )
        schema_class = getattr(coffea.nanoevents, schema.layout.coffea)
        # The identity is optional here, and indices may point to missing collections.
        if issubclass(schema_class, coffea.nanoevents.NanoAODSchema):
            schema_class = type(
                schema_class.__name__,
                (schema_class,),
                {"warn_missing_crossrefs": False, "event_ids": []},
            )
        try:
            events = coffea.nanoevents.NanoEventsFactory.from_root(
                file.file,
                treepath=schema.tree,
                mode="virtual",
                entry_start=segment.start,
                entry_stop=segment.stop,
                schemaclass=schema_class,
            ).events()
        except OSError:
            raise
        except Exception as error:  # the tree is open, so its form is what coffea does not know
            raise SchemaError(
                f"{segment}: coffea's {schema.layout.coffea} cannot make NanoEvents of the tree "
                f"{schema.tree!r}, which a selection needs: {type(error).__name__}: "
                f"{redacted(str(error))}. Leave out the selection, or choose another schema."
            ) from shareable(error)
        yield events, file


def check_aligned(
    columns: Mapping[str, Any], branches: Sequence[str], path: str, start: int
) -> None:
    """Raise if branches list different numbers of particles."""
    import awkward as ak

    lists = [name for name in branches if columns[name].ndim == 2]  # other shapes are refused later
    counts = [ak.to_numpy(ak.num(columns[name], axis=1)) for name in lists]
    for name, count in zip(lists[1:], counts[1:], strict=True):
        if not np.array_equal(counts[0], count):
            index = int(np.flatnonzero(counts[0] != count)[0])
            raise InputError(
                f"{path}, entry {start + index}: expected as many values in branch {name!r} as in "
                f"{lists[0]!r}, found {count[index]} and {counts[0][index]}. Write the particles "
                "again."
            )
