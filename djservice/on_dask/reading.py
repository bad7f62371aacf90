"""Tasks that read an input: what a worker does for :func:`djservice.on_dask.load.load`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

from distributed import get_worker

from djservice.errors import ChangedFileError, DjserviceError, InputError
from djservice.events.batch import EventBatch
from djservice.input.cutflow import Cutflow
from djservice.input.files import InputFile, inspect
from djservice.input.fileset import Source
from djservice.input.quarantine import BadRange, read_or_bad
from djservice.input.read import read_with_cutflow
from djservice.input.schemas import Schema
from djservice.input.segments import Segment
from djservice.input.selections import selection_fingerprint
from djservice.on_dask.second_try import UNREADABLE, on_this_worker


@dataclass(frozen=True)
class ReadBundle:
    """Result of a reading task: events, ranges that are left out, its worker, and the cutflow."""

    batch: EventBatch
    bad: tuple[BadRange, ...]
    worker: str
    cutflow: Cutflow


#: What the driver gets of a ReadBundle.
OUTCOME = operator.attrgetter("bad", "worker", "cutflow")


@dataclass(frozen=True)
class ReadingOptions:
    """Options of the reading tasks.

    Attributes
    ----------
    schema
        Schema of the files.
    lenient
        True if bad inputs are left out, False if they end the run.
    named
        True if messages name the dataset.
    timeout
        Time limit of an access to a URL in seconds.
    cache
        Folder of the cache, or None.
    """

    schema: Schema
    lenient: bool
    named: bool
    timeout: float
    cache: str | None


def inspect_source(source: Source, options: ReadingOptions) -> InputFile:
    """The identity of a file, checked against the fileset."""
    of_tree = options.schema.model_copy(update={"tree": source.tree or options.schema.tree})
    inspect_file = functools.partial(inspect, source.path, of_tree, options.timeout)
    try:
        if options.cache is None:
            file = inspect_file()
        else:
            from djservice.input.cache import cached_inspection

            file = cached_inspection(options.cache, source.path, of_tree, inspect_file)
        _check_source(source, file)
        return replace(file, dataset=source.dataset, tree=source.tree, steps=source.steps)
    except DjserviceError as error:
        raise _located(error, source.dataset, options) from error.__cause__


def _located(error: DjserviceError, dataset: str, options: ReadingOptions) -> DjserviceError:
    """An error that names the dataset, and the worker if another one may not have it."""
    if options.named:
        error = type(error)(f"dataset {dataset!r}: {error}")
    return on_this_worker(error) if isinstance(error, UNREADABLE) else error


def _check_source(source: Source, file: InputFile) -> None:
    """Check that a file agrees with its entry in the fileset."""
    for key, expected, value in (
        ("num_entries", source.entries, file.entries),
        ("uuid", source.uuid, file.uuid),
    ):
        if expected is not None and expected != value:
            raise InputError(
                f"{source.path}: expected {key} {expected} from the fileset, found {value}: the "
                "file changed. Make the fileset again."
            )
    for first, last in source.steps or ():
        if not 0 <= first < last <= file.entries:
            raise InputError(
                f"{source.path}: expected steps within its {file.entries} entries, found "
                f"[{first}, {last}]. Make the fileset again."
            )


def read_bundle(part: Sequence[Segment], options: ReadingOptions) -> ReadBundle:
    """The events of a bundle, which belong to one dataset."""
    files = [segment.file for segment in part if segment.file is not None]
    if options.cache is None:
        return _read_files(part, options)
    # Zarr takes a seventh of a second, for which only a cache is to wait.
    from djservice.input.cache import key_of, load_cached, save_cached, unchanged

    # The fingerprint is taken here, because workers may have different versions of the selection.
    selection = selection_fingerprint(options.schema.selection)
    key = key_of(part, files, options.schema, selection)
    cached = load_cached(options.cache, key)
    if cached is not None:
        return ReadBundle(cached[0], (), get_worker().address, cached[1])
    read = _read_files(part, options)
    if not read.bad and all(map(unchanged, files)):  # bad inputs are reported each time
        save_cached(options.cache, key, read.batch, read.cutflow)
    return read


def _read_files(part: Sequence[Segment], options: ReadingOptions) -> ReadBundle:
    dataset = part[0].dataset
    try:
        if options.lenient:
            batch, bad, cutflow = read_or_bad(part, options.schema, dataset, options.timeout)
            bad = tuple(_located_range(bad_range, dataset, options) for bad_range in bad)
            return ReadBundle(batch, bad, get_worker().address, cutflow)
        batch, cutflow = read_with_cutflow(part, options.schema, dataset, options.timeout)
        return ReadBundle(batch, (), get_worker().address, cutflow)
    except DjserviceError as error:
        raise _located(error, dataset, options) from error.__cause__


def _located_range(bad: BadRange, dataset: str, options: ReadingOptions) -> BadRange:
    reason = f"dataset {dataset!r}: {bad.reason}" if options.named else bad.reason
    worker = f" (On the worker {get_worker().address}.)" if bad.unreadable else ""
    return replace(bad, reason=reason + worker)


def agreed(read: ReadBundle, ranges: tuple[tuple[str, int, int], ...]) -> EventBatch:
    """The events of a bundle, if the reported ranges are left out of it and no others.

    A bundle whose worker died is read again, and must not lose events without a word.
    """
    now = tuple((each.path, each.first, each.last) for each in read.bad)
    if now != ranges:
        reason = read.bad[0].reason if read.bad else "all entries can be read"
        raise ChangedFileError(
            f"{read.batch.files[0]}: read again after a worker was lost, other entries are "
            f"unreadable than before: expected {ranges}, found {now}: {reason} "
            "Start again with the files as they are."
        )
    return read.batch
