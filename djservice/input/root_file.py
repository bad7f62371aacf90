"""One range of entries of one ROOT file -> the arrays of its branches, through uproot.

No other module opens input files. uproot is imported inside functions, because its import takes
half a second.
"""

from __future__ import annotations

import difflib
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from djservice.core.private import full_url
from djservice.core.redact import message_of, redacted, shareable
from djservice.core.regular import irregular
from djservice.core.urls import is_url
from djservice.errors import (
    ChangedFileError,
    DjserviceError,
    InputError,
    InputFileError,
    MissingFileError,
    SchemaError,
)
from djservice.input.branch_names import Branches, absent_branches, find_branches
from djservice.input.kept_trees import kept_tree
from djservice.input.schemas import Schema
from djservice.input.web_answers import wrong_answer

if TYPE_CHECKING:
    from djservice.input.segments import Segment

#: Errors that uproot was seen to raise on truncated or corrupted files, besides its own and
#: cramjam's: several thousand such files, with TTree and RNTuple and every compression.
_DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    struct.error,
    zlib.error,
)

#: The extras that read URLs.
_EXTRAS = {"root://": "xrootd", "s3://": "s3"}

#: Longest list of branches in a message.
_LISTED = 12


@contextmanager
def _damage_explained(url: str, place: str) -> Iterator[None]:
    """Turn errors of uproot and its decompressors on a bad file into one clear error."""
    import cramjam
    import uproot

    try:
        yield
    except DjserviceError:
        raise
    except FileNotFoundError:
        raise MissingFileError(
            f"{place}: there is no such file. Check the path, or remove it from the inputs."
        ) from None
    except ImportError as error:
        message = message_of(error)
        extra = next((name for scheme, name in _EXTRAS.items() if place.startswith(scheme)), None)
        raise InputFileError(
            f"{place}: expected a package that can read this file, found none: {message}."
            + (f" Here: pip install 'djservice[{extra}]'." if extra else "")
        ) from shareable(error)
    # Any library may raise on a URL: aiohttp's error for a lost connection is not an OSError.
    except Exception as error:
        damage = (*_DAMAGE, uproot.DeserializationError, cramjam.DecompressionError)
        if not is_url(place) and not isinstance(error, damage):
            raise
        message = redacted((str(error).strip() or "no message").splitlines()[0])
        if "no such file" in message.lower():  # XRootD reports a missing file this way
            raise MissingFileError(
                f"{place}: there is no such file on the server: {message}. Check the path."
            ) from None
        reason = wrong_answer(full_url(url)) or (
            "The file is not a ROOT file, is damaged, or cannot be accessed: copy it again, or "
            "remove it."
        )
        raise InputFileError(
            f"{place}: expected a readable ROOT file, found {type(error).__name__}: {message}. "
            f"{reason}"
        ) from shareable(error)


@contextmanager
def opened(path: str, place: str) -> Iterator[Any]:
    """An open ROOT file that is as long as its header says."""
    import uproot

    other = irregular(full_url(path).removeprefix("file://"))
    if other:
        raise InputFileError(
            f"{place}: expected a regular file, found {other}. Remove it from the inputs."
        )
    # A dict keeps a colon in the name from being read as "file:tree".
    with (
        _damage_explained(path, place),
        uproot.open({full_url(path): None}, array_cache=None) as file,
    ):
        size, expected = file.file.source.num_bytes, file.file.fEND
        if size is not None and size < expected:
            raise InputFileError(
                f"{place}: expected {expected} bytes from the header of the ROOT file, found "
                f"{size}: the file is truncated. Copy it again, or remove it."
            )
        yield file


@contextmanager
def opened_tree(path: str, schema: Schema, place: str) -> Iterator[tuple[Any, Any]]:
    """An open file, and the TTree or RNTuple of the schema in it."""
    with opened(path, place) as file:
        _check_has_tree(file, schema, place)
        with kept_tree(file, path, schema.tree) as tree:
            yield file, tree


def _check_has_tree(file: Any, schema: Schema, place: str) -> None:
    classes = file.classnames(cycle=False)
    trees = [
        name
        for name, kind in classes.items()
        if kind.startswith(("TTree", "TNtuple", "ROOT::RNTuple"))
    ]
    if schema.tree not in trees:
        raise SchemaError(
            f"{place}: expected a tree {schema.tree!r}, found {_listed(trees, schema.tree)}. "
            "Name the tree in the schema (tree=...), or give other files."
        )


