"""Cost of the score in the particles against the tree alone, and which derivatives stand out of their noise.

Thread CPU time on one core, the least of several rounds for both, taken in turn in one run. The second table is of
`dj.input_gradient` of the dijet mass: the median of |derivative| / error over particles, by pT. Pure noise shows 0.67.

    python benchmarks/input_score.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from events import generated

import djservice as dj
from djservice.clustering.particle_cotangents import particle_cotangents
from djservice.clustering.sampling import Sampling, TreeRequest

ROUNDS, RADIUS = 6, 0.6
SETTINGS = (("minimum", 0.1), ("minimum", 1.0), ("safe", 1.0), ("minimum", 10.0))


def some_events() -> dict[str, tuple[dj.EventBatch, int]]:
    """Events of about 70, 140 and 365 particles, and trees of each."""
    schema = dj.schemas.nanoaod
    small, medium = (
        dj.read("example:ZHllbb_1000", schema=schema(pt_min=pt_min), entries=(0, 60))
        for pt_min in (1.0, 0.5)
    )
    return {
        "ZH pT > 1 GeV": (small, 40),
        "ZH pT > 0.5 GeV": (medium, 40),
        "ZH full": (generated("full.root", 60), 10),
    }


def microseconds(
    events: dj.EventBatch, trees: int, sampling: Sampling, stopped: float | None
) -> Any:
    """Of a tree alone, and of a tree with its score and pathwise part added to the sums."""
    factors, jets = np.ones((len(events), trees, 1, 2)), np.ones((len(events), trees, 2, 4))
    request, settings = TreeRequest(trees, 2, settled_pt=stopped), vars(sampling)

    def plain() -> None:
        dj.cluster(events, radius=RADIUS, trees=trees, settled_pt=stopped, **settings)

    def scored() -> None:
        particle_cotangents(
            events, RADIUS, sampling, request, factors, jets, coordinates="px_py_pz_E"
        )

    def seconds(work: Any) -> float:
        start = time.thread_time()
        work()
        return time.thread_time() - start

    rounds = [[seconds(plain), seconds(scored)] for _ in range(ROUNDS)]
    return 1e6 * np.min(rounds, axis=0) / len(events) / trees


def costs() -> None:
    """The first table."""
    print("microseconds of CPU per tree, without and with the score in the particles, one core")
    print(
        f"{'events':16s} {'n':>4s} {'scale':8s} {'alpha':>5s} {'tree':>7s} {'scored':>7s} {'ratio':>5s} {'stopped':>8s} {'scored':>7s} {'ratio':>5s}"
    )
    for name, (events, trees) in some_events().items():
        for scale, rigidity in SETTINGS:
            sampling = Sampling(rigidity, scale=scale, seed=1, device="cpu", threads=1)  # type: ignore[arg-type]
            microseconds(events.select([0]), 1, sampling, None)
            whole, stopped = (microseconds(events, trees, sampling, pt) for pt in (None, 20.0))
            row = f"{name:16s} {np.median(events.counts):4.0f} {scale:8s} {rigidity:5g}"
            for plain, scored in (whole, stopped):
                row += f" {plain:8.1f} {scored:7.1f} {scored / plain:5.2f}"
            print(row, flush=True)


def signals() -> None:
    """The second table."""
    trees = 1000
    print(f"\nmedian of |derivative| / error of the mean dijet mass, {trees} trees of each event")
    print(
        f"{'events':16s} {'scale':8s} {'alpha':>5s} {'pt > 5':>14s} {'1 < pt < 5':>14s} {'pt < 1':>14s}   (in pt, in y and phi)"
    )
    for name, (events, _) in list(some_events().items())[:2]:
        for scale, rigidity in (("minimum", 1.0), ("safe", 1.0), ("safe", 5.0)):
            gradient = dj.input_gradient(
                events.select(range(20)), dj.observables.dijet_mass, radius=RADIUS, rigidity=rigidity, scale=scale,
                trees=trees, seed=2, coordinates="pt_y_phi_m", device="cpu",
            )  # fmt: skip
            error = np.where(
                gradient.error > 0.0, gradient.error, np.inf
            )  # some have no part in any tree
            ratio, pt = np.abs(gradient.value) / error, events.select(range(20)).pt
            row = f"{name:16s} {scale:8s} {rigidity:5g}"
            for low, high in ((5.0, np.inf), (1.0, 5.0), (0.0, 1.0)):
                chosen = ratio[(pt > low) & (pt <= high)]
                if len(chosen):
                    row += f" {np.median(chosen[:, 0]):6.2f} {np.median(chosen[:, 1:3]):6.2f} "
            print(row, flush=True)


if __name__ == "__main__":
    costs()
    signals()
