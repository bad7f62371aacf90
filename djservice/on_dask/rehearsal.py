"""Small calls that compile, before a run, the kernels that it needs beside those of plain trees."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from djservice.clustering.device import Device
from djservice.clustering.sampling import Sampling
from djservice.estimators.gumbel_softmax import GumbelSoftmax
from djservice.estimators.score_function import LeaveOneOut
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.input_gradient import input_gradient
from djservice.lund_planes.leading_jets import leading_sums
from djservice.objectives.angularities import angularity
from djservice.objectives.losses import SquaredError
from djservice.objectives.observables import dijet_mass
from djservice.on_dask.arithmetic import fixed_events

if TYPE_CHECKING:  # workers need no configurations
    from djservice.fit.plan import RunPlan

#: What a run may do beside growing plain trees.
Rehearsal = Literal["lund planes", "constituents", "soft trees", "particle weights"]


def rehearsals_of(plan: RunPlan, device: Device, lund: bool) -> list[Rehearsal]:
    """What a run rehearses, all of it on processors; ``lund`` is whether it makes Lund planes."""
    on_cpu = device == "cpu"
    needs: dict[Rehearsal, bool] = {
        "lund planes": lund,
        "constituents": on_cpu and (plan.loss.needs_constituents or plan.run.task == "joint"),
        "soft trees": isinstance(plan.estimator, GumbelSoftmax),
        "particle weights": on_cpu and plan.run.task == "particle-weights",
    }
    return [name for name, needed in needs.items() if needed]


async def rehearse(names: Sequence[Rehearsal]) -> None:
    """Compile their kernels in this process, which answers meanwhile."""
    for name in names:
        await asyncio.to_thread(_rehearse, name)


@functools.cache
def _rehearse(name: Rehearsal) -> None:
    events, sampling = fixed_events(), Sampling(threads=1, device="cpu")
    if name == "lund planes":
        leading_sums(events, 0.7, -1.0, 2)
    elif name == "particle weights":
        input_gradient(events, dijet_mass, radius=0.7, trees=2, threads=1, device="cpu")
    elif name == "constituents":
        loss = SquaredError(angularity(), 0.1, 0.1)
        evaluate(events, loss, LeaveOneOut(), sampling, radius=0.7, trees=2)
    else:
        loss = SquaredError(dijet_mass, 60.0, 60.0)
        evaluate(events, loss, GumbelSoftmax(), sampling, radius=0.7, trees=2)
