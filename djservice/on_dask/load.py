"""load(client, input) -> the events of an input on the workers of a cluster, as bundles."""

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
from djservice.on_dask.gather import gather
from djservice.on_dask.tasks import BundleSummary, summarise


def default_bundle_events(events: int) -> int:
    """Events per bundle: eight bundles of a small input, 5,000 events each of a larger one, and not more than 128 bundles."""
    return max(1, min(-(-events // 8), 5000), -(-events // 128))


@dataclass(frozen=True)
class Loaded:
    """An input that is read.

    Attributes
    ----------
    inputs
        The files with their identities.
    bundles
        Futures of the batches, and what is known of each.
    summaries
        What is known of each bundle.
    bad
        What is left out.
    datasets
        Of a fileset, by dataset: what its metadata say of its weights, its events, and the factor on their weights.
    reading
        The summary of :func:`djservice.input.cutflow.reading_of`.
    """

    inputs: tuple[InputFile, ...]
    bundles: list[Future]
    summaries: list[BundleSummary]
    bad: tuple[BadRange, ...]
    datasets: dict[str, dict[str, Any]]
    reading: dict[str, Any]


@dataclass(frozen=True)
class ReadBundle:
    """What a task reads: a bundle, what is left out of it, and what was read and removed."""

    batch: EventBatch
    bad: tuple[BadRange, ...]
    cutflow: Cutflow


@dataclass(frozen=True)
class Reading:
    """How tasks read.

    Attributes
    ----------
    schema
        What is read.
    lenient
        Whether what is bad is left out.
    named
        Whether messages name the dataset.
    timeout
        Seconds that an attempt at a URL may take.
    cache
        Folder of the cache, or None.
    """

    schema: Schema
    lenient: bool
    named: bool
    timeout: float
    cache: str | None


async def load(client: Client, plan: InputPlan, watch: Watch, token: str) -> Loaded:
    """Read an input.

    Parameters
    ----------
    client
        Of the cluster.
    plan
        What is read.
    watch
        Who is told.
    token
        Part of the names of the tasks.

    Raises
    ------
    DjserviceError
        Whatever is wrong with the input, as the reader says it; with a fileset it begins with the dataset.
    """
    began, section = time.perf_counter(), plan.section
    lenient, named = section.bad_inputs == "quarantine", bool(plan.fileset)
    how = Reading(plan.schema, lenient, named, section.timeout, section.cache)
    inputs, bad = await _inspected(client, plan.sources, how, token)
    first, last = section.entries or (0, sum(file.selected for file in inputs))
    cut = segments(
        inputs, section.entries, section.bundle_events or default_bundle_events(last - first)
    )
    read = _submitted(client, cut, inputs, how, token)
    bundles = _each(client, ("batch",), read, f"bundle-{token}")
    told = await _follow(client, read, watch, token)
    bad += [each for some, _ in told for each in some]
    for each in bad:
        watch.say(f"left out: {each}")
    bundles, summaries = await _told_apart(client, bundles, inputs, watch, token)
    counts = np.concatenate([s.counts for s in summaries])
    if len(counts) == 0:
        why = (
            f"no event can be read; the first: {bad[0].reason}"
            if bad
            else "no event passes the selection."
        )
        raise InputError(f"{_files(inputs)}: {why}")
    datasets = _datasets(plan.fileset, cut, summaries)
    for name, facts in datasets.items():
        watch.say(
            f"dataset {name}: {facts['events']:,} events, weights multiplied by {facts['factor']:.6g}"
        )
    factors = [datasets[part[0].dataset]["factor"] if named else 1.0 for part in cut]
    bundles = [
        bundle
        if factor == 1.0
        else client.submit(_weighted, bundle, factor, key=f"weighted-{token}-{i}")
        for i, (bundle, factor) in enumerate(zip(bundles, factors, strict=True))
    ]
    summaries = [
        replace(known, weight=known.weight * factor)
        for known, factor in zip(summaries, factors, strict=True)
    ]
    nbytes, seconds = sum(s.nbytes for s in summaries), time.perf_counter() - began
    reading = reading_of(
        [cutflow for _, cutflow in told],
        counts,
        len(inputs),
        len(bundles),
        nbytes,
        seconds,
        plan.selection,
    )
    watch.say(reading_text(reading))
    return Loaded(tuple(inputs), bundles, summaries, tuple(bad), datasets, reading)


async def _inspected(
    client: Client, sources: Sequence[Source], how: Reading, token: str
) -> tuple[list[InputFile], list[BadRange]]:
    """The files with their identities, and those that are left out."""
    submitted = [
        client.submit(_inspect, source, how, key=f"inspect-{token}-{i}")
        for i, source in enumerate(sources)
    ]
    found: list[InputFile | BadRange] = await gather(client, submitted)
    inputs = [file for file in found if isinstance(file, InputFile)]
    bad = [file for file in found if isinstance(file, BadRange)]
    if not inputs:
        raise InputError(f"none of {len(bad)} files can be read; the first: {bad[0].reason}")
    return inputs, bad


def _submitted(
    client: Client,
    cut: Sequence[Sequence[Segment]],
    inputs: Sequence[InputFile],
    how: Reading,
    token: str,
) -> list[Future]:
    """A task for each bundle, which reads it."""
    by_name = {(file.path, file.dataset): file for file in inputs}
    files = [[by_name[segment.path, segment.dataset] for segment in part] for part in cut]
    return [
        client.submit(_read, part, of_part, how, key=f"read-{token}-{i}")
        for i, (part, of_part) in enumerate(zip(cut, files, strict=True))
    ]


async def _told_apart(
    client: Client, bundles: list[Future], inputs: Sequence[InputFile], watch: Watch, token: str
) -> tuple[list[Future], list[BundleSummary]]:
    """The bundles with identities that occur once, and their summaries."""
    summaries = await _summaries(client, bundles, f"summary-{token}")
    repeated = repeated_keys(np.concatenate([s.keys for s in summaries]))
    if len(repeated) == 0:
        return bundles, summaries
    watch.say(
        f"{len(repeated)} event identities occur more than once; those events are told apart by file and entry"
    )
    apart = [
        client.submit(tell_apart, bundle, repeated, key=f"apart-{token}-{i}")
        for i, bundle in enumerate(bundles)
    ]
    summaries = await _summaries(client, apart, f"summary-apart-{token}")
    if len(repeated_keys(np.concatenate([s.keys for s in summaries]))):
        raise InputError(
            f"{_files(inputs)}: two files of the same name hold the same entries; rename one, or name it once."
        )
    return apart, summaries


def _inspect(source: Source, how: Reading) -> InputFile | BadRange:
    """The identity of a file, which must be what the fileset says of it; or why it is left out."""
    of_tree = how.schema.model_copy(update={"tree": source.tree or how.schema.tree})
    look = functools.partial(inspect, source.path, of_tree, how.timeout)
    try:
        found = (
            look()
            if how.cache is None
            else cached_inspection(how.cache, source.path, of_tree, look)
        )
        _check_source(source, found)
        return replace(found, dataset=source.dataset, tree=source.tree, steps=source.steps)
    except DjserviceError as error:
        reason = f"dataset {source.dataset!r}: {error}" if how.named else str(error)
        if how.lenient:
            return BadRange(source.path, -1, -1, reason)
        if not how.named:
            raise
        raise type(error)(reason) from error


def _check_source(source: Source, found: InputFile) -> None:
    """See that a file is what its fileset says."""
    for what, expected, is_there in (
        ("num_entries", source.entries, found.entries),
        ("uuid", source.uuid, found.uuid),
    ):
        if expected is not None and expected != is_there:
            raise InputError(
                f"{source.path}: {what} is {is_there}, and the fileset says {expected}: the file changed. "
                "Make the fileset again."
            )
    for first, last in source.steps or ():
        if not 0 <= first < last <= found.entries:
            raise InputError(
                f"{source.path}: the step [{first}, {last}] is no range within its {found.entries} entries. "
                "Make the fileset again."
            )


def _read(part: Sequence[Segment], files: Sequence[InputFile], how: Reading) -> ReadBundle:
    """The events of a bundle, all of one dataset."""
    if how.cache is None:
        return _read_files(part, how)
    selection = selection_fingerprint(
        how.schema.selection
    )  # of this process: workers may have another version
    key = key_of(part, files, how.schema, selection)
    there = load_cached(how.cache, key)
    if there is not None:
        return ReadBundle(there[0], (), there[1])
    read = _read_files(part, how)
    if not read.bad and all(map(unchanged, files)):  # else it is said again what is bad
        save_cached(how.cache, key, read.batch, read.cutflow)
    return read


def _read_files(part: Sequence[Segment], how: Reading) -> ReadBundle:
    dataset = part[0].dataset
    try:
        if how.lenient:
            batch, bad, cutflow = read_or_bad(part, how.schema, dataset, how.timeout)
            if how.named:
                bad = tuple(
                    replace(each, reason=f"dataset {dataset!r}: {each.reason}") for each in bad
                )
            return ReadBundle(batch, bad, cutflow)
        batch, cutflow = read_with_cutflow(part, how.schema, dataset, how.timeout)
        return ReadBundle(batch, (), cutflow)
    except DjserviceError as error:
        if not how.named:
            raise
        raise type(error)(f"dataset {dataset!r}: {error}") from error


async def _follow(
    client: Client, parts: Sequence[Future], watch: Watch, token: str
) -> list[tuple[tuple[BadRange, ...], Cutflow]]:
    """What is left out of each part, and what came of reading it; a step for each that is done."""
    told = _each(client, ("bad", "cutflow"), parts, f"told-{token}")
    watch.phase(READ, len(told), 0)
    waiting = [asyncio.ensure_future(gather(client, [future])) for future in told]
    try:
        for done in asyncio.as_completed(waiting):
            await done
            watch.step({})
    finally:
        for task in waiting:  # of those that are left after a failure nobody asks again
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    found: list[tuple[tuple[BadRange, ...], Cutflow]] = await gather(client, told)
    return found


def _each(
    client: Client, attributes: Sequence[str], parts: Sequence[Future], prefix: str
) -> list[Future]:
    take = operator.attrgetter(*attributes)
    return [client.submit(take, part, key=f"{prefix}-{i}") for i, part in enumerate(parts)]


async def _summaries(client: Client, bundles: Sequence[Future], prefix: str) -> list[BundleSummary]:
    submitted = [
        client.submit(summarise, bundle, key=f"{prefix}-{i}") for i, bundle in enumerate(bundles)
    ]
    found: list[BundleSummary] = await gather(client, submitted)
    return found


def _datasets(
    fileset: dict[str, Any], cut: Sequence[Sequence[Segment]], summaries: Sequence[BundleSummary]
) -> dict[str, dict[str, Any]]:
    """What is known of each dataset of a fileset of which there are events."""
    found: dict[str, dict[str, Any]] = {}
    for part, summary in zip(cut, summaries, strict=True):
        name = part[0].dataset
        if name in fileset:
            facts = found.setdefault(name, {"events": 0, "sum_of_weights": 0.0})
            facts["events"] += len(summary.keys)
            facts["sum_of_weights"] += float(summary.weight.sum())
    for name, facts in found.items():
        facts["metadata"] = {key: fileset[name]["metadata"].get(key) for key in WEIGHTS}
        xsec, sumw, weight = facts["metadata"].values()
        facts["factor"] = normalisation(name, xsec, sumw, facts["sum_of_weights"]) * (
            1.0 if weight is None else weight
        )
    return found


def _weighted(batch: EventBatch, factor: float) -> EventBatch:
    return replace(batch, weight=batch.weight * factor)


def _files(inputs: Sequence[InputFile]) -> str:
    return ", ".join(file.path for file in inputs)
