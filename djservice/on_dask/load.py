"""load(crew, plan, ...): the events of an input on the workers of a cluster, as bundles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from djservice.core.formatting import counted
from djservice.core.private import public
from djservice.core.progress import READ, Watch
from djservice.errors import DjserviceError, InputError
from djservice.events.batch import EventBatch
from djservice.events.checks import check_weights
from djservice.input.cutflow import Cutflow, reading_of, reading_text
from djservice.input.files import InputFile, differences
from djservice.input.fileset import WEIGHTS, Source, normalisation
from djservice.input.plan import InputPlan
from djservice.input.quarantine import BadRange
from djservice.input.repeats import MOST_FOLDERS, repeated_keys, tell_apart
from djservice.input.segments import Segment, segments
from djservice.on_dask.crew import Crew
from djservice.on_dask.gather import gather, wait_patiently
from djservice.on_dask.limits import check_size
from djservice.on_dask.reading import OUTCOME, ReadingOptions, agreed, inspect_source, read_bundle
from djservice.on_dask.second_try import UNREADABLE, read_anywhere
from djservice.on_dask.tasks import BundleSummary, summarise
from djservice.store.meanings import IDENTITY


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

    @property
    def identity(self) -> dict[str, NDArray[Any]]:
        """The columns of :data:`djservice.store.meanings.IDENTITY`, where ``file`` counts ``inputs``."""
        number = {(public(file.path), file.dataset): i for i, file in enumerate(self.inputs)}
        columns = {
            name: np.concatenate([summary.identity[name] for summary in self.summaries])
            for name in IDENTITY
        }
        files = [
            np.array([number[public(name), summary.dataset] for name in summary.files])[
                summary.identity["file"]
            ]
            for summary in self.summaries
        ]
        return {**columns, "file": np.concatenate(files)}


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
        raise _without_events(inputs, bad)
    datasets = _datasets(plan.fileset, cut, summaries)
    for name, facts in datasets.items():
        watch.say(
            f"dataset {name}: {counted(facts['events'], 'event')}, "
            f"weights multiplied by {facts['factor']:.6g}"
            if facts["events"]
            else f"warning: dataset {name}: no event passes, so it takes no part"
        )
    factors = [datasets[part[0].dataset]["factor"] if named else 1.0 for part in cut]
    bundles, summaries = _weighted(crew, bundles, summaries, factors, token)
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
            future = crew.submit(inspect_source, source, options, key=key, resources=resources)
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
    results = await wait_patiently(crew.client, looks, watch)
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
            future = crew.submit(read_bundle, cut[number], options, key=key, resources=resources)
            return future, crew.submit(OUTCOME, future, key=f"outcome-{token}-{number}{suffix}")

        future, outcome = await read_anywhere(crew, submit)
        ((bad, _, cutflow),) = await gather(crew.client, [outcome])
        watch.step({})
        ranges = tuple((each.path, each.first, each.last) for each in bad)
        return crew.submit(agreed, future, ranges, key=f"bundle-{token}-{number}"), (bad, cutflow)

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


async def _summaries(crew: Crew, bundles: Sequence[Future], prefix: str) -> list[BundleSummary]:
    submitted = [
        crew.submit(summarise, bundle, key=f"{prefix}-{i}") for i, bundle in enumerate(bundles)
    ]
    summaries: list[BundleSummary] = await crew.gather(submitted)
    return summaries


def _datasets(
    fileset: dict[str, Any], cut: Sequence[Sequence[Segment]], summaries: Sequence[BundleSummary]
) -> dict[str, dict[str, Any]]:
    """Events, weights and factor of each dataset of a fileset, also of those without events."""
    datasets: dict[str, dict[str, Any]] = {
        name: {"events": 0, "sum_of_weights": 0.0} for name in fileset
    }
    for part, summary in zip(cut, summaries, strict=True):
        facts = datasets.get(part[0].dataset)
        if facts is not None:
            facts["events"] += len(summary.keys)
            facts["sum_of_weights"] += float(summary.weight.sum())
    for name, facts in datasets.items():
        facts["metadata"] = {key: fileset[name]["metadata"].get(key) for key in WEIGHTS}
        xsec, sumw, weight = facts["metadata"].values()
        facts["factor"] = 1.0 if weight is None else weight
        if facts["events"]:
            facts["factor"] *= normalisation(name, xsec, sumw, facts["sum_of_weights"])
    return datasets


def _weighted(
    crew: Crew,
    bundles: Sequence[Future],
    summaries: Sequence[BundleSummary],
    factors: Sequence[float],
    token: str,
) -> tuple[list[Future], list[BundleSummary]]:
    """The bundles and their summaries with the weights multiplied by a factor for each."""
    weighted = [
        bundle
        if factor == 1.0
        else crew.submit(_scale_weights, bundle, factor, key=f"weighted-{token}-{i}")
        for i, (bundle, factor) in enumerate(zip(bundles, factors, strict=True))
    ]
    return weighted, [
        replace(summary, weight=summary.weight * factor)
        for summary, factor in zip(summaries, factors, strict=True)
    ]


def _scale_weights(batch: EventBatch, factor: float) -> EventBatch:
    return check_weights(replace(batch, weight=batch.weight * factor))


def _without_events(inputs: Sequence[InputFile], bad: Sequence[BadRange]) -> InputError:
    reason = (
        f"no event can be read; the first error: {bad[0].reason}"
        if bad
        else "no event passes the selection. Loosen input.selection."
    )
    return InputError(f"{_paths(inputs)}: {reason}")


def _paths(inputs: Sequence[InputFile]) -> str:
    return ", ".join(file.path for file in inputs)
