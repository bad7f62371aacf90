"""A GPU whose arrays are those of fake_cupy.py; its kernels are to be those of numba's simulator, or the processors'."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import fake_cupy
import numpy as np
from fake_cupy import Traffic

import djservice as dj
from djservice.clustering.device import Gpu
from djservice.clustering.sampling import Sampling
from djservice.core.array_module import array_module, to_host
from djservice.estimators.registry import ESTIMATORS
from djservice.estimators.score_function import ScoreEstimator
from djservice.evaluation.evaluate import EvaluationPart, evaluate, evaluate_each
from djservice.evaluation.reduce import reduce_events
from djservice.evaluation.tree_columns import Grown
from djservice.objectives.losses import Loss, Mean

MASS = dj.observables.dijet_mass
CUT = dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9) & dj.cuts.mass_below(250.0)
LOSSES: dict[str, Loss] = {
    "squared error": dj.SquaredError(MASS, target=125.0, scale=125.0).where(CUT),
    "to the truth": dj.SquaredError(MASS, scale=None).where(CUT),
    "of the mean": dj.SquaredErrorOfMean(MASS, target=125.0, scale=100.0).where(CUT),
    "an observable": Mean(dj.observables.scalar_ht(jets=40)),
    "soft": Mean(dj.observables.soft_dijet_mass() * dj.observables.soft_two_jets()),
    "width": dj.Width(dj.observables.leading_jet_mass).where(dj.cuts.leading_jets(1, 10.0) | ~CUT),
    "robust width": dj.RobustWidth(MASS, bins=8),
    "information": dj.MutualInformation(MASS, bins=(6, 4)).where(CUT),
    "sum": dj.SquaredError(MASS, target=125.0).where(CUT)
    + 0.1 * Mean(dj.observables.jet_multiplicity(jets=40)),
}


class FakeGpu(Gpu):
    """Kernels read and write what is in the arrays."""

    def for_kernel(self, arrays: Any) -> Any:
        return type(arrays)(*fake_cupy.unwrapped(tuple(arrays)))


def fake_gpu(free: int = 2**30) -> FakeGpu:
    """With so many free bytes."""
    return FakeGpu(fake_cupy, threads=4, block=2, free=lambda: free)


def bytes_to_host(work: Any) -> tuple[Any, int]:
    """What some work returns, and how many bytes it copied to the host."""
    before = Traffic.to_host
    found = work()
    return found, Traffic.to_host - before


def check_sums(events: dj.EventBatch, loss: Loss, rounding: float) -> None:
    """The sums of the same trees, where they are and from a copy on the host; on a GPU, for its sums have another order."""
    trees: dict[str, Any] = {
        "radius": 0.8,
        "rigidity": 1.0,
        "trees": 8,
        "jets": loss.jets,
        "settled_pt": loss.settled_pt,
    }
    sample = dj.cluster(events, **trees, states=True, device="cuda", on_device=True)
    assert (
        sample.states is not None
        and array_module(sample.momenta) is array_module(sample.states.tree) is not np
    )
    arrays = {name: to_host(getattr(sample, name)) for name in ("momenta", "scores", "numbers")}
    states = replace(
        sample.states,
        **{
            field.name: to_host(getattr(sample.states, field.name))
            for field in fields(sample.states)
        },
    )
    for estimator in (kind() for kind in ESTIMATORS if issubclass(kind, ScoreEstimator)):
        ((there, each),), ((here, each_here),) = (
            reduce_events([Grown(events, some, ())], loss, estimator, None, [len(events)])
            for some in (sample, replace(sample, **arrays, states=states))
        )
        for one, other in ((here, there), (each_here, each)):
            for name in {field.name for field in fields(one)} - {"layout"}:
                a, b = getattr(one, name), getattr(other, name)
                scale = np.nan_to_num(np.abs(a)).max(initial=0.0)
                np.testing.assert_allclose(
                    b, a, rtol=rounding, atol=rounding * scale, err_msg=f"{estimator.name} {name}"
                )


def check_bits(events: dj.EventBatch, loss: Loss) -> None:
    """Twice the same, and with other events beside."""
    how: dict[str, Any] = {"trees": 8, "iteration": 3}
    sampling, estimator = Sampling(1.0, device="cuda"), dj.StateBaseline()
    parts = [
        EvaluationPart(events.select(rows), 0.8)
        for rows in (np.arange(5), np.arange(5, len(events)))
    ]
    together = evaluate_each(parts, loss, estimator, sampling, **how)
    for _ in range(2):
        for (sums, _), part in zip(together, parts, strict=True):
            alone, _ = evaluate(part.events, loss, estimator, sampling, radius=0.8, **how)
            for name in ("total", "outer", "tree_covariance"):
                np.testing.assert_array_equal(
                    getattr(alone, name), getattr(sums, name), err_msg=name
                )
