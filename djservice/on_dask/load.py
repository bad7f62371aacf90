"""load(crew, plan, ...): the events of an input on the workers of a cluster, as bundles."""

from __future__ import annotations

import asyncio
import functools
import operator
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from distributed import Future, get_worker

from djservice.core.progress import READ, Watch
from djservice.errors import ChangedFileError, DjserviceError, InputError
from djservice.events.batch import EventBatch
from djservice.events.checks import check_weights
from djservice.input.cache import cached_inspection, key_of, load_cached, save_cached, unchanged
from djservice.input.cutflow import Cutflow, reading_of, reading_text
from djservice.input.files import InputFile, differences, inspect
from djservice.input.fileset import WEIGHTS, Source, normalisation
from djservice.input.plan import InputPlan
from djservice.input.quarantine import BadRange, read_or_bad
from djservice.input.read import read_with_cutflow
from djservice.input.repeats import MOST_FOLDERS, repeated_keys, tell_apart
from djservice.input.schemas import Schema
from djservice.input.segments import Segment, segments
from djservice.input.selections import selection_fingerprint
from djservice.on_dask.crew import Crew
from djservice.on_dask.gather import gather, wait_patiently
from djservice.on_dask.limits import check_size
from djservice.on_dask.second_try import UNREADABLE, on_this_worker, read_anywhere
from djservice.on_dask.tasks import BundleSummary, summarise


