"""Variance and CPU of gradient estimators, relative to leave-one-out on whole trees.

The dijet loss of the README on three classes of events. The variance is that of an estimate from 20 trees per event, over
many of them: of ga - L gb (docs/how-it-works.md), L the loss of all events at that point, summed over events. CPU is that
of `dj.gradient`'s work: trees, observable and estimator. The geometric means are over the three radii.

    python benchmarks/estimators.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from events import classes

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.estimators.base import Estimator, StateValues, TreeValues
from djservice.evaluation.evaluate import evaluate

LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0, scale=125.0)
LOSS = LOSS.where(dj.cuts.two_jets(pt_min=20) & dj.cuts.mass_below(250))
#: Trees of one estimate, estimates of each event.
TREES, ESTIMATES = 20, 60
RADII, RIGIDITIES = (0.4, 0.7, 1.0), (1.0, 10.0, 100.0)


def variance(
    events: dj.EventBatch, estimator: Estimator, stops: bool, radius: float, rigidity: float
) -> np.ndarray:
    """Of an estimate, per event."""
    number = TREES * ESTIMATES
    sample = dj.cluster(
        events,
        radius=radius,
        rigidity=rigidity,
        trees=number,
        seed=3,
        settled_pt=20.0 if stops else None,
        states=estimator.uses_states,
    )
    _, (quantity,), accepted = LOSS.evaluate(sample.jets, events.truth)
    loss = quantity.sum() / accepted.sum()
    grouped: tuple[Any, ...] = tuple(
        np.reshape(x, (-1, TREES)) for x in (quantity, accepted.astype(float), sample.score)
    )
    follow = None
    if sample.states is not None:
        states = sample.states
        _, (of_state,), in_state = LOSS.evaluate(
            states.jets[:, np.newaxis], events.truth[states.tree // number]
        )
        follow = StateValues(
            of_state[:, 0], in_state[:, 0].astype(float), states.scores[:, 0], states.tree
        )
    slopes = estimator.slopes(TreeValues(*grouped, follow, rigidity=rigidity))
    estimates = (
        (slopes.quantity - loss * slopes.accepted).mean(axis=1).reshape(len(events), ESTIMATES)
    )
    return estimates.var(axis=1, ddof=1)


def seconds(
    events: dj.EventBatch, estimator: Estimator, stops: bool, radius: float, rigidity: float
) -> float:
    """CPU of an estimate."""
    loss = (
        LOSS
        if stops
        else LOSS.where(dj.cuts.Cut(lambda jets: jets[..., 0].pt > -1.0, "whole trees", jets=3))
    )
    times = []
    for _ in range(3):
        start = time.thread_time()
        evaluate(
            events,
            loss,
            estimator,
            Sampling(rigidity=rigidity),
            radius=radius,
            trees=TREES,
            threads=1,
        )
        times.append(time.thread_time() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    choices = {
        "score": (dj.Score(), True),
        "whole": (dj.LeaveOneOut(), False),
        "stopped": (dj.LeaveOneOut(), True),
        "state": (dj.StateBaseline(), True),
    }
    print("relative to leave-one-out on whole trees: variance / CPU / variance x CPU")
    print(
        f"{'events':14s} {'alpha':>5s} {'R':>4s} {'score':>22s} {'leave-one-out':>22s} {'state baseline':>22s}"
    )
    for name, events in classes().items():
        events = events.select(range(24 if name == "ZH full" else 60))
        for rigidity in RIGIDITIES:
            rows = []
            for radius in RADII:
                point = radius, rigidity
                spread = {
                    key: variance(events, *choice, *point).sum() for key, choice in choices.items()
                }
                cpu = {key: seconds(events, *choice, *point) for key, choice in choices.items()}
                cells = [
                    (spread[key] / spread["whole"], cpu[key] / cpu["whole"])
                    for key in ("score", "stopped", "state")
                ]
                rows.append(np.log([(v, c, v * c) for v, c in cells]))
                print(
                    f"{name:14s} {rigidity:5g} {radius:4.1f} " + text(np.exp(rows[-1])), flush=True
                )
            print(
                f"{name:14s} {rigidity:5g} mean " + text(np.exp(np.mean(rows, axis=0))), flush=True
            )


def text(cells: np.ndarray) -> str:
    """One cell for each estimator."""
    return " ".join(f"{v:8.3g} {c:5.2f} {product:7.3g}" for v, c, product in cells)


if __name__ == "__main__":
    main()