def lacking(tree: Any, schema: Schema) -> tuple[str, ...]:
    """The optional branches that are missing."""
    return absent_branches(schema, _names(tree).__contains__)


def branches_of(tree: Any, schema: Schema, place: str) -> Branches:
    """The branches to read: those that the schema needs, and the optional ones that exist."""
    present = _names(tree)

    def missing(name: str) -> SchemaError:
        return SchemaError(
            f"{place}: schema {schema.kind!r} needs branch {name!r}; the tree {schema.tree!r} has "
            f"{_listed(sorted(present), name)}. Choose another schema, or name the branch in it "
            "(those of momenta in columns)."
        )

    return find_branches(schema, present.__contains__, missing)


def _names(tree: Any) -> dict[str, str]:
    """All branches, and their names in the file; a nested branch has its short name.

    Fields of records in an RNTuple are "PFCands.pt". ATLAS writes "AuxDyn:pt" into one for what is
    "AuxDyn.pt" in a TTree.
    """
    names = tree.keys(full_paths=_is_rntuple(tree))
    return {re.sub(r"(Aux|AuxDyn):", r"\1.", name): name for name in names}


def _is_rntuple(tree: Any) -> bool:
    return hasattr(tree, "cluster_summaries")


def _listed(names: Sequence[str], target: str) -> str:
    """Names for a message, those most similar to ``target`` first."""
    if not names:
        return "none"
    nearest = sorted(
        names, key=lambda name: -difflib.SequenceMatcher(None, name.lower(), target.lower()).ratio()
    )
    more = f" and {len(nearest) - _LISTED} more" if len(nearest) > _LISTED else ""
    return ", ".join(repr(name) for name in nearest[:_LISTED]) + more


@contextmanager
def _unchanged_tree(segment: Segment, schema: Schema) -> Iterator[tuple[Any, Any]]:
    """An open file, still the one that was inspected, and its tree."""
    place = str(segment)
    with opened_tree(segment.path, schema, place) as (file, tree):
        _check_unchanged(file, tree, segment)
        yield file, tree


def _check_unchanged(file: Any, tree: Any, segment: Segment) -> None:
    """Refuse a file that is not the one of the inspection, or is too short for the range."""
    facts: dict[str, Any] = {
        "bytes": int(file.file.source.num_bytes or 0),
        "entries": int(tree.num_entries),
        "UUID": str(file.file.uuid),
    }
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
    with _unchanged_tree(segment, schema) as (file, tree):
        branches = branches_of(tree, schema, str(segment))
        in_file = _names(tree)
        names = {in_file[name]: name for name in branches}
        columns: dict[str, Any] = tree.arrays(
            filter_name=names.__contains__,
            entry_start=segment.start,
            entry_stop=segment.stop,
            how=dict,
        )
        columns = {name: _field(columns, place) for place, name in names.items()}
        return branches, columns, int(file.file.source.num_requested_bytes)


def _field(columns: Mapping[str, Any], name: str) -> Any:
    """A branch among those that were read, or a field of the records of an RNTuple."""
    if name in columns:
        return columns[name]
    head, *path = name.split(".")
    array = columns[head]
    for part in path:
        array = array[part]
    return array


def basket_bounds(segment: Segment, schema: Schema) -> list[int]:
    """Entries within a range at which a basket of a branch begins, or a cluster of an RNTuple.

    Entries between two bounds are stored together, and are lost together if the file is damaged.

    Raises
    ------
    DjserviceError
        See :func:`arrays`.
    """
    with _unchanged_tree(segment, schema) as (_, tree):
        if _is_rntuple(tree):
            bounds = {cluster.num_first_entry for cluster in tree.cluster_summaries}
        else:
            read = None if schema.selection else branches_of(tree, schema, str(segment))
            names = None if read is None else {_names(tree)[name] for name in read}
            branches = tree.itervalues(filter_name=names and names.__contains__)
            bounds = {bound for branch in branches for bound in branch.entry_offsets}
    return sorted(int(bound) for bound in bounds if segment.start < bound < segment.stop)


@contextmanager
def nano_events(segment: Segment, schema: Schema) -> Iterator[tuple[Any, Any]]:
    """NanoEvents of a range of entries, and the open file.

    Branches are read when they are first used.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`arrays`.
    """
    import coffea.nanoevents

    with _unchanged_tree(segment, schema) as (file, _):
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
                file,
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
