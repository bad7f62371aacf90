"""A NanoAOD file -> a smaller one with what djservice reads: all events, particles above a pT, generated particles."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from djservice.core.atomic import written_aside
from djservice.errors import DjserviceError, InputFileError
from djservice.input.retries import patiently
from djservice.input.root_file import branches_of, find_tree, opened
from djservice.input.schemas import Schema

#: Kept where they are there, besides what is read: coffea's schema of particles wants the charge.
_MORE = ("charge", "pdgId")
#: Events that are read at a time: as many as a task of a run does.
_STEP = 5_000


def skim(source: str, target: str | os.PathLike[str], schema: Schema) -> Iterator[tuple[int, ...]]:
    """Write a skim; it is there at the end, whole, and replaces what was there.

    A run learns the same from it as long as it asks for no lower pT and events have an identity.

    Parameters
    ----------
    source
        A path; or a URL, which is read with the time limits and retries of a run.
    target
        A path.
    schema
        Of :func:`djservice.input.schemas.nanoaod`: tree, collections of particles, truth, and ``pt_min``.

    Yields
    ------
    Events in the file; and of the next events that are written, how many, and their particles before and after.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        As :func:`djservice.input.read`, or if the target cannot be written or is the source.
    """
    import uproot

    target = Path(target)
    if target.exists() and os.path.exists(source) and target.samefile(source):
        raise InputFileError(
            f"{target}: expected another file for the skim, found its source, which it would replace. Name another."
        )
    steps = _steps(source, schema)
    first = next(steps)  # what is wrong with the source comes before anything is written
    try:
        with written_aside(target) as aside, uproot.recreate(aside) as written:
            written.mktree(schema.tree, {name: array.type for name, array in first[0].items()})
            for columns, *numbers in itertools.chain([first], steps):
                written[schema.tree].extend(columns)
                yield tuple(numbers)
    except OSError as error:
        if isinstance(error, DjserviceError):
            raise
        raise InputFileError(
            f"{target}: the skim cannot be written: {error.strerror or error}."
        ) from error


def _steps(source: str, schema: Schema) -> Iterator[tuple[dict[str, Any], int, int, int, int]]:
    """Columns of the next events, one of no events if there are none, and the numbers of :func:`skim`."""
    import awkward as ak

    def look() -> tuple[list[str], int, str]:
        with opened(source, source) as file:
            tree = find_tree(file, schema, source)
            wanted = {*branches_of(tree, schema, source)}
            wanted |= {
                f"{collection}_{field}" for collection in schema.particles for field in _MORE
            }
            names = [
                name for name in list(tree.keys()) if name in wanted or name.startswith("GenPart_")
            ]
            return names, int(tree.num_entries), str(file.file.uuid)

    def read(start: int, stop: int) -> tuple[dict[str, Any], int, int, int, int]:
        with opened(source, f"{source}[{start}:{stop}]") as file:
            if str(file.file.uuid) != uuid:
                raise InputFileError(
                    f"{source}: expected one file, found another in its place meanwhile. Start again."
                )
            step = file[schema.tree].arrays(names, entry_start=start, entry_stop=stop)
            columns = {}
            for collection in (*schema.particles, "GenPart"):
                own = [name for name in names if name.startswith(f"{collection}_")]
                if own:
                    columns[collection] = ak.zip(
                        {name.partition("_")[2]: step[name] for name in own}
                    )
            columns |= {name: step[name] for name in names if name.partition("_")[0] not in columns}
            before = after = 0
            for collection in schema.particles:
                particles = columns[collection]
                columns[collection] = particles[particles.pt > schema.pt_min]
                before += int(ak.count(particles.pt))
                after += int(ak.count(columns[collection].pt))
            return columns, total, len(step), before, after

    names, total, uuid = patiently(look, source)
    for start in range(0, total, _STEP) or [0]:
        yield patiently(functools.partial(read, start, min(start + _STEP, total)), source)
