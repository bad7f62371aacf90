"""Reads that fail are tried on another worker before anything is called bad.

A worker that does not see a mount cannot read good files. It fails at once, asks for the next one,
and would soon have called most of them bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distributed import Future, get_worker

from djservice.errors import DjserviceError, InputFileError, SchemaError
from djservice.input.quarantine import BadRange
from djservice.on_dask.crew import LOOK, Crew
from djservice.on_dask.gather import gather

#: Errors that another worker may not have.
UNREADABLE = (InputFileError, SchemaError)


def on_this_worker(error: DjserviceError) -> DjserviceError:
    """An error of a read that names this worker, in its text and in its attribute ``worker``.

    Outside a worker, as in a dry run, it stays as it is.
    """
    try:
        address = get_worker().address
    except ValueError:  # what Dask says outside a worker
        return error
    named = type(error)(f"{error} (On the worker {address}.)")
    named.worker = address  # type: ignore[attr-defined]
    return named


@dataclass(frozen=True)
class _Loss:
    """What a read could not read, on which worker and why."""

    entries: float
    worker: str
    reason: str


async def read_anywhere(
    crew: Crew,
    submit: Callable[[str, Mapping[str, float]], tuple[Future, Future]],
) -> tuple[Future, Future]:
    """A read, on another worker if the first one cannot read everything.

    Parameters
    ----------
    crew
        Workers that read.
    submit
        Submits the read, with a suffix for its key and with further resources. Returns its future,
        and that of a description: (ranges that are left out, worker, ...), or nothing of the kind.

    Returns
    -------
    tuple
        The futures of the better read. Those of the first one if both are alike.
    """
    first = submit("", {})
    loss = await _loss(crew, first[1])
    others = {} if loss is None else await crew.other_than(loss.worker)
    if loss is None or not others:
        return first
    second = submit("-elsewhere", others)
    trying = asyncio.ensure_future(_loss(crew, second[1]))
    while not (await asyncio.wait([trying], timeout=LOOK))[0]:
        if not await crew.other_than(loss.worker):  # the others are gone
            trying.cancel()
            return first
    second_loss = trying.result()
    if second_loss is not None and second_loss.entries >= loss.entries:
        return first
    crew.found_blind(loss.worker, loss.reason)
    return second


async def _loss(crew: Crew, description: Future) -> _Loss | None:
    try:
        (described,) = await gather(crew.client, [description])
    except UNREADABLE as error:
        return _Loss(float("inf"), getattr(error, "worker", ""), str(error))
    unreadable = _unreadable(described)
    if not unreadable:
        return None
    entries = sum(bad.last - bad.first for bad in unreadable)
    return _Loss(entries, described[1], unreadable[0].reason)


def _unreadable(described: Any) -> list[BadRange]:
    if not isinstance(described, tuple):
        return []
    return [bad for bad in described[0] if bad.unreadable]
