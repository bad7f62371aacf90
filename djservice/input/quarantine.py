"""Quarantine: bad files and events are left out and listed with the reason, and the run continues.

Bad events are found by reading: a range that cannot be read is halved until each part is one event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from djservice.errors import DjserviceError, InputError, MissingFileError, SchemaError
from djservice.events.batch import EventBatch
from djservice.input.cutflow import Cutflow
from djservice.input.read import read_with_cutflow
from djservice.input.retries import TIMEOUT
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
    """

    path: str
    first: int
    last: int
    reason: str

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
    cutflow = Cutflow()
    pending = list(reversed(segments))
    while pending:
        segment = pending.pop()
        try:
            batch, segment_cutflow = read_with_cutflow([segment], schema, dataset, timeout)
            batches.append(batch)
            cutflow += segment_cutflow
        except DjserviceError as error:
            if segment.stop - segment.start > 1 and not isinstance(
                error, (MissingFileError, SchemaError)
            ):
                middle = (segment.start + segment.stop) // 2
                pending += [replace(segment, start=middle), replace(segment, stop=middle)]
                continue
            _add(bad, BadRange(segment.path, segment.start, segment.stop, str(error)))
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


def _add(bad: list[BadRange], addition: BadRange) -> None:
    """Add a range, or extend the previous one if this follows it with the same kind of reason."""
    if (
        bad
        and (bad[-1].path, bad[-1].last) == (addition.path, addition.first)
        and _kind(bad[-1]) == _kind(addition)
    ):
        bad[-1] = BadRange(addition.path, bad[-1].first, addition.last, bad[-1].reason)
    else:
        bad.append(addition)


def _kind(bad: BadRange) -> str:
    """The reason without its digits, which differ from event to event."""
    return "".join(letter for letter in bad.reason if not letter.isdigit())
