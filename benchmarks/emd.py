"""Distances of all pairs of jets: `djservice emd` against POT's own solver in a loop on all cores.

Both compute the same part of the matrix of the leading jets of the shipped ZH events, in turn in one run; the time of the whole matrix
of 2,000 jets is that of the part times the ratio of the pairs. Writes docs/images/emd.png, the figure of the guide, with --figure.

    python benchmarks/emd.py [--jets 400] [--figure]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import ot

import djservice as dj
from djservice.clustering.spectra import Spectra
from djservice.config.distances import Distances
from djservice.core.display import Lines
from djservice.reports.distances import distances_text
from djservice.reports.distances import draw as draw_figure
from djservice.runs.distances import distances
from djservice.shapes.ground import Ground
from djservice.shapes.matrix import Group, block
from djservice.shapes.points import PT
from djservice.store.distance_store import read_distances

RADIUS, PT_MIN, WHOLE, ROUNDS = 1.5, 60.0, 2_000, 3
GROUND = Ground(RADIUS, norm=True, centre=True)


class Timer(Lines):
    """A watch that keeps the seconds from the first block to the last."""

    def phase(self, name: str, total: int, done: int) -> None:
        self.began = time.perf_counter()

    def step(self, numbers: dict[str, float]) -> None:
        self.seconds = time.perf_counter() - self.began

    def say(self, text: str) -> None:
        pass


def configuration(store: Path, entries: int) -> Distances:
    settings = {
        "input": {"files": "example:ZHllbb_1000", "entries": [0, entries]},
        "jets": {"radius": RADIUS, "pt_min": PT_MIN, "number": 2},
        "distance": {"radius": RADIUS},
        "output": {"store": str(store)},
    }
    return Distances.from_dict(settings)


def jets(entries: int) -> list[np.ndarray]:
    """The same jets, prepared: shares of pT, about their centres."""
    schema = dj.schemas.nanoaod()
    events = dj.read("example:ZHllbb_1000", schema=schema, entries=(0, entries))
    found = dj.cluster_jets(events, radius=RADIUS, pt_min=PT_MIN, jets=2).constituents
    rows = np.column_stack([events.pt, events.rapidity, events.phi])
    whole = np.split(rows, events.offsets[1:-1])
    return [
        GROUND.prepared(whole[i][ak.to_numpy(jet)])
        for i, event in enumerate(found)
        for jet in event
    ]


def cost(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(a[:, 1, None] - b[:, 1], a[:, 2, None] - b[:, 2]) / RADIUS


def pot(a: np.ndarray, b: np.ndarray) -> float:
    return float(ot.emd2(a[:, PT].copy(), b[:, PT].copy(), cost(a, b)))


def pot_row(i: int, sample: list[np.ndarray]) -> list[float]:
    """POT's distances of jet i to all after it."""
    return [pot(sample[i], b) for b in sample[i + 1 :]]


def in_one_thread(sample: list[np.ndarray]) -> None:
    """CPU time of a pair in microseconds."""
    groups = [Group.of(half, GROUND, "emd") for half in (sample[:40], sample[40:80])]
    pairs = [(a, b) for a in sample[:40] for b in sample[40:80]]
    ready = [(a[:, PT].copy(), b[:, PT].copy(), cost(a, b)) for a, b in pairs]
    spectra = [
        Spectra.of([x[:, PT] for x in half], [GROUND.cost(x, x) for x in half])
        for half in (sample[:40], sample[40:80])
    ]
    ways = {
        "block of djservice": lambda: block(*groups, GROUND, diagonal=False),
        "ot.emd2 with its costs": lambda: [pot(a, b) for a, b in pairs],
        "ot.emd2 alone": lambda: [ot.emd2(*each) for each in ready],
        "block of spectral distances": lambda: spectra[0].distances(spectra[1]),
    }
    least = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.thread_time()
            way()
            least[name] = min(least[name], (time.thread_time() - began) / len(pairs))
    for name, seconds in least.items():
        print(f"{name:28s} {1e6 * seconds:7.1f} us of CPU per pair")


def on_all_cores(sample: list[np.ndarray], entries: int) -> None:
    """Wall time of the same pairs by both, and of the whole matrix."""
    pairs, cores = len(sample) * (len(sample) - 1) // 2, len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {"djservice emd": [], "ot.emd2 in a loop": []}
    row = partial(pot_row, sample=sample)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(cores) as pool:
        list(pool.map(row, range(len(sample) - cores, len(sample))))  # imported
        for number in range(ROUNDS):
            timer = Timer()
            store = distances(configuration(Path(folder, f"{number}.zarr"), entries), timer)
            times["djservice emd"].append(timer.seconds)
            began = time.perf_counter()
            rows = list(pool.map(row, range(len(sample)), chunksize=4))
            times["ot.emd2 in a loop"].append(time.perf_counter() - began)
        matrix = read_distances(store)["distance"]
        apart = max(
            np.abs(matrix[i, i + 1 :] - values).max(initial=0.0) for i, values in enumerate(rows)
        )
    print(f"{pairs:,} pairs, {cores} cores, largest difference {apart:.1e}")
    scale = WHOLE * (WHOLE - 1) / 2 / pairs
    for name, seconds in times.items():
        rounds = ", ".join(f"{s:.1f}" for s in seconds)
        print(f"{name:28s} {rounds} s; {WHOLE:,} jets, extrapolated: {scale * min(seconds):.0f} s")
    ratios = np.divide(times["ot.emd2 in a loop"], times["djservice emd"])
    print(f"speed of djservice over that of the loop: {', '.join(f'{r:.2f}' for r in ratios)}")


def figure() -> None:
    """The figure of the guide: the leading jets of shipped events."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "input": {"files": "example:ZHllbb_1000", "pt_min": 0.5, "entries": [0, 400]},
            "jets": {"radius": 0.8, "pt_min": 40.0},
            "distance": {"radius": 0.8},
            "output": {"store": str(Path(folder, "emd.zarr"))},
        }
        store = distances(Distances.from_dict(settings))
        print(distances_text(store))
        place = Path(__file__).parents[1] / "docs" / "images" / "emd.png"
        place.write_bytes(draw_figure(store)[0].read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jets", type=int, default=400)
    parser.add_argument("--figure", action="store_true")
    arguments = parser.parse_args()
    if arguments.figure:
        figure()
        return
    entries = int(arguments.jets / 1.2)  # events have so many of these jets
    sample = jets(entries)
    print(
        f"{len(sample)} jets of {np.mean([len(x) for x in sample]):.1f} particles, POT {ot.__version__}"
    )
    in_one_thread(sample)
    on_all_cores(sample, entries)


if __name__ == "__main__":
    main()
