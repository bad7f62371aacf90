"""load(client, plan, ...): the events of an input on the workers of a cluster, as bundles."""

from __future__ import annotations

import asyncio
import functools
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from distributed import Client, Future

from djservice.core.progress import READ, Watch
from djservice.errors import DjserviceError, InputError
from djservice.events.batch import EventBatch
from djservice.events.checks import check_weights
from djservice.input.cache import cached_inspection, key_of, load_cached, save_cached, unchanged
from djservice.input.cutflow import Cutflow, reading_of, reading_text
from djservice.input.files import InputFile, inspect
from djservice.input.fileset import WEIGHTS, Source, normalisation
from djservice.input.plan import InputPlan
from djservice.input.quarantine import BadRange, read_or_bad
from djservice.input.read import read_with_cutflow
from djservice.input.repeats import repeated_keys, tell_apart
from djservice.input.schemas import Schema
from djservice.input.segments import Segment, segments
from djservice.input.selections import selection_fingerprint
from djservice.on_dask.gather import gather, gather_patiently
from djservice.on_dask.limits import check_size
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
    """Result of a reading task: the events, the ranges that are left out, and the cutflow."""

    batch: EventBatch
    bad: tuple[BadRange, ...]
    cutflow: Cutflow


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


async def load(client: Client, plan: InputPlan, watch: Watch, token: str) -> Loaded:
    """Read an input onto the workers of a cluster.

    Parameters
    ----------
    client
        Client of the cluster.
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
    inputs, bad = await _inspect_sources(client, plan.sources, options, token, watch)
    first, last = section.entries or (0, sum(file.selected for file in inputs))
    bundle_events = section.bundle_events or default_bundle_events(last - first)
    check_size(
        "bundles", "bundles of input.bundle_events events each", (last - first) // bundle_events
    )
    cut = segments(inputs, section.entries, bundle_events)
    read = _submit_reads(client, cut, inputs, options, token)
    bundles = _attributes_of(client, ("batch",), read, f"bundle-{token}")
    outcomes = await _reading_outcomes(client, read, watch, token)
    bad += [bad_range for bad_ranges, _ in outcomes for bad_range in bad_ranges]
    for bad_range in bad:
        watch.say(f"left out: {bad_range}")
    bundles, summaries = await _with_unique_keys(client, bundles, inputs, watch, token)
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
        else client.submit(_scale_weights, bundle, factor, key=f"weighted-{token}-{i}")
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
    return Loaded(tuple(inputs), bundles, summaries, tuple(bad), datasets, reading_summary)


async def _inspect_sources(
    client: Client, sources: Sequence[Source], options: ReadingOptions, token: str, watch: Watch
) -> tuple[list[InputFile], list[BadRange]]:
    """The files with their identities, and the files that are left out."""
    submitted = [
        client.submit(_inspect_source, source, options, key=f"inspect-{token}-{i}")
        for i, source in enumerate(sources)
    ]
    results: list[InputFile | BadRange] = await gather_patiently(client, submitted, watch)
    inputs = [file for file in results if isinstance(file, InputFile)]
    bad = [file for file in results if isinstance(file, BadRange)]
    if not inputs:
        raise InputError(f"none of {len(bad)} files can be read; the first error: {bad[0].reason}")
    return inputs, bad


def _submit_reads(
    client: Client,
    cut: Sequence[Sequence[Segment]],
    inputs: Sequence[InputFile],
    options: ReadingOptions,
    token: str,
) -> list[Future]:
    """Futures of the tasks that read the bundles."""
    by_name = {(file.path, file.dataset): file for file in inputs}
    files = [[by_name[segment.path, segment.dataset] for segment in part] for part in cut]
    return [
        client.submit(_read_bundle, part, of_part, options, key=f"read-{token}-{i}")
        for i, (part, of_part) in enumerate(zip(cut, files, strict=True))
    ]


async def _with_unique_keys(
    client: Client, bundles: list[Future], inputs: Sequence[InputFile], watch: Watch, token: str
) -> tuple[list[Future], list[BundleSummary]]:
    """The bundles with distinct identities of the events, and their summaries."""
    summaries = await _summaries(client, bundles, f"summary-{token}")
    repeated = repeated_keys(np.concatenate([s.keys for s in summaries]))
    if len(repeated) == 0:
        return bundles, summaries
    watch.say(
        f"{len(repeated)} event identities occur more than once; the file and the entry "
        "distinguish those events"
    )
    apart = [
        client.submit(tell_apart, bundle, repeated, key=f"apart-{token}-{i}")
        for i, bundle in enumerate(bundles)
    ]
    summaries = await _summaries(client, apart, f"summary-apart-{token}")
    if len(repeated_keys(np.concatenate([s.keys for s in summaries]))):
        raise InputError(
            f"{_paths(inputs)}: two files of the same name hold the same entries. Rename one of "
            "them, or list the file once."
        )
    return apart, summaries


def _inspect_source(source: Source, options: ReadingOptions) -> InputFile | BadRange:
    """The identity of a file, checked against the fileset; or the reason why it is left out."""
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
        reason = f"dataset {source.dataset!r}: {error}" if options.named else str(error)
        if options.lenient:
            return BadRange(source.path, -1, -1, reason)
        if not options.named:
            raise
        raise type(error)(reason) from error


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


def _read_bundle(
    part: Sequence[Segment], files: Sequence[InputFile], options: ReadingOptions
) -> ReadBundle:
    """The events of a bundle, which belong to one dataset."""
    if options.cache is None:
        return _read_files(part, options)
    # The fingerprint is taken here, because workers may have different versions of the selection.
    selection = selection_fingerprint(options.schema.selection)
    key = key_of(part, files, options.schema, selection)
    cached = load_cached(options.cache, key)
    if cached is not None:
        return ReadBundle(cached[0], (), cached[1])
    read = _read_files(part, options)
    if not read.bad and all(map(unchanged, files)):  # bad inputs are reported each time
        save_cached(options.cache, key, read.batch, read.cutflow)
    return read


def _read_files(part: Sequence[Segment], options: ReadingOptions) -> ReadBundle:
    dataset = part[0].dataset
    try:
        if options.lenient:
            batch, bad, cutflow = read_or_bad(part, options.schema, dataset, options.timeout)
            if options.named:
                bad = tuple(
                    replace(bad_range, reason=f"dataset {dataset!r}: {bad_range.reason}")
                    for bad_range in bad
                )
            return ReadBundle(batch, bad, cutflow)
        batch, cutflow = read_with_cutflow(part, options.schema, dataset, options.timeout)
        return ReadBundle(batch, (), cutflow)
    except DjserviceError as error:
        if not options.named:
            raise
        raise type(error)(f"dataset {dataset!r}: {error}") from error


async def _reading_outcomes(
    client: Client, parts: Sequence[Future], watch: Watch, token: str
) -> list[tuple[tuple[BadRange, ...], Cutflow]]:
    """The ranges left out of each bundle and its cutflow; the watch counts the bundles read."""
    futures = _attributes_of(client, ("bad", "cutflow"), parts, f"outcome-{token}")
    watch.phase(READ, len(futures), 0)
    waiting = [asyncio.ensure_future(gather(client, [future])) for future in futures]
    try:
        for done in asyncio.as_completed(waiting):
            await done
            watch.step({})
    finally:
        for task in waiting:  # after a failure nobody awaits the rest
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    outcomes: list[tuple[tuple[BadRange, ...], Cutflow]] = await gather(client, futures)
    return outcomes


def _attributes_of(
    client: Client, attributes: Sequence[str], parts: Sequence[Future], prefix: str
) -> list[Future]:
    take = operator.attrgetter(*attributes)
    return [client.submit(take, part, key=f"{prefix}-{i}") for i, part in enumerate(parts)]


async def _summaries(client: Client, bundles: Sequence[Future], prefix: str) -> list[BundleSummary]:
    submitted = [
        client.submit(summarise, bundle, key=f"{prefix}-{i}") for i, bundle in enumerate(bundles)
    ]
    summaries: list[BundleSummary] = await gather(client, submitted)
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
