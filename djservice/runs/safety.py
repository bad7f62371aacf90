"""Infrared and collinear safety of a run's objective: ``djservice check-irc``."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import replace

from djservice.analysis.emission_sums import EmissionSums
from djservice.analysis.safety import (
    EPSILONS,
    IrcCheck,
    Safety,
    cases,
    checked_epsilons,
    need_trees,
    safety_of,
)
from djservice.config.run import Run
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import BOUNDS
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.errors import ConfigError, InputError
from djservice.fit.objective_checks import check_datasets
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.limits import check_size
from djservice.on_dask.session import client_for, run_to_completion


@checked_arguments
def check_irc_of(
    run: Run,
    *,
    radius: float | None = None,
    rigidity: float | None = None,
    trees: int | None = None,
    epsilons: Sequence[float] = (),
    watch: Watch | None = None,
) -> IrcCheck:
    """How much the loss of a run changes by soft and collinear emissions, over all its events.

    Parameters
    ----------
    run
        Run that gives the input, the clustering, the loss and the cluster. Trees grow on
        processors.
    radius, rigidity, trees, epsilons
        As of :func:`djservice.check_irc`. The defaults are ``radius.start``, the run's rigidity,
        ``scan.trees``, and :data:`djservice.analysis.safety.EPSILONS`.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or a number has no meaning.
    """
    request = Request(
        run.radius.start if radius is None else radius,
        run.scan.trees if trees is None else trees,
        "sample",
        rigidity=run.clustering.rigidity if rigidity is None else rigidity,
    )
    for name, value in (
        ("radius", request.radius),
        ("rigidity", request.rigidity),
        ("trees", request.trees),
    ):
        if not BOUNDS[name].holds(value):
            raise ConfigError(f"{name}: expected {BOUNDS[name]}, found {value}.")
    try:
        sizes = checked_epsilons(epsilons or EPSILONS)
    except InputError as error:
        raise ConfigError(str(error)) from None
    check_size("trees", "trees", request.trees)
    on_processors = run.cluster.model_copy(update={"device": "cpu"})
    plan = RunPlan(run.model_copy(update={"cluster": on_processors}))
    check_datasets(plan.loss, plan.input().fileset)
    try:
        need_trees(plan.loss, request.trees)
    except InputError as error:
        raise ConfigError(str(error)) from None
    with shown(watch) as display:
        return run_to_completion(_check(plan, request, sizes, display), display)


async def _check(
    plan: RunPlan, request: Request, epsilons: Sequence[float], watch: Watch
) -> IrcCheck:
    async with client_for(plan.run.cluster, watch) as client:
        for line in plan.defaults:
            watch.say(line)
        bundles = await Bundles.load(client, plan, watch)
        plan.check_events(bundles.truth)
        every = cases(request.rigidity or 1.0)
        watch.phase("emissions", len(every) * len(bundles.bundles), 0)
        results: list[Safety] = []
        for kind, clustering, alpha in every:
            parts: list[EmissionSums] = []
            of_case = replace(request, rigidity=alpha)
            async for part in bundles.emissions(of_case, kind, epsilons):
                parts.append(part)
                watch.step({"trees": part.loss.trees})
            sums = functools.reduce(operator.add, parts)
            results += safety_of(sums, clustering, kind, plan.loss, epsilons)
        scale = plan.run.clustering.scale
        return IrcCheck(
            len(bundles.keys),
            request.trees,
            f"{request.radius}",
            request.rigidity or 1.0,
            scale,
            tuple(results),
        )
