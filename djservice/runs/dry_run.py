"""dry_run(run): what a run would read, need and take, without a cluster and without a store."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator

from djservice.config.input import Input
from djservice.config.run import Run
from djservice.core.formatting import duration_text
from djservice.evaluation.evaluate import evaluate
from djservice.events.batch import EventBatch
from djservice.fit.plan import RunPlan
from djservice.fit.radius_fit import given_radius
from djservice.input.files import InputFile, differences
from djservice.input.formats import opened
from djservice.input.plan import InputPlan
from djservice.input.ranges import branches_of
from djservice.input.read import of_tree, read_segments
from djservice.input.segments import Segment, segments
from djservice.on_dask.limits import check_size, check_sizes
from djservice.on_dask.load import default_bundle_events
from djservice.on_dask.reading import ReadingOptions, inspect_source

#: Newton steps that a run usually takes.
NEWTON = 8
#: Events that are read and clustered to estimate memory and time, and trees of each.
SAMPLE, TREES = 200, 4


def dry_run(run: Run) -> Iterator[str]:
    """Lines about a run: its files and branches, its events, its memory and its time.

    The files of the input are opened, and the first events are read and clustered in this process.

    Raises
    ------
    DjserviceError
        As the run would: if a key, a file, a branch or an event is wrong.
    """
    plan = RunPlan(run)
    check_sizes(plan)
    plan.check()
    for name, section in run.inputs.items():
        events, sample = yield from dry_input(plan.input(name), section, name)
        if name == "input":
            selected, first = events, sample
    yield from _cost(plan, selected, first)


def dry_input(
    plan: InputPlan, section: Input, name: str = "input"
) -> Generator[str, None, tuple[int, EventBatch]]:
    """Lines about an input; returns the number of its entries, and its first events."""
    options = ReadingOptions(plan.schema, False, bool(plan.fileset), section.timeout, None)
    files: list[InputFile] = [inspect_source(source, options) for source in plan.sources]
    total = sum(file.selected for file in files)
    first, last = section.entries or (0, total)
    yield f"{name}: {len(files)} files, {sum(file.size for file in files) / 1e6:,.1f} MB"
    yield from (f"   warning: {difference}" for difference in differences(files, plan.schema))
    size = section.bundle_events or default_bundle_events(last - first)
    bundles = segments(files, section.entries, size)
    check_size("bundles", f"bundles of {name}.bundle_events events each", len(bundles))
    yield f"   {last - first:,} of {total:,} entries, in {len(bundles)} bundles"
    start = bundles[0][0]
    begin, end = start.start, min(start.stop, start.start + SAMPLE)
    segment = Segment(start.path, begin, end, start.dataset, start.tree, start.file)
    sample = read_segments([segment], plan.schema, start.dataset)
    yield f"   branches: {_branches(segment, plan)}"
    mean = float(sample.counts.mean()) if len(sample) else 0.0
    yield (
        f"   {len(sample)} of the first {end - begin} entries are used: {mean:.0f} particles each, "
        f"{_memory(sample, last - first)}"
    )
    return last - first, sample


def _branches(segment: Segment, plan: InputPlan) -> str:
    """The branches that are read of the first file."""
    with opened(segment.path, of_tree(plan.schema, segment), segment.path) as file:
        branches = branches_of(file, plan.schema, segment.path)
    fields = [name for collection in branches.particles for name in collection.values()]
    return ", ".join(dict.fromkeys([*fields, *branches]))


def _memory(sample: EventBatch, events: int) -> str:
    if not len(sample):
        return "memory not known"
    return f"about {sample.nbytes / len(sample) * events / 1e6:,.0f} MB of memory for all"


def _cost(plan: RunPlan, events: int, sample: EventBatch) -> Iterator[str]:
    """The time that the run would take, from that of some trees."""
    if not len(sample):
        yield "time: not known; none of the first events passes the selection"
        return
    run, sampling = plan.run, plan.setup("cpu").sampling
    trees = max(TREES, min(run.optimiser.trees, 10))

    def look() -> None:
        loss, start = plan.robust or plan.loss, run.radius.start
        evaluate(sample, loss, plan.estimator, sampling, radius=start, trees=trees)

    look()  # compiles
    began = time.perf_counter()
    look()
    versions = 1 + len(run.robust.augmentations)
    per_tree = (time.perf_counter() - began) / (trees * versions * len(sample))
    parts = dict(_trees(run, events))
    processes = run.cluster.workers or os.cpu_count() or 1
    seconds = {part: number * per_tree / processes for part, number in parts.items()}
    shown = ", ".join(f"{part} {duration_text(each)}" for part, each in seconds.items())
    yield (
        f"time: about {duration_text(sum(seconds.values()))} on {processes} processors like this one "
        f"({1e6 * per_tree:.0f} us per tree): {shown}; reading and compilation not counted"
    )
    yield f"store: {run.output.store}"


def _trees_of_radius(run: Run, events: int) -> Iterator[tuple[str, float]]:
    """Trees of each part of the search for R."""
    optimiser, scan, spectrum = run.optimiser, run.scan, run.spectrum
    of_batch, of_all = min(optimiser.batch_events, events), events * spectrum.trees
    versions = 1 + len(run.robust.augmentations)
    yield "iterations", versions * optimiser.iterations * of_batch * optimiser.trees
    yield "scan", versions * len(scan.radii) * events * scan.trees
    yield "Newton steps", versions * NEWTON * of_all
    yield "spectrum", versions * (2 + len(spectrum.radii)) * of_all
    if versions > 1:
        yield "R of each augmentation", versions * NEWTON * of_all


def _trees(run: Run, events: int) -> Iterator[tuple[str, float]]:
    """Trees of each part of a run."""
    if given_radius(run) is None:
        yield from _trees_of_radius(run, events)
    if run.task == "per-event":
        each = run.per_event
        per_start = each.iterations * each.trees + each.choose_trees
        yield "radius of each event", events * (len(each.starts) * per_start + each.score_trees)
    for task in ("radius_model", "particle_weights", "joint"):
        if run.task == task.replace("_", "-"):
            section = getattr(run, task)
            batch = min(section.batch_events, events)
            yield (
                "training",
                section.iterations * batch * section.trees + events * section.score_trees,
            )
