"""Quarantine: a bad file or event among many is set aside, with its reason, and the rest goes on.

What is bad is found by reading: a range that cannot be read is halved until the events at fault stand alone.
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

#: More bad ranges than this in a bundle are no exception but a wrong input.
MOST = 100


@dataclass(frozen=True)
class BadRange:
    """An input that is left out.

    Attributes
    ----------
    path
        The file.
    first, last
        Its entries, ``last`` not included; -1 for the whole file.
    reason
        What was wrong.
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
    """The events of several entry ranges that can be read, those that are left out, and what came of reading the former.

    Raises
    ------
    InputError
        If there are more than a hundred bad ranges.
    """
    batches: list[EventBatch] = []
    bad: list[BadRange] = []
    cutflow = Cutflow()
    left = list(reversed(segments))
    while left:
        segment = left.pop()
        try:
            batch, found = read_with_cutflow([segment], schema, dataset, timeout)
            batches.append(batch)
            cutflow += found
        except DjserviceError as error:
            if segment.stop - segment.start > 1 and not isinstance(
                error, (MissingFileError, SchemaError)
            ):
                middle = (segment.start + segment.stop) // 2
                left += [replace(segment, start=middle), replace(segment, stop=middle)]
                continue
            _add(bad, BadRange(segment.path, segment.start, segment.stop, str(error)))
            if len(bad) > MOST:
                raise InputError(
                    f"{segment.path}: more than {MOST} bad ranges of entries, the first: {bad[0].reason} "
                    "That is no exception any more: mend the input, or leave the file out."
                ) from error
    if not batches:
        nothing = np.empty(0)
        batches = [
            EventBatch.from_arrays(
                pt=nothing,
                rapidity=nothing,
                phi=nothing,
                mass=nothing,
                offsets=[0],
                dataset=dataset,
            )
        ]
    return EventBatch.concatenate(batches), tuple(bad), cutflow


def _add(bad: list[BadRange], found: BadRange) -> None:
    """Add a range; one that goes on where the last ended, for what seems the same reason, becomes one with it."""
    if (
        bad
        and (bad[-1].path, bad[-1].last) == (found.path, found.first)
        and _kind(bad[-1]) == _kind(found)
    ):
        bad[-1] = BadRange(found.path, bad[-1].first, found.last, bad[-1].reason)
    else:
        bad.append(found)


def _kind(bad: BadRange) -> str:
    """A reason without what is different from event to event."""
    return "".join(letter for letter in bad.reason if not letter.isdigit())
