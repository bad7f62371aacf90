"""How often the error of a loss covers: samples of n events drawn from many, against all of them.

    python benchmarks/coverage.py FILES...

FILES have the mass of a Higgs boson per event, as those of workflows/zh_radius_model.yaml. The table
of docs/results.md is made of it.
"""

from __future__ import annotations

import sys

import numpy as np

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.evaluation.evaluate import EvaluationPart, evaluate_each
from djservice.evaluation.moments import Moments

MASS, TREES = dj.observables.dijet_mass, 20
JETS = dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9)
LOSSES = {
    "robust_width": dj.RobustWidth(MASS, scale=None, low=0.0, high=2.5, bins=25).where(JETS),
    "width": dj.Width(MASS, scale=None).where(JETS),
    "squared_error": dj.SquaredError(MASS, scale=None).where(JETS & dj.cuts.mass_below(250.0)),
}


def main(files: list[str]) -> None:
    """Print the coverage of the errors of L and dL/dR for each loss and number of events."""
    events = dj.read(files, schema=dj.schemas.nanoaod(pt_min=0.5, truth="GenPart:higgs"))
    parts = [EvaluationPart(events.select([i]), 0.7) for i in range(len(events))]
    for name, loss in LOSSES.items():
        sampling = Sampling(1.0, seed=3)
        each = [m for m, _ in evaluate_each(parts, loss, dj.LeaveOneOut(), sampling, trees=TREES)]
        total = np.array([moments.total for moments in each])
        trees = np.array([moments.tree_covariance for moments in each])

        def of(rows: np.ndarray, each=each, total=total, trees=trees) -> tuple[float, ...]:  # type: ignore[no-untyped-def, type-arg]
            z = total[rows]
            moments = Moments(
                each[0].layout, z.sum(axis=0), z.T @ z, trees[rows].sum(axis=0), len(rows),
                len(rows), 0, TREES * len(rows), 1, 0.0,
            )  # fmt: skip
            loss, slope = moments.loss(), moments.gradient()
            return loss.value, loss.error, slope.value, slope.error

        truth = of(np.arange(len(events)))
        rng = np.random.default_rng(7)
        for n in (20, 50, 100, 200, 500, 1000):
            number = 2000 if n <= 200 else 500
            draws = np.array([of(rng.integers(0, len(events), n)) for _ in range(number)])
            covers = [np.mean(np.abs(draws[:, k] - truth[k]) < draws[:, k + 1]) for k in (0, 2)]
            errors = [np.sqrt(c * (1 - c) / len(draws)) for c in covers]
            text = "  ".join(f"{c:.3f} +- {e:.3f}" for c, e in zip(covers, errors, strict=True))
            print(f"{name:14} {n:5} events: L {text} dL/dR", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
