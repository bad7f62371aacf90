"""Entry ranges of files -> EventBatch.

:func:`read` does all steps in one process. The service runs the steps separately: :func:`expand`
the patterns, :func:`inspect` each file, cut them into :func:`segments`, :func:`read_segments` in
many tasks, then :func:`repeated_keys` over all events and :func:`tell_apart` in each task.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.core.arguments import checked_arguments
from djservice.core.urls import basename
from djservice.core.warn import warn
from djservice.errors import InputError, InputWarning
from djservice.events.batch import EventBatch
from djservice.events.checks import check_counts, say_doubts
from djservice.events.keys import Keys, entry_keys
from djservice.input.branch_names import Branches
from djservice.input.branches import Get, batch_of
from djservice.input.cutflow import Cutflow, absent_text
from djservice.input.files import differences, expand, inspect
from djservice.input.nanoevents import branches_of_events
from djservice.input.ranges import arrays, check_aligned, nano_events
from djservice.input.repeats import MOST_FOLDERS, repeated_keys, tell_apart
from djservice.input.retries import TIMEOUT, patiently
from djservice.input.schemas import Schema, nanoaod
from djservice.input.segments import Segment, segments
from djservice.input.selections import select


@checked_arguments
def read(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    schema: Schema | None = None,
    entries: tuple[int, int] | None = None,
    dataset: str = "",
) -> EventBatch:
    """Read events into one batch.

    Parameters
    ----------
    files
        Paths, globs, URLs or ``example:<name>``; one or several.
    schema
        Which branches to read, and the cuts on particles; ``schemas.nanoaod()`` by default.
    entries
        Range ``(start, stop)`` of entries, counted over all files in order; all by default.
    dataset
        Name of the dataset, a part of the identity of the events.

    Returns
    -------
    EventBatch
        The events as float64, whatever the precision of the file. Events without particles are
        kept.

    Raises
    ------
    MissingFileError
        If a pattern matches nothing.
    InputFileError
        If a file is of another format than its name says, or is damaged.
    SchemaError
        If the tree or a branch is missing.
    InputError
        If there are no events, the range exceeds them, or a particle or a weight is invalid.

    Warns
    -----
    UserWarning
        If some files lack the identity that others have, or events share an identity. Their draws
        are then keyed by file name and entry, and where files have one name also by their folders.
        Also if files lack a further column of the schema.
    """
    schema = nanoaod() if schema is None else schema
    if not isinstance(schema, Schema):
        raise InputError(
            f"schema is {schema!r}, expected a schema such as "
            "djservice.schemas.nanoaod(pt_min=0.5)."
        )
    patterns = [files] if isinstance(files, (str, os.PathLike)) else files
    if not isinstance(patterns, Sequence) or not all(
        isinstance(pattern, (str, os.PathLike)) for pattern in patterns
    ):
        raise InputError(f"files is {files!r}, expected a path, or a list of paths.")
    inputs = [
        inspect(path, schema) for path in expand([os.fspath(pattern) for pattern in patterns])
    ]
    for difference in differences(inputs, schema):
        warn(difference)
    total = sum(file.entries for file in inputs)
    (bundle,) = segments(inputs, entries, max(total, 1))
    batch, cutflow = read_with_cutflow(bundle, schema, dataset)
    say_doubts(batch)
    for name, number in cutflow.absent:
        text = f"{absent_text(name, number)}: the schema names {schema.columns[name]!r}."
        warn(text, InputWarning)
    repeated = repeated_keys(batch.key)
    if len(repeated):
        _warn_repeated(batch, repeated)
    for folders in range(MOST_FOLDERS + 1):
        if len(repeated) == 0:
            break
        batch = tell_apart(batch, repeated, folders)
        repeated = repeated_keys(batch.key)
    if len(repeated):
        first, second = np.flatnonzero(batch.key == repeated[0])[:2]
        raise InputError(
            f"{batch.name(int(first))} and {batch.name(int(second))} are known by the same file "
            f"and entry: their last {MOST_FOLDERS} folders have the same names. List the file once."
        )
    return batch


def read_segments(segments: Sequence[Segment], schema: Schema, dataset: str = "") -> EventBatch:
    """One batch of the events of several entry ranges, in order.

    Repeated identities stay unchanged.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError, InputError
        See :func:`read`.
    """
    return read_with_cutflow(segments, schema, dataset)[0]


def read_with_cutflow(
    segments: Sequence[Segment],
    schema: Schema,
    dataset: str = "",
    timeout: float = TIMEOUT,
    columns: Columns | None = None,
) -> tuple[EventBatch, Cutflow]:
    """The batch of :func:`read_segments`, and its cutflow.

    One attempt at a range of a URL may take ``timeout`` seconds. Ranges that ``columns`` hold are
    not read again.
    """
    parts = [_read_segment(segment, schema, dataset, timeout, columns) for segment in segments]
    return EventBatch.concatenate([batch for batch, _ in parts]), sum(
        (cutflow for _, cutflow in parts), Cutflow()
    )


def _warn_repeated(batch: EventBatch, repeated: Keys) -> None:
    shared = np.isin(batch.key, repeated)
    first, second = np.flatnonzero(batch.key == repeated[0])[:2]
    warn(
        f"{int(shared.sum())} of {len(batch)} events share their identity with another, for "
        f"example {batch.name(int(first))} and {batch.name(int(second))}: their random draws are "
        "keyed by file and entry."
    )


@dataclass
class Columns:
    """The arrays of a range of entries, from which batches of its parts are made.

    Attributes
    ----------
    segment, branches, arrays
        The range, the branches, and their arrays of its entries.
    bytes_read
        Bytes that were read for it.
    """

    segment: Segment
    branches: Branches
    arrays: dict[str, Any]
    bytes_read: int

    def holds(self, part: Segment) -> bool:
        """Whether ``part`` is a part of the range."""
        whole = self.segment
        same = (part.path, part.tree) == (whole.path, whole.tree)
        return same and whole.start <= part.start and part.stop <= whole.stop

    def batch(
        self, part: Segment, schema: Schema, dataset: str
    ) -> tuple[EventBatch, dict[str, int]]:
        """The events of a part, and the particles that each cut removes."""
        rows = slice(part.start - self.segment.start, part.stop - self.segment.start)
        columns = {name: array[rows] for name, array in self.arrays.items()}
        for fields in self.branches.particles:
            check_aligned(columns, list(fields.values()), part.path, part.start)
        entries = np.arange(part.start, part.stop)
        return _batch(part, schema, dataset, self.branches, columns.__getitem__, entries)


def of_tree(schema: Schema, segment: Segment) -> Schema:
    """The schema for the tree of a range."""
    if segment.tree is None:
        return schema
    return schema.model_copy(update={"tree": segment.tree})


def read_columns(segment: Segment, schema: Schema, timeout: float = TIMEOUT) -> Columns:
    """The arrays of a range of entries, for a schema without a selection.

    Raises
    ------
    MissingFileError, InputFileError, SchemaError
        See :func:`read`.
    """

    def read() -> Columns:
        return Columns(segment, *arrays(segment, of_tree(schema, segment)))

    return patiently(read, segment.path, timeout)


def _read_segment(
    segment: Segment, schema: Schema, dataset: str, timeout: float, columns: Columns | None = None
) -> tuple[EventBatch, Cutflow]:
    """The events of a range and its cutflow; from ``columns`` if they hold it."""
    start, bytes_read = time.perf_counter(), 0
    schema = of_tree(schema, segment)
    entries = np.arange(segment.start, segment.stop)
    if schema.selection is not None:
        batch, removed, bytes_read = patiently(
            lambda: _read_selected(segment, schema, dataset), segment.path, timeout
        )
    else:
        if columns is None or not columns.holds(segment):
            columns = read_columns(segment, schema, timeout)
            bytes_read = columns.bytes_read
        batch, removed = columns.batch(segment, schema, dataset)
    # Checked on reading, and not on clustering, so that quarantine can leave out too large an
    # event.
    check_counts(batch)
    particles = len(batch.pt) + sum(removed.values())
    seconds = time.perf_counter() - start
    return batch, Cutflow(
        len(entries),
        particles,
        tuple(removed.items()),
        bytes_read,
        seconds,
        absent=tuple((n, len(entries)) for n in schema.further if n not in batch.columns),
        doubts=batch.doubts,
    )


def _read_selected(
    segment: Segment, schema: Schema, dataset: str
) -> tuple[EventBatch, dict[str, int], int]:
    """The events that the schema's selection lets through."""
    assert schema.selection is not None
    with nano_events(segment, schema) as (events, file):
        chosen, entries = select(events, schema.selection, str(segment), segment.start)
        branches, get = branches_of_events(chosen, schema, str(segment))
        batch, removed = _batch(segment, schema, dataset, branches, get, entries)
        return batch, removed, file.bytes_read


def _batch(
    segment: Segment,
    schema: Schema,
    dataset: str,
    branches: Branches,
    get: Get,
    entries: NDArray[np.int64],
) -> tuple[EventBatch, dict[str, int]]:
    source = str(segment.path)
    batch, removed = batch_of(
        branches, get, schema, place=str(segment), source=source, dataset=dataset, entry=entries
    )
    if not branches.identity:  # without the directory in the key, files may move
        batch = replace(batch, key=entry_keys(dataset, basename(segment.path), entries))
    return batch, removed
