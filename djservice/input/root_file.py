"""One range of entries of one ROOT file -> the arrays of its branches, through uproot.

The only place that opens files. uproot is imported where it is used: it takes half a second.
"""

from __future__ import annotations

import difflib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from djservice.core.redact import redacted
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

#: What uproot was seen to raise on files that are cut or have wrong bytes, besides its own and cramjam's errors.
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
)  # several thousand cut and overwritten files, TTree and RNTuple, every compression

#: The extras that read URLs.
_EXTRAS = {"root://": "xrootd", "s3://": "s3"}

#: Branches that a message lists before it says how many more there are.
_LISTED = 12


@contextmanager
def _damage_explained(place: str) -> Iterator[None]:
    """Turn what uproot and its decompressors raise on a bad file into one clear error."""
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
        found = " ".join(str(error).split())
        extra = next((name for scheme, name in _EXTRAS.items() if place.startswith(scheme)), None)
        raise InputFileError(
            f"{place}: expected a package that can read this file, found none: {found}."
            + (f" Here: pip install 'djservice[{extra}]'." if extra else "")
        ) from error
    except (
        Exception
    ) as error:  # that of a URL may be of any library: a cut connection is no OSError to aiohttp
        damage = (*_DAMAGE, uproot.DeserializationError, cramjam.DecompressionError)
        if not is_url(place) and not isinstance(error, damage):
            raise
        found = (str(error).strip() or "no message").splitlines()[0]
        if "no such file" in found.lower():  # as XRootD says it
            raise MissingFileError(
                f"{place}: there is no such file on the server: {found}. Check the path."
            ) from None
        raise InputFileError(
            f"{place}: expected a readable ROOT file, found {type(error).__name__}: {found}. "
            "The file is not a ROOT file, is damaged, or cannot be accessed: copy it again, or remove it."
        ) from error


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Redact the errors that quote the URL of a file: they travel to logs and pages."""
    try:
        yield
    except Exception as error:
        if redacted(str(error)) == str(error):
            raise
        kind = type(error) if isinstance(error, DjserviceError) else InputFileError
        raise kind(redacted(str(error))) from None


@contextmanager
def opened(path: str, place: str) -> Iterator[Any]:
    """An open ROOT file that is as long as its header says."""
    import uproot

    # A dict keeps a colon in the name from being read as "file:tree".
    with _without_secrets(), _damage_explained(place), uproot.open({path: None}) as file:
        found, expected = file.file.source.num_bytes, file.file.fEND
        if found is not None and found < expected:
            raise InputFileError(
                f"{place}: expected {expected} bytes from the header of the ROOT file, found {found}: "
                "the file is truncated. Copy it again, or remove it."
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
    """The branches to read: those that the schema needs and those that it uses when they are there."""
    present = set(_names(tree))

    def missing(name: str) -> SchemaError:
        return SchemaError(
            f"{place}: schema {schema.kind!r} needs branch {name!r}; the tree {schema.tree!r} has "
            f"{_listed(sorted(present), name)}. Choose another schema, or name the branch in it."
        )

    return find_branches(schema, present.__contains__, missing)


def _names(tree: Any) -> list[str]:
    """All branches, those within others by their own name."""
    names: list[str] = tree.keys(full_paths=False)
    return names


def _listed(names: Sequence[str], wanted: str) -> str:
    """Names in words, those most like ``wanted`` first."""
    if not names:
        return "none"
    nearest = sorted(
        names, key=lambda name: -difflib.SequenceMatcher(None, name.lower(), wanted.lower()).ratio()
    )
    more = f" and {len(nearest) - _LISTED} more" if len(nearest) > _LISTED else ""
    return ", ".join(repr(name) for name in nearest[:_LISTED]) + more


def arrays(
    path: str, start: int, stop: int, schema: Schema
) -> tuple[Branches, dict[str, Any], int]:
    """The branches to read, their awkward arrays of entries ``start`` to ``stop``, read in one request, and the bytes that it took.

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
        wanted = set(branches)
        found: dict[str, Any] = tree.arrays(
            filter_name=wanted.__contains__, entry_start=start, entry_stop=stop, how=dict
        )
        bytes_read = int(file.file.source.num_requested_bytes)
    for fields in branches.particles:
        _check_aligned(found, list(fields.values()), path, start)
    return branches, found, bytes_read


@contextmanager
def nano_events(path: str, start: int, stop: int, schema: Schema) -> Iterator[tuple[Any, Any]]:
    """NanoEvents of entries ``start`` to ``stop``, whose branches are read when they are asked for, and the open file.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        As :func:`arrays`.
    """
    import coffea.nanoevents

    place = f"{path}[{start}:{stop}]"
    with opened(path, place) as file:
        tree = find_tree(file, schema, place)
        if stop > tree.num_entries:
            raise _shorter(place, stop, tree.num_entries)
        made = getattr(coffea.nanoevents, schema.layout.coffea)
        if issubclass(
            made, coffea.nanoevents.NanoAODSchema
        ):  # identity is optional here, and indices may lead nowhere
            made = type(made.__name__, (made,), {"warn_missing_crossrefs": False, "event_ids": []})
        factory = coffea.nanoevents.NanoEventsFactory.from_root(
            file,
            treepath=schema.tree,
            mode="virtual",
            entry_start=start,
            entry_stop=stop,
            schemaclass=made,
        )
        yield factory.events(), file


def _shorter(place: str, expected: int, found: int) -> InputFileError:
    return InputFileError(
        f"{place}: expected {expected} entries or more, found {found}: the file changed since "
        "it was inspected. Start again with the file as it is."
    )


def _check_aligned(
    found: Mapping[str, Any], branches: Sequence[str], path: str, start: int
) -> None:
    """Raise if branches list different numbers of particles."""
    import awkward as ak

    lists = [name for name in branches if found[name].ndim == 2]  # others are refused later
    counts = [ak.to_numpy(ak.num(found[name], axis=1)) for name in lists]
    for name, own in zip(lists[1:], counts[1:], strict=True):
        if not np.array_equal(counts[0], own):
            at = int(np.flatnonzero(counts[0] != own)[0])
            raise InputError(
                f"{path}, entry {start + at}: expected as many values in branch {name!r} as in "
                f"{lists[0]!r}, found {own[at]} and {counts[0][at]}. Write the particles again."
            )
