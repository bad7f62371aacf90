"""Cost of one stochastic tree with its score against one FastJet clustering of the same event.

Thread CPU time on one core, the least of several rounds for both, taken in turn in one run; compiling is not counted.
FastJet is timed in C++ where g++ and the FastJet headers are installed (Debian: libfastjet-dev), else through its Python
package, whose conversion of the particles is then part of its time.

    python benchmarks/trees.py
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from events import HERE, classes, momenta, overlaid

import djservice as dj

#: Rounds of one measurement of each kind, in turn; the least of each counts, for other work on a machine only adds.
ROUNDS = 6
#: Trees per event, so that a round takes some tenths of a second.
TREES = {"ZH pT > 1 GeV": 30, "fat jets": 30, "ZH full": 5}


class FastJet:
    """Times FastJet in C++ if it can be built, else in Python."""

    def __init__(self, folder: str) -> None:
        self.binary = Path(folder) / "timer"
        command = [
            "g++",
            "-O3",
            "-march=native",
            str(HERE / "fastjet_timer.cc"),
            "-o",
            str(self.binary),
            "-lfastjet",
        ]
        self.native = (
            shutil.which("g++") is not None
            and subprocess.run(command, capture_output=True).returncode == 0
        )

    def microseconds(self, events: dj.EventBatch, radius: float) -> float:
        """Of one clustering, mean over the events."""
        if self.native:
            data = b"".join(np.int32(len(p)).tobytes() + p.tobytes() for p in momenta(events))
            done = subprocess.run(
                [self.binary, str(radius), "5"], input=data, capture_output=True, check=True
            )
            return float(np.array(done.stdout.split(), dtype=float).mean())
        import fastjet

        definition, times = fastjet.JetDefinition(fastjet.antikt_algorithm, radius), []
        for event in momenta(events):
            particles = [fastjet.PseudoJet(*p) for p in event.tolist()]
            best = np.inf
            for _ in range(5):
                start = time.thread_time()
                fastjet.ClusterSequence(particles, definition)
                best = min(best, time.thread_time() - start)
            times.append(1e6 * best)
        return float(np.mean(times))


def tree_microseconds(events: dj.EventBatch, trees: int, **options: object) -> float:
    """Of one tree with its score, mean over the events."""
    start = time.thread_time()
    dj.cluster(events, trees=trees, seed=1, threads=1, **options)
    return 1e6 * (time.thread_time() - start) / len(events) / trees


def in_turn(*measurements: object) -> np.ndarray:
    """The least of several rounds of each."""
    return np.min([[measure() for measure in measurements] for _ in range(ROUNDS)], axis=0)


def against_fastjet(fastjet: FastJet) -> None:
    """Whole trees, trees with exact stopping, and those with the states that the state baseline needs."""
    print(
        f"{'events':14s} {'n':>4s} {'R':>4s} {'alpha':>6s} {'FastJet':>8s} {'tree':>8s} {'ratio':>6s} {'stopped':>8s} {'ratio':>6s}"
        f" {'states':>8s}"
    )
    for name, events in classes().items():
        trees = TREES[name]
        for radius, rigidity in ((0.4, 1.0), (1.0, 1.0), (0.4, 10.0), (0.4, 100.0)):
            point = {"radius": radius, "rigidity": rigidity}
            reference, whole, stopped, states = in_turn(
                lambda events=events, radius=radius: fastjet.microseconds(events, radius),
                lambda events=events, trees=trees, point=point: tree_microseconds(
                    events, trees, **point
                ),
                lambda events=events, trees=trees, point=point: tree_microseconds(
                    events, trees, **point, settled_pt=20.0
                ),
                lambda events=events, trees=trees, point=point: tree_microseconds(
                    events, trees, **point, settled_pt=20.0, states=True
                ),
            )
            row = f"{name:14s} {np.median(events.counts):4.0f} {radius:4.1f} {rigidity:6g} {reference:8.1f}"
            ratios = f"{whole:8.1f} {whole / reference:6.2f} {stopped:8.1f} {stopped / reference:6.2f} {states:8.1f}"
            print(f"{row} {ratios}", flush=True)


def against_size(fastjet: FastJet) -> None:
    """Cost against the number of particles at R = 0.4, and its log-log slopes, whole and from 200 particles on."""
    full = classes()["ZH full"]
    for rigidity in (1.0, 100.0):
        print(f"\nalpha = {rigidity:g}")
        print(f"{'n':>5s} {'FastJet':>9s} {'tree':>9s} {'ratio':>6s} {'stopped':>9s} {'ratio':>6s}")
        rows = []
        for particles in (50, 100, 200, 400, 800, 1400, 2000):
            events, trees = overlaid(full, particles, 8), max(2, 4000 // particles)
            point = {"radius": 0.4, "rigidity": rigidity}
            reference, whole, stopped = in_turn(
                lambda events=events: fastjet.microseconds(events, 0.4),
                lambda events=events, trees=trees, point=point: tree_microseconds(
                    events, trees, **point
                ),
                lambda events=events, trees=trees, point=point: tree_microseconds(
                    events, trees, **point, settled_pt=20.0
                ),
            )
            rows.append((particles, reference, whole, stopped))
            print(
                f"{particles:5d} {reference:9.1f} {whole:9.1f} {whole / reference:6.2f} {stopped:9.1f} {stopped / reference:6.2f}",
                flush=True,
            )
        for first in (0, 2):
            size, *times = np.log(np.array(rows[first:]).T)
            slopes = [np.polyfit(size, t, 1)[0] for t in times]
            print(
                "log-log slope from {} on: FastJet {:.2f}, tree {:.2f}, stopped {:.2f}".format(
                    rows[first][0], *slopes
                )
            )


def options(fastjet: FastJet) -> None:
    """What options cost, relative to the plain tree; whole trees of ZH pT > 1 GeV at R = 0.7, alpha = 1."""
    events = classes()["ZH pT > 1 GeV"]
    variants = {
        "plain": {"radius": 0.7},
        "one R per event": {"radius": np.full(len(events), 0.7)},
        "safe scale": {"radius": 0.7, "scale": "safe"},
        "score in R, alpha and p": {"radius": 0.7, "parameters": ("radius", "rigidity", "power")},
        "variable R, score in rho": {"radius": dj.VariableR(20.0, 0.3, 1.2)},
    }
    times = in_turn(
        *(lambda v=v: tree_microseconds(events, 30, rigidity=1.0, **v) for v in variants.values())
    )
    print("\nwhole tree relative to the plain one, ZH pT > 1 GeV, R = 0.7, alpha = 1")
    for name, microseconds in zip(variants, times, strict=True):
        print(f"  {name:26s} {microseconds / times[0]:.2f}")


def main() -> None:
    """Print the tables."""
    events = classes()["ZH pT > 1 GeV"]
    dj.cluster(events.select([0]), radius=0.4, rigidity=1.0, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        fastjet = FastJet(folder)
        how = "C++" if fastjet.native else "Python package"
        print(
            f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, FastJet: {how}"
        )
        print(
            "microseconds of CPU per tree with its score and per FastJet anti-kT clustering, one core"
        )
        for table in (against_fastjet, against_size, options):
            table(fastjet)


if __name__ == "__main__":
    main()
