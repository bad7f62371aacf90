"""Quarantine: bad files and events are left out and listed with the reason, and the run continues.

Bad parts are found by reading. A range whose bytes are damaged is halved down to single baskets, and
one with bad values, of which the bytes were read once, down to single events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from djservice.errors import (
    ChangedFileError,
    DjserviceError,
    InputError,
    InputFileError,
    MissingFileError,
    SchemaError,
)
from djservice.events.batch import EventBatch
from djservice.input.cutflow import Cutflow
from djservice.input.ranges import bounds_within
from djservice.input.read import Columns, of_tree, read_columns, read_with_cutflow
from djservice.input.retries import TIMEOUT, patiently
from djservice.input.schemas import Schema
from djservice.input.segments import Segment

#: With more bad ranges than this in a bundle, the input as a whole is taken to be wrong.
MOST = 100


@dataclass(frozen=True)
class BadRange:
    """A range of entries that is left out.

    Attributes
    ----------
    path
        The file.
    first, last
        Its entries, ``last`` not included; -1 for the entire file.
    reason
        Message of the error.
    unreadable
        Whether the file could not be read, so that another worker may be able to. Otherwise its
        values are bad.
    """

    path: str
    first: int
    last: int
    reason: str
    unreadable: bool = False

    def __str__(self) -> str:
        more = self.last - self.first - 1
        return self.reason + (f" So are the {more} entries that follow." if more > 0 else "")


def read_or_bad(
    segments: Sequence[Segment], schema: Schema, dataset: str = "", timeout: float = TIMEOUT
) -> tuple[EventBatch, tuple[BadRange, ...], Cutflow]:
    """The readable events of several entry ranges, the bad ranges, and the cutflow of the events.

    Raises
    ------
    InputError
        If there are more than a hundred bad ranges.
    """
    batches: list[EventBatch] = []
    bad: list[BadRange] = []
    cutflow, columns = Cutflow(), None
    pending = list(reversed(segments))
    while pending:
        segment = pending.pop()
        try:
            batch, segment_cutflow = read_with_cutflow([segment], schema, dataset, timeout, columns)
            batches.append(batch)
            cutflow += segment_cutflow
        except DjserviceError as error:
            middle = _middle(segment, schema, error, timeout)
            if middle is not None:
                pending += [replace(segment, start=middle), replace(segment, stop=middle)]
                columns = _kept(columns, segment, schema, error, timeout)
                continue
            unreadable = isinstance(error, (InputFileError, SchemaError))
            _add(bad, BadRange(segment.path, segment.start, segment.stop, str(error), unreadable))
            if len(bad) > MOST:
                raise InputError(
                    f"{segment.path}: more than {MOST} bad ranges of entries, the first: "
                    f"{bad[0].reason} So many mean a wrong input: repair it, or leave the file out."
                ) from error
    if not batches:
        empty = np.empty(0)
        batches = [
            EventBatch.from_arrays(
                pt=empty,
                rapidity=empty,
                phi=empty,
                mass=empty,
                offsets=[0],
                dataset=dataset,
            )
        ]
    return EventBatch.concatenate(batches), tuple(bad), cutflow


def _middle(segment: Segment, schema: Schema, error: DjserviceError, timeout: float) -> int | None:
    """The entry at which a range that cannot be read is halved; None if it is bad as a whole.

    Damage takes the entries that are stored together, so a range is halved where a basket begins.
    Bad values are those of single events.
    """
    if isinstance(error, (MissingFileError, ChangedFileError, SchemaError)):
        return None
    if not isinstance(error, InputFileError):
        middle = (segment.start + segment.stop) // 2
        return middle if middle > segment.start else None
    try:
        bounds = patiently(
            lambda: bounds_within(segment, of_tree(schema, segment)), segment.path, timeout
        )
    except DjserviceError:  # the file cannot even be opened, as the error says
        return None
    return bounds[len(bounds) // 2] if bounds else None


def _kept(
    columns: Columns | None,
    segment: Segment,
    schema: Schema,
    error: DjserviceError,
    timeout: float,
) -> Columns | None:
    """The arrays of a range with bad events, so that its parts are not read again and again."""
    if isinstance(error, InputFileError) or schema.selection is not None:
        return columns
    return columns if columns and columns.holds(segment) else read_columns(segment, schema, timeout)


def _add(bad: list[BadRange], addition: BadRange) -> None:
    """Add a range, or extend the previous one if this follows it with the same kind of reason."""
    if (
        bad
        and (bad[-1].path, bad[-1].last) == (addition.path, addition.first)
        and _kind(bad[-1]) == _kind(addition)
    ):
        bad[-1] = replace(bad[-1], last=addition.last)
    else:
        bad.append(addition)


def _kind(bad: BadRange) -> str:
    """The reason without its digits, which differ from event to event."""
    return "".join(letter for letter in bad.reason if not letter.isdigit())
