"""Reading: its share of the main job, against plain uproot, with the cache; bytes and peak memory.

    python benchmarks/reading.py
    python benchmarks/reading.py DAOD_PHYSLITE.root physlite AnalysisJets

Ratios of times taken side by side. The larger file holds the shipped 1,000 events twenty times, in baskets of 2,000 events, so
the size of its cache means little. With a file, its schema and its particles: what that file costs to open and to read.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from distributed import LocalCluster

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.input.cache import key_of, load_cached, save_cached
from djservice.input.cutflow import Cutflow
from djservice.input.files import InputFile, inspect
from djservice.input.read import read_with_cutflow
from djservice.input.segments import Segment, segments
from djservice.on_dask.load import default_bundle_events
from djservice.store.run_store import Store

ROOT = Path(__file__).parents[1]
SCHEMA = dj.schemas.nanoaod(pt_min=0.5)
BRANCHES = (
    "run",
    "luminosityBlock",
    "event",
    "genWeight",
    *(f"PFCands_{f}" for f in ("pt", "eta", "phi", "mass")),
)
COPIES, BASKET, REPEATS = 20, 2000, 7


class Timed(Lines):
    """Plain lines into nothing, and when each phase began."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.began: dict[str, float] = {}

    def phase(self, name: str, total: int, done: int) -> None:
        self.began[name] = time.perf_counter()
        super().phase(name, total, done)


def main_job() -> None:
    """The share of reading in the main job, on two workers that have imported nothing yet."""
    print("main job, 1,000 events, two workers: reading as a share of what follows it (wall)")
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
    ):
        for number, label in enumerate(
            ("first run of the workers", "second", "third, from the cache")
        ):
            overrides = [
                f"output.store={folder}/{number}.zarr",
                f"cluster.scheduler={cluster.scheduler_address}",
            ]
            overrides += [f"input.cache={folder}/cache"] * (number > 0)
            watch = Timed()
            finished = dj.run(
                Run.from_yaml(ROOT / "workflows/zh_global_radius.yaml", overrides), watch=watch
            )
            ended = time.perf_counter()
            reading = Store.read(finished.store).attributes["reading"]
            job = ended - watch.began["optimise"]
            print(
                f"  {label:28s} {reading['seconds']:.2f} s of {job:.1f} s: {100 * reading['seconds'] / job:.1f} %; "
                f"in the tasks {reading['seconds_of_tasks']:.2f} s; {reading['bytes_read'] / 1e6:.2f} MB read"
            )


def larger_file(path: Path) -> InputFile:
    """The shipped events many times, with other numbers."""
    with uproot.open({dj.examples.path("ZHllbb_1000"): "Events"}) as tree:
        columns = tree.arrays(BRANCHES, how=dict)
    particles = ak.zip(
        {name[8:]: column for name, column in columns.items() if name.startswith("PFCands")}
    )
    with uproot.recreate(path) as file:
        types = {name: ak.to_numpy(columns[name]).dtype for name in BRANCHES[:4]} | {
            "PFCands": particles.type
        }
        tree = file.mktree("Events", types)
        for copy in range(0, COPIES, BASKET // 1000):
            copies = range(copy, copy + BASKET // 1000)
            flat = {
                name: np.concatenate([ak.to_numpy(columns[name])] * len(copies))
                for name in BRANCHES[:4]
            }
            flat["event"] = flat["event"] + np.repeat(
                [10**6 * number for number in copies], 1000
            ).astype(np.uint64)
            tree.extend(flat | {"PFCands": ak.concatenate([particles] * len(copies))})
    return inspect(str(path), SCHEMA)


def plain(path: str) -> Any:
    """The same branches through uproot, all entries at once."""
    with uproot.open({path: "Events"}) as tree:
        return tree.arrays(BRANCHES, how=dict)


def bundles(file: InputFile, size: int) -> list[tuple[Segment, ...]]:
    return segments([file], None, size)


def ours(parts: list[tuple[Segment, ...]]) -> Cutflow:
    """The bundles one after the other."""
    return sum((read_with_cutflow(part, SCHEMA)[1] for part in parts), Cutflow())


def cpu(job: Callable[[], Any]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def against_uproot(file: InputFile, label: str, size: int) -> None:
    parts = bundles(file, size)
    with uproot.open({file.path: "Events"}) as tree:
        needed = sum(tree[name].compressed_bytes for name in BRANCHES)
    ratios = [cpu(lambda: ours(parts)) / cpu(lambda: plain(file.path)) for _ in range(REPEATS)]
    cutflow = ours(parts)
    print(f"{label}: {len(parts)} bundles of {size} events")
    print(
        f"  CPU over that of plain uproot: {statistics.median(ratios):.2f} (of {min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(
        f"  bytes read over those of the branches: {cutflow.bytes_read / needed:.2f}; of the file: {cutflow.bytes_read / file.size:.2f}"
    )
    print(f"  peak memory of the largest bundle over its events: {peak(parts[0]):.1f}")


def peak(part: tuple[Segment, ...]) -> float:
    """Most memory that is in use while a bundle is read, over that of its events."""
    tracemalloc.start()
    batch, _ = read_with_cutflow(part, SCHEMA)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / batch.nbytes


def from_cache(file: InputFile, size: int) -> None:
    parts = bundles(file, size)
    with tempfile.TemporaryDirectory() as cache:
        keys = [key_of(part, [file] * len(part), SCHEMA) for part in parts]
        saved = cpu(
            lambda: [
                save_cached(cache, key, *read_with_cutflow(part, SCHEMA))
                for key, part in zip(keys, parts, strict=True)
            ]
        )
        ratios = [
            cpu(lambda: [load_cached(cache, key) for key in keys]) / cpu(lambda: ours(parts))
            for _ in range(REPEATS)
        ]
        nbytes = sum(place.stat().st_size for place in Path(cache).iterdir())
    print(
        f"  from the cache: CPU over that of reading {statistics.median(ratios):.2f}, bytes over those of the file {nbytes / file.size:.2f}"
    )
    print(
        f"  writing the cache: CPU over that of reading {saved / cpu(lambda: ours(parts)) - 1:.2f}"
    )


def of_experiment(path: str, schema_name: str, particles: str) -> None:
    """CPU time to look at a file, then to read its bundles, after imports."""
    dj.read("example:ZHllbb_200", schema=SCHEMA)
    schema = getattr(dj.schemas, schema_name)(particles=particles)
    began = time.process_time()
    file = inspect(path, schema)
    looked = time.process_time()
    parts = bundles(file, default_bundle_events(file.entries))
    for part in parts:
        read_with_cutflow(part, schema)
    ended = time.process_time()
    print(
        f"{file.entries} events in {len(parts)} bundles: looking at the file {looked - began:.2f} s, "
        f"bundles {ended - looked:.2f} s, together {ended - began:.2f} s"
    )


def main() -> None:
    """Print the numbers."""
    if len(sys.argv) > 1:
        of_experiment(*sys.argv[1:])
        return
    main_job()
    shipped = inspect(dj.examples.path("ZHllbb_1000"), SCHEMA)
    plain(shipped.path)  # imports
    against_uproot(shipped, "shipped 1,000 events", default_bundle_events(shipped.entries))
    from_cache(shipped, default_bundle_events(shipped.entries))
    with tempfile.TemporaryDirectory() as folder:
        large = larger_file(Path(folder) / "large.root")
        for size in (5000, 1000):
            against_uproot(large, f"{large.entries:,} events in baskets of {BASKET:,}", size)
        from_cache(large, 5000)


if __name__ == "__main__":
    main()
