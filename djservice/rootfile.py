"""One range of entries of one ROOT file -> flat columns, through uproot and coffea's NanoEvents.

The only place that opens files. Both are imported where they are used: they take a second.
"""

from __future__ import annotations

import difflib
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.errors import DjserviceError, InputError, InputFileError, MissingFileError, SchemaError
from djservice.redact import redacted
from djservice.schemas import DEFAULT_WEIGHT, IDENTITY, Schema
from djservice.truth import branches, generated_mass

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
        raise InputFileError(f"{place}: expected a package that can read this file, found none: {found}.") from error
    except (*_DAMAGE, uproot.DeserializationError, cramjam.DecompressionError) as error:
        found = (str(error).strip() or "no message").splitlines()[0]
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
    trees = [name for name, kind in classes.items() if kind.startswith(("TTree", "TNtuple", "ROOT::RNTuple"))]
    if schema.tree not in trees:
        raise SchemaError(
            f"{place}: expected a tree {schema.tree!r}, found {_listed(trees, schema.tree)}. "
            "Name the tree in the schema (tree=...), or give other files."
        )
    return file[schema.tree]


def branches_to_read(tree: Any, schema: Schema, place: str) -> list[str]:
    """The branches to read: those that the schema needs and those that it uses when they are there."""
    present = set(tree.keys())
    for name in schema.required:
        if name not in present:
            raise SchemaError(
                f"{place}: schema {schema.kind!r} needs branch {name!r}; the tree {schema.tree!r} has "
                f"{_listed(sorted(present), name)}. Choose another schema, or name the branch in it."
            )
    identity = IDENTITY if present.issuperset(IDENTITY) else ()
    weight = (DEFAULT_WEIGHT,) if schema.weight == DEFAULT_WEIGHT and DEFAULT_WEIGHT in present else ()
    return list(dict.fromkeys((*identity, *weight, *schema.required)))


def _listed(names: Sequence[str], wanted: str) -> str:
    """Names in words, those most like ``wanted`` first."""
    if not names:
        return "none"
    nearest = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, name.lower(), wanted.lower()).ratio())
    more = f" and {len(nearest) - _LISTED} more" if len(nearest) > _LISTED else ""
    return ", ".join(repr(name) for name in nearest[:_LISTED]) + more


def columns(path: str, start: int, stop: int, schema: Schema) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Flat columns of entries ``start`` to ``stop``, by branch name, and the offsets of the particles.

    Raises
    ------
    MissingFileError, InputFileError
        If the file is missing, damaged, or shorter than ``stop``.
    SchemaError
        If the tree or a branch is missing, or a branch holds something else than numbers of the shape needed.
    InputError
        If the particle branches disagree on the number of particles.
    """
    import awkward as ak

    place = f"{path}[{start}:{stop}]"
    with opened(path, place) as file:
        tree = find_tree(file, schema, place)
        if stop > tree.num_entries:
            raise InputFileError(
                f"{place}: expected {stop} entries or more, found {tree.num_entries}: the file changed since "
                "it was inspected. Start again with the file as it is."
            )
        names = branches_to_read(tree, schema, place)
        events = _nano_events(file, tree, schema, names, start, stop)
        of_particle = list(schema.particle_branches.values())
        of_event = [name for name in names if name in (*IDENTITY, schema.weight, schema.truth)]
        wanted = dict.fromkeys(of_particle, 2) | dict.fromkeys(of_event, 1)
        arrays = {name: event_array(events, name, ndim, place) for name, ndim in wanted.items()}
        of_gen = {name: event_array(events, name, 2, place) for name in branches(schema.truth)}
        _check_aligned(tree, of_particle, path, start, stop)
    counts = ak.to_numpy(ak.num(arrays[of_particle[0]], axis=1))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    flat = {name: ak.to_numpy(ak.flatten(array, axis=None)) for name, array in arrays.items()}
    if of_gen:
        flat[str(schema.truth)] = generated_mass(str(schema.truth), of_gen, place, start)
    return flat, offsets


def _nano_events(file: Any, tree: Any, schema: Schema, names: list[str], start: int, stop: int) -> Any:
    """coffea's events, with the branches asked for and no others."""
    import uproot
    from coffea.nanoevents import NanoEventsFactory

    shared = _shared_counter(tree, list(schema.particle_branches.values()))
    # Without a counter that all share, coffea takes the offsets of the branches themselves.
    wanted = [*names, shared] if shared == f"n{schema.particles}" else names
    is_tree = isinstance(tree, uproot.behaviors.TTree.TTree)
    factory = NanoEventsFactory.from_root(
        file,
        treepath=schema.tree,
        mode="virtual",
        entry_start=start,
        entry_stop=stop,
        schemaclass=_coffea_schema(schema),
        iteritems_options={"filter_name": wanted},
        # One request for all branches, which counts on remote storage; coffea can do that for a TTree only.
        preload=wanted if is_tree else None,
    )
    return factory.events()


def _coffea_schema(schema: Schema) -> Any:
    """coffea's schema, silent on what this package does not read."""
    from coffea.nanoevents import NanoAODSchema, PFNanoAODSchema

    base = NanoAODSchema if schema.kind == "nanoaod" else PFNanoAODSchema
    quiet: dict[str, Any] = {
        "warn_missing_crossrefs": False,
        "event_ids": [],  # identity is optional here
        "full_like_items": {},  # coffea would replace the masses and charges of some collections by 0
    }
    if schema.kind == "nanoaod":
        quiet["mixins"] = {}  # behaviours need more fields than the four that are read
    return type(f"Quiet{base.__name__}", (base,), quiet)


def event_array(events: Any, branch: str, ndim: int, place: str) -> Any:
    """One branch of NanoEvents in memory: ``Jet_pt`` is field ``pt`` of collection ``Jet``."""
    import awkward as ak

    collection, _, field = branch.partition("_")
    if collection not in events.fields or (field and field not in events[collection].fields):
        raise SchemaError(
            f"{place}: branch {branch!r} is hidden, in coffea's schema, behind another branch that begins with "
            f"{collection!r}. Rename one of them."
        )
    array = ak.materialize(events[collection][field] if field else events[collection])
    number = (
        array.ndim == ndim and not array.fields and ak.to_numpy(ak.flatten(array, axis=None)[:1]).dtype.kind in "biuf"
    )
    if not number:
        expected = "one list of numbers per event" if ndim == 2 else "one number per event"
        raise SchemaError(
            f"{place}: expected {expected} in branch {branch!r}, found {array.type}. Name another branch in the schema."
        )
    return array


def _shared_counter(tree: Any, branches: Sequence[str]) -> str | None:
    """The branch that counts the particles of all ``branches``; None if each counts its own."""
    counters = {getattr(getattr(tree[name], "count_branch", None), "name", None) for name in branches}
    return counters.pop() if len(counters) == 1 else None


def _check_aligned(tree: Any, branches: Sequence[str], path: str, start: int, stop: int) -> None:
    """Raise if branches list different numbers of particles, which coffea would read shifted without a word."""
    import awkward as ak

    if _shared_counter(tree, branches) is not None:
        return
    first, *others = (
        ak.to_numpy(ak.num(tree[name].array(entry_start=start, entry_stop=stop), axis=1)) for name in branches
    )
    for name, counts in zip(branches[1:], others, strict=True):
        if not np.array_equal(first, counts):
            at = int(np.flatnonzero(first != counts)[0])
            raise InputError(
                f"{path}, entry {start + at}: expected as many values in branch {name!r} as in "
                f"{branches[0]!r}, found {counts[at]} and {first[at]}. Write the particles again."
            )
