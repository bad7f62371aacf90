"""One range of entries of one ROOT file -> the arrays of its branches, through uproot.

No other module opens input files. uproot is imported inside functions, because its import takes
half a second.
"""

from __future__ import annotations

import difflib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from djservice.core.private import full_url
from djservice.core.redact import message_of, redacted, shareable
from djservice.core.regular import irregular
from djservice.core.urls import is_url
from djservice.errors import (
    DjserviceError,
    InputError,
    InputFileError,
    MissingFileError,
    SchemaError,
)
from djservice.input.branches import Branches, find_branches
from djservice.input.schemas import Schema

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
def _damage_explained(place: str) -> Iterator[None]:
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
        raise InputFileError(
            f"{place}: expected a readable ROOT file, found {type(error).__name__}: {message}. "
            "The file is not a ROOT file, is damaged, or cannot be accessed: copy it again, or "
            "remove it."
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
    with _damage_explained(place), uproot.open({full_url(path): None}) as file:
        size, expected = file.file.source.num_bytes, file.file.fEND
        if size is not None and size < expected:
            raise InputFileError(
                f"{place}: expected {expected} bytes from the header of the ROOT file, found "
                f"{size}: the file is truncated. Copy it again, or remove it."
            )
        yield file


def find_tree(file: Any, schema: Schema, place: str) -> Any:
    """The TTree or RNTuple of the schema."""
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
    return file[schema.tree]


def branches_of(tree: Any, schema: Schema, place: str) -> Branches:
    """The branches to read: those that the schema needs, and the optional ones that exist."""
    present = set(_names(tree))

    def missing(name: str) -> SchemaError:
        return SchemaError(
            f"{place}: schema {schema.kind!r} needs branch {name!r}; the tree {schema.tree!r} has "
            f"{_listed(sorted(present), name)}. Choose another schema, or name the branch in it."
        )

    return find_branches(schema, present.__contains__, missing)


def _names(tree: Any) -> list[str]:
    """All branches; a nested branch has its short name."""
    names: list[str] = tree.keys(full_paths=False)
    return names


def _listed(names: Sequence[str], target: str) -> str:
    """Names for a message, those most similar to ``target`` first."""
    if not names:
        return "none"
    nearest = sorted(
        names, key=lambda name: -difflib.SequenceMatcher(None, name.lower(), target.lower()).ratio()
    )
    more = f" and {len(nearest) - _LISTED} more" if len(nearest) > _LISTED else ""
    return ", ".join(repr(name) for name in nearest[:_LISTED]) + more


def arrays(
    path: str, start: int, stop: int, schema: Schema
) -> tuple[Branches, dict[str, Any], int]:
    """Branches of a schema, their awkward arrays of entries ``start`` to ``stop``, and bytes read.

    Raises
    ------
    MissingFileError, InputFileError
        If the file is missing, damaged, or shorter than ``stop``.
    SchemaError
        If the tree or a branch is missing.
    InputError
        If the particle branches of a collection disagree on the number of particles.
    """
    place = f"{path}[{start}:{stop}]"
    with opened(path, place) as file:
        tree = find_tree(file, schema, place)
        if stop > tree.num_entries:
            raise _shorter(place, stop, tree.num_entries)
        branches = branches_of(tree, schema, place)
        names = set(branches)
        columns: dict[str, Any] = tree.arrays(
            filter_name=names.__contains__, entry_start=start, entry_stop=stop, how=dict
        )
        bytes_read = int(file.file.source.num_requested_bytes)
    for fields in branches.particles:
        _check_aligned(columns, list(fields.values()), path, start)
    return branches, columns, bytes_read


@contextmanager
def nano_events(path: str, start: int, stop: int, schema: Schema) -> Iterator[tuple[Any, Any]]:
    """NanoEvents of entries ``start`` to ``stop``, and the open file.

    Branches are read when they are first used.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`arrays`.
    """
    import coffea.nanoevents

    place = f"{path}[{start}:{stop}]"
    with opened(path, place) as file:
        tree = find_tree(file, schema, place)
        if stop > tree.num_entries:
            raise _shorter(place, stop, tree.num_entries)
        schema_class = getattr(coffea.nanoevents, schema.layout.coffea)
        # The identity is optional here, and indices may point to missing collections.
        if issubclass(schema_class, coffea.nanoevents.NanoAODSchema):
            schema_class = type(
                schema_class.__name__,
                (schema_class,),
                {"warn_missing_crossrefs": False, "event_ids": []},
            )
        factory = coffea.nanoevents.NanoEventsFactory.from_root(
            file,
            treepath=schema.tree,
            mode="virtual",
            entry_start=start,
            entry_stop=stop,
            schemaclass=schema_class,
        )
        yield factory.events(), file


def _shorter(place: str, expected: int, entries: int) -> InputFileError:
    return InputFileError(
        f"{place}: expected {expected} entries or more, found {entries}: the file changed since "
        "it was inspected. Start again with the file as it is."
    )


def _check_aligned(
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
