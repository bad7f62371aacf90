"""Cost of one stochastic tree with its score against one FastJet clustering of the same event.

Thread CPU time on one core, the least of several rounds for both, taken in turn in one run; the compile time is stated apart.
FastJet is timed in C++ where g++ and the FastJet headers are installed (Debian: libfastjet-dev), else through its Python package,
whose conversion of the particles is then part of its time.

    python benchmarks/trees.py                     # on the shipped events
    python benchmarks/trees.py --full FILE.root --boosted BOOSTED.root

FILE holds particles of all pT (workflows/generate_zh.py --pt-min 0), BOOSTED the same with --pt-hat-min 250, of whose events
the constituents of the leading R = 1.0 anti-kT jet are taken.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import djservice as dj

HERE = Path(__file__).parent
#: Rounds of one measurement of each kind, in turn; the least of each counts, for other work on a machine only adds.
ROUNDS = 6


def momenta(events: dj.EventBatch) -> list[np.ndarray]:
    """px, py, pz, E of each event."""
    transverse = np.hypot(events.pt, events.mass)
    columns = (
        events.pt * np.cos(events.phi),
        events.pt * np.sin(events.phi),
        transverse * np.sinh(events.rapidity),
        transverse * np.cosh(events.rapidity),
    )
    return np.split(np.stack(columns, axis=1), events.offsets[1:-1])


def leading_jet_constituents(events: dj.EventBatch) -> dj.EventBatch:
    """Of each event the particles of the leading R = 1.0 anti-kT jet."""
    exact = dj.cluster(events, radius=1.0, rigidity=np.inf, jets=1, history=True)
    kept = np.zeros(len(events.pt), bool)
    for event, n in enumerate(events.counts):
        members: dict[int, list[int]] = {i: [i] for i in range(n)}
        jets = []
        for step, (a, b) in enumerate(exact.history_of(event, 0)):
            if b < 0:
                jets.append(members[a])
            else:
                members[n + step] = members[a] + members[b]
        start = events.offsets[event]
        p = momenta(events)[event]
        leading = max(jets, key=lambda jet: np.hypot(*p[jet, :2].sum(axis=0)))
        kept[start + np.array(leading)] = True
    counts = np.add.reduceat(kept, events.offsets[:-1])
    columns = {name: getattr(events, name)[kept] for name in ("pt", "rapidity", "phi", "mass")}
    return dj.EventBatch.from_arrays(**columns, offsets=np.concatenate([[0], np.cumsum(counts)]))


class FastJet:
    """Times FastJet in C++ if it can be built, else in Python."""

    def __init__(self, folder: str) -> None:
        self.binary = Path(folder) / "timer"
        command = ["g++", "-O3", "-march=native", str(HERE / "fastjet_timer.cc"), "-o", str(self.binary), "-lfastjet"]
        self.native = shutil.which("g++") is not None and subprocess.run(command, capture_output=True).returncode == 0

    def microseconds(self, events: dj.EventBatch, radius: float) -> np.ndarray:
        """Of one clustering of each event."""
        if self.native:
            data = b"".join(np.int32(len(p)).tobytes() + p.tobytes() for p in momenta(events))
            done = subprocess.run([self.binary, str(radius), "5"], input=data, capture_output=True, check=True)
            return np.array(done.stdout.split(), dtype=float)
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
        return np.array(times)


def tree_microseconds(events: dj.EventBatch, radius: float, rigidity: float, trees: int, stop: float | None) -> float:
    """Of one tree with its score, mean over the events; with exact stopping if ``stop`` is a pT."""
    start = time.thread_time()
    dj.cluster(events, radius=radius, rigidity=rigidity, trees=trees, seed=1, threads=1, settled_pt=stop)
    return 1e6 * (time.thread_time() - start) / len(events) / trees


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", help="ROOT file with particles of all pT")
    parser.add_argument("--boosted", help="ROOT file of boosted events with particles of all pT")
    given = parser.parse_args()
    start = time.perf_counter()
    shipped = dj.read("example:ZHllbb_1000", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 60))
    dj.cluster(shipped.select([0]), radius=0.4, rigidity=1.0, threads=1)
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}; compile or load: {time.perf_counter() - start:.1f} s"
    )
    classes = {"ZH pT > 1 GeV": (shipped, 30)}
    classes["ZH pT > 0.5 GeV"] = (
        dj.read("example:ZHllbb_1000", schema=dj.schemas.nanoaod(pt_min=0.5), entries=(0, 60)),
        10,
    )
    if given.boosted:
        classes["fat jets"] = (leading_jet_constituents(dj.read(given.boosted, entries=(0, 60))), 30)
    if given.full:
        classes["ZH full"] = (dj.read(given.full, entries=(0, 30)), 5)
    with tempfile.TemporaryDirectory() as folder:
        fastjet = FastJet(folder)
        print(
            f"FastJet: {'C++' if fastjet.native else 'Python package'}, default strategy, anti-kT; microseconds per tree or event, one core"
        )
        print(
            f"{'events':18s} {'n':>4s} {'R':>4s} {'alpha':>6s} {'FastJet':>8s} {'tree':>8s} {'ratio':>6s} {'stopped':>8s} {'ratio':>6s}"
        )
        for name, (events, trees) in classes.items():
            for radius, rigidity in ((0.4, 1.0), (1.0, 1.0), (0.4, 10.0), (0.4, 100.0)):
                rounds = [
                    (
                        fastjet.microseconds(events, radius).mean(),
                        tree_microseconds(events, radius, rigidity, trees, None),
                        tree_microseconds(events, radius, rigidity, trees, 20.0),
                    )
                    for _ in range(ROUNDS)
                ]
                reference, whole, stopped = np.min(rounds, axis=0)
                row = f"{name:18s} {np.median(events.counts):4.0f} {radius:4.1f} {rigidity:6g} {reference:8.1f}"
                print(
                    f"{row} {whole:8.1f} {whole / reference:6.2f} {stopped:8.1f} {stopped / reference:6.2f}", flush=True
                )


if __name__ == "__main__":
    main()
