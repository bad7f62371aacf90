"""Cost of a tree's objective: thread CPU time on one core per tree, the least of several rounds.

A tree is grown and stopped for two jets above 20 GeV. Objectives of constituents include their kernel. A network is timed if it
is given:

    python benchmarks/objectives.py [tagger.onnx preprocess.json output]
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import djservice as dj

ROUNDS, TREES, RADIUS = 4, 20, 0.7


def microseconds(work: Callable[[], Any], trees: int) -> float:
    """Of one tree."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1e6 * min(times) / trees


@dj.observable(constituents=64)
def only_listed(jets: Any, particles: Any) -> Any:
    """What the kernel and the tables of constituents cost."""
    return particles.count


def evaluated(observable: Any, events: Any, **how: Any) -> Any:
    """Values of the trees of all events."""
    return observable(dj.cluster(events, **how).jets)


def main() -> None:
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=1.0))
    observables = {
        "mass": dj.observables.leading_jet_mass,
        "constituents alone": only_listed,
        "angularity": dj.observables.angularity(1.0, 1.0),
        "log angularity": dj.observables.log_angularity(),
    }
    if len(sys.argv) == 4:
        observables["network"] = dj.observables.onnx(*sys.argv[1:])
    print("| objective | alpha | us per tree | ratio | distinct jets |\n|---|---|---|---|---|")
    for alpha in (1.0, 10.0, 100.0):
        how: dict[str, Any] = {
            "radius": RADIUS, "rigidity": alpha, "trees": TREES, "threads": 1, "settled_pt": 20.0,
        }  # fmt: skip
        least = None
        for name, observable in observables.items():
            kept = observable.needs_constituents

            work = functools.partial(evaluated, observable, events, constituents=kept, **how)
            cost = microseconds(work, TREES * len(events))
            least = least or cost
            sample = dj.cluster(events, constituents=True, **how)
            _, number = sample.constituents.distinct
            used = number.reshape(-1, 2)[:, 0]
            share = len({int(k) for k in used[used >= 0]}) / max((used >= 0).sum(), 1)
            print(f"| {name} | {alpha:g} | {cost:.1f} | {cost / least:.2f} | {share:.2f} |")


if __name__ == "__main__":
    main()