def default_bundle_events(events: int) -> int:
    """Default number of events per bundle.

    A small input has eight bundles. A larger one has bundles of 5,000 events, and at most 128 of
    them.
    """
    return max(1, min(-(-events // 8), 5000), -(-events // 128))


@dataclass(frozen=True)
class Loaded:
    """A loaded input.

    Attributes
    ----------
    inputs
        Files with their identities.
    bundles
        Futures of the bundles, each an :class:`~djservice.events.batch.EventBatch`.
    summaries
        Summary of each bundle.
    bad
        Ranges of entries that are left out, with the reasons.
    datasets
        For a fileset, by dataset: metadata on the weights, number of events, sum of weights, and
        the factor by which the weights are multiplied.
    reading
        Summary of the reading (:func:`djservice.input.cutflow.reading_of`).
    """

    inputs: tuple[InputFile, ...]
    bundles: list[Future]
    summaries: list[BundleSummary]
    bad: tuple[BadRange, ...]
    datasets: dict[str, dict[str, Any]]
    reading: dict[str, Any]


@dataclass(frozen=True)
class ReadBundle:
    """Result of a reading task: events, ranges that are left out, its worker, and the cutflow."""

    batch: EventBatch
    bad: tuple[BadRange, ...]
    worker: str
    cutflow: Cutflow


#: What the driver gets of a ReadBundle.
_OUTCOME = operator.attrgetter("bad", "worker", "cutflow")


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


async def load(crew: Crew, plan: InputPlan, watch: Watch, token: str) -> Loaded:
    """Read an input onto the workers of a cluster.

    Parameters
    ----------
    crew
        Workers that read.
    plan
        Plan of the input.
    watch
        Watch that shows the progress.
    token
        Part of the names of the tasks.

    Raises
    ------
    DjserviceError
        If the input cannot be read. With a fileset, the message begins with the dataset.
    """
    began, section = time.perf_counter(), plan.section
    lenient, named = section.bad_inputs == "quarantine", bool(plan.fileset)
    options = ReadingOptions(plan.schema, lenient, named, section.timeout, section.cache)
    inputs, bad = await _inspect_sources(crew, plan.sources, options, token, watch)
    for difference in differences(inputs, plan.schema):
        watch.say(f"warning: {difference}")
    first, last = section.entries or (0, sum(file.selected for file in inputs))
    bundle_events = section.bundle_events or default_bundle_events(last - first)
    check_size(
        "bundles", "bundles of input.bundle_events events each", (last - first) // bundle_events
    )
    cut = segments(inputs, section.entries, bundle_events)
    bundles, outcomes = await _read_bundles(crew, cut, options, watch, token)
    bad += [bad_range for bad_ranges, _ in outcomes for bad_range in bad_ranges]
    for bad_range in bad:
        watch.say(f"left out: {bad_range}")
    bundles, summaries = await _with_unique_keys(crew, bundles, inputs, watch, token)
    counts = np.concatenate([s.counts for s in summaries])
    if len(counts) == 0:
        reason = (
            f"no event can be read; the first error: {bad[0].reason}"
            if bad
            else "no event passes the selection. Loosen input.selection."
        )
        raise InputError(f"{_paths(inputs)}: {reason}")
    datasets = _datasets(plan.fileset, cut, summaries)
    for name, facts in datasets.items():
        watch.say(
            f"dataset {name}: {facts['events']:,} events, "
            f"weights multiplied by {facts['factor']:.6g}"
        )
    factors = [datasets[part[0].dataset]["factor"] if named else 1.0 for part in cut]
    bundles = [
        bundle
        if factor == 1.0
        else crew.submit(_scale_weights, bundle, factor, key=f"weighted-{token}-{i}")
        for i, (bundle, factor) in enumerate(zip(bundles, factors, strict=True))
    ]
    summaries = [
        replace(summary, weight=summary.weight * factor)
        for summary, factor in zip(summaries, factors, strict=True)
    ]
    nbytes, seconds = sum(s.nbytes for s in summaries), time.perf_counter() - began
    reading_summary = reading_of(
        [cutflow for _, cutflow in outcomes],
        counts,
        len(inputs),
        len(bundles),
        nbytes,
        seconds,
        plan.selection,
    )
    watch.say(reading_text(reading_summary))
    for doubt in reading_summary["doubts"]:
        watch.say(f"warning: {doubt}")
    return Loaded(tuple(inputs), bundles, summaries, tuple(bad), datasets, reading_summary)


async def _inspect_sources(
    crew: Crew, sources: Sequence[Source], options: ReadingOptions, token: str, watch: Watch
) -> tuple[list[InputFile], list[BadRange]]:
    """The files with their identities, and the files that are left out."""

    async def look(number: int, source: Source) -> InputFile | BadRange:
        def submit(suffix: str, resources: Mapping[str, float]) -> tuple[Future, Future]:
            key = f"inspect-{token}-{number}{suffix}"
            future = crew.submit(_inspect_source, source, options, key=key, resources=resources)
            return future, future

        future, _ = await read_anywhere(crew, submit)
        try:
            (file,) = await gather(crew.client, [future])
            return cast(InputFile, file)
        except DjserviceError as error:
            if not options.lenient:
                raise
            return BadRange(source.path, -1, -1, str(error), isinstance(error, UNREADABLE))

    looks = _all(crew, [look(i, source) for i, source in enumerate(sources)])
    results = await wait_patiently(looks, watch)
    inputs = [file for file in results if isinstance(file, InputFile)]
    bad = [file for file in results if isinstance(file, BadRange)]
    if not inputs:
        raise InputError(f"none of {len(bad)} files can be read; the first error: {bad[0].reason}")
    return inputs, bad


async def _read_bundles(
    crew: Crew,
    cut: Sequence[Sequence[Segment]],
    options: ReadingOptions,
    watch: Watch,
    token: str,
) -> tuple[list[Future], list[tuple[tuple[BadRange, ...], Cutflow]]]:
    """The bundles; the ranges left out of each and its cutflow. The watch counts what was read."""
    watch.phase(READ, len(cut), 0)

    async def read(number: int) -> tuple[Future, tuple[tuple[BadRange, ...], Cutflow]]:
        def submit(suffix: str, resources: Mapping[str, float]) -> tuple[Future, Future]:
            key = f"read-{token}-{number}{suffix}"
            future = crew.submit(_read_bundle, cut[number], options, key=key, resources=resources)
            return future, crew.submit(_OUTCOME, future, key=f"outcome-{token}-{number}{suffix}")

        future, outcome = await read_anywhere(crew, submit)
        ((bad, _, cutflow),) = await gather(crew.client, [outcome])
        watch.step({})
        ranges = tuple((each.path, each.first, each.last) for each in bad)
        return crew.submit(_agreed, future, ranges, key=f"bundle-{token}-{number}"), (bad, cutflow)

    results = await _all(crew, [read(number) for number in range(len(cut))])
    return [bundle for bundle, _ in results], [outcome for _, outcome in results]


async def _all(crew: Crew, reads: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of reads, in their order. After a failure the rest is cancelled."""
    tasks = [asyncio.ensure_future(read) for read in reads]

    async def together() -> list[Any]:
        return await asyncio.gather(*tasks)

    try:
        results: list[Any] = await crew.watched(together())
        return results
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _agreed(read: ReadBundle, ranges: tuple[tuple[str, int, int], ...]) -> EventBatch:
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


async def _with_unique_keys(
    crew: Crew, bundles: list[Future], inputs: Sequence[InputFile], watch: Watch, token: str
) -> tuple[list[Future], list[BundleSummary]]:
    """The bundles with distinct identities of the events, and their summaries."""
    summaries = await _summaries(crew, bundles, f"summary-{token}")
    repeated = repeated_keys(np.concatenate([s.keys for s in summaries]))
    if len(repeated):
        watch.say(
            f"{len(repeated)} event identities occur more than once; the file and the entry "
            "distinguish those events"
        )
    for folders in range(MOST_FOLDERS + 1):
        if len(repeated) == 0:
            return bundles, summaries
        bundles = [
            crew.submit(tell_apart, bundle, repeated, folders, key=f"apart-{folders}-{token}-{i}")
            for i, bundle in enumerate(bundles)
        ]
        summaries = await _summaries(crew, bundles, f"summary-apart-{folders}-{token}")
        repeated = repeated_keys(np.concatenate([s.keys for s in summaries]))
    raise InputError(
        f"{_paths(inputs)}: two files hold the same entries, and their last {MOST_FOLDERS} folders "
        "have the same names. List the file once."
    )


def _inspect_source(source: Source, options: ReadingOptions) -> InputFile:
    """The identity of a file, checked against the fileset."""
    of_tree = options.schema.model_copy(update={"tree": source.tree or options.schema.tree})
    inspect_file = functools.partial(inspect, source.path, of_tree, options.timeout)
    try:
        file = (
            inspect_file()
            if options.cache is None
            else cached_inspection(options.cache, source.path, of_tree, inspect_file)
        )
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


def _read_bundle(part: Sequence[Segment], options: ReadingOptions) -> ReadBundle:
    """The events of a bundle, which belong to one dataset."""
    files = [segment.file for segment in part if segment.file is not None]
    if options.cache is None:
        return _read_files(part, options)
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


async def _summaries(crew: Crew, bundles: Sequence[Future], prefix: str) -> list[BundleSummary]:
    submitted = [
        crew.submit(summarise, bundle, key=f"{prefix}-{i}") for i, bundle in enumerate(bundles)
    ]
    summaries: list[BundleSummary] = await crew.gather(submitted)
    return summaries


def _datasets(
    fileset: dict[str, Any], cut: Sequence[Sequence[Segment]], summaries: Sequence[BundleSummary]
) -> dict[str, dict[str, Any]]:
    """Events, weights and factor of each dataset of a fileset that has events."""
    datasets: dict[str, dict[str, Any]] = {}
    for part, summary in zip(cut, summaries, strict=True):
        name = part[0].dataset
        if name in fileset:
            facts = datasets.setdefault(name, {"events": 0, "sum_of_weights": 0.0})
            facts["events"] += len(summary.keys)
            facts["sum_of_weights"] += float(summary.weight.sum())
    for name, facts in datasets.items():
        facts["metadata"] = {key: fileset[name]["metadata"].get(key) for key in WEIGHTS}
        xsec, sumw, weight = facts["metadata"].values()
        facts["factor"] = normalisation(name, xsec, sumw, facts["sum_of_weights"]) * (
            1.0 if weight is None else weight
        )
    return datasets


def _scale_weights(batch: EventBatch, factor: float) -> EventBatch:
    return check_weights(replace(batch, weight=batch.weight * factor))


def _paths(inputs: Sequence[InputFile]) -> str:
    return ", ".join(file.path for file in inputs)
