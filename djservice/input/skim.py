"""A NanoAOD file -> a smaller one of ROOT with all events, particles above a pT, and generator truth."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from djservice.core.atomic import written_aside
from djservice.core.private import private_url
from djservice.core.regular import in_the_way
from djservice.errors import DjserviceError, InputFileError, SchemaError
from djservice.input.files import inspect
from djservice.input.formats import opened
from djservice.input.ranges import branches_of
from djservice.input.retries import patiently
from djservice.input.root_file import CUT
from djservice.input.schemas import Schema

#: Fields that are kept beside those that are read: coffea's particle schema needs the charge.
_MORE = ("charge", "pdgId", "puppiWeight")
#: NanoAOD's names of indices: GenPart_genPartIdxMother, JetPFCands_pFCandsIdx.
_INDEX = re.compile(r"_([^_]+?)Idx")
#: Events per read, as many as in a task of a run.
_STEP = 5_000


def skim(
    source: str, target: str | os.PathLike[str], schema: Schema, keep: Sequence[str] = ()
) -> Iterator[tuple[int, ...]]:
    """Write a skim, which replaces an existing target at the end.

    A run on the skim gives the same result, if its ``pt_min`` is not lower, the events have an
    identity, no particle weight is above 1, and ``keep`` names its further columns. The skim knows its cut, and reading it with a lower one warns.

    Parameters
    ----------
    source
        Path or URL of the file. URLs have the time limits and retries of a run.
    target
        Path of the skim.
    schema
        Tree, collections of particles, truth and ``pt_min``, from
        :func:`djservice.input.schemas.nanoaod`.
    keep
        Further branches, or fields of the collections.

    Yields
    ------
    tuple of int
        Events in the file; number of events written in this step; their particles before and after
        the cut.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`djservice.input.read.read`; also if the target cannot be written or is the
        source.
    """
    import uproot

    source, target = private_url(source), Path(target)
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise InputFileError(
            f"{target}: expected another file for the skim, found its source, which it would "
            "replace. Name another."
        )
    steps = _steps(source, schema, keep)
    first = next(steps)  # errors of the source are raised before anything is written
    if other := in_the_way(target, b"root"):
        raise InputFileError(
            f"{target}: expected no file or a ROOT file, found {other}, which would be lost. Name "
            "another."
        )
    try:
        with written_aside(target) as aside, uproot.recreate(aside) as written:
            written.mktree(schema.tree, {name: array.type for name, array in first[0].items()})
            cut = max(schema.pt_min, inspect(source, schema).pt_min)
            written[CUT] = json.dumps({"pt_min": cut})
            for columns, *numbers in itertools.chain([first], steps):
                written[schema.tree].extend(columns)
                yield tuple(numbers)
    except OSError as error:
        if isinstance(error, DjserviceError):
            raise
        raise InputFileError(
            f"{target}: the skim cannot be written: {error.strerror or error}."
        ) from error


def _collection(branch: str, collections: Sequence[str]) -> str:
    """The collection of a branch, the one with the longest name; empty if it is of none."""
    return max((c for c in collections if branch.startswith(f"{c}_")), key=len, default="")


def _refuse_indices(names: Sequence[str], schema: Schema, source: str) -> None:
    """Refuse indices, as of mothers, that point into collections of which particles are removed."""
    cut = {collection.lower() for collection in schema.particles} if schema.pt_min > 0.0 else set()
    for name in names:
        index = _INDEX.search(name)
        if index and index[1].lower() in cut:
            raise SchemaError(
                f"{source}: branch {name!r} has indices into a collection that pt_min cuts, which "
                "would point to others then. Leave out pt_min, or do not keep the branch."
            )


def _steps(
    source: str, schema: Schema, keep: Sequence[str]
) -> Iterator[tuple[dict[str, Any], int, int, int, int]]:
    """Columns of each step, and the numbers that :func:`skim` yields.

    A file without events has one empty step.
    """
    import awkward as ak

    names, total, uuid = patiently(lambda: _selected(source, schema, keep), source)

    def read(start: int, stop: int) -> tuple[dict[str, Any], int, int, int, int]:
        with opened(source, schema, f"{source}[{start}:{stop}]") as file:
            if file.uuid != uuid:
                raise InputFileError(
                    f"{source}: expected one file, found that another replaced it during the skim. "
                    "Start again."
                )
            columns = _collections(file.arrays(names, start, stop), names, schema)
        before = after = 0
        for collection in schema.particles:
            particles = columns[collection]
            columns[collection] = particles[particles.pt > schema.pt_min]
            before += int(ak.count(particles.pt))
            after += int(ak.count(columns[collection].pt))
        return columns, total, stop - start, before, after

    for start in range(0, total, _STEP) or [0]:
        yield patiently(functools.partial(read, start, min(start + _STEP, total)), source)


def _selected(source: str, schema: Schema, keep: Sequence[str]) -> tuple[list[str], int, str]:
    """The branches of a skim, the number of events of the file and its UUID."""
    with opened(source, schema, source) as file:
        selected = {*branches_of(file, schema, source), *keep}
        present = list(file.names)
        for name in (f"{collection}_pt" for collection in schema.particles):
            if name not in present:
                raise SchemaError(
                    f"{source}: expected a branch {name!r} to cut in, found none. A skim needs "
                    "the layout of NanoAOD in a TTree or in Parquet."
                )
        for name in keep:
            fields = [f"{collection}_{name}" for collection in schema.particles]
            if not {name, *fields} & set(present):
                raise SchemaError(
                    f"{source}: expected a branch {name!r} or {fields[0]!r} to keep, found "
                    "neither. Correct the name."
                )
        selected |= {
            f"{collection}_{field}" for collection in schema.particles for field in (*_MORE, *keep)
        }
        names = [name for name in present if name in selected or name.startswith("GenPart_")]
        _refuse_indices(names, schema, source)
        return names, file.entries, file.uuid


def _collections(arrays: Any, names: Sequence[str], schema: Schema) -> dict[str, Any]:
    """The branches of each collection as records, and the others as they are."""
    import awkward as ak

    of = {name: _collection(name, (*schema.particles, "GenPart")) for name in names}
    columns = {
        collection: ak.zip(
            {
                name.removeprefix(f"{collection}_"): arrays[name]
                for name in names
                if of[name] == collection
            }
        )
        for collection in dict.fromkeys(filter(None, of.values()))
    }
    return columns | {name: arrays[name] for name in names if not of[name]}
