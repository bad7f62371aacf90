"""run(run): a run from its input to its store, on an embedded or an existing Dask cluster."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from djservice.config.run import Run
from djservice.core.arguments import checked_arguments
from djservice.core.formatting import counted
from djservice.core.notebook import shown
from djservice.core.private import public
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash, execution
from djservice.core.shown import ShownSteps, shown_of
from djservice.core.urls import basename
from djservice.errors import DjserviceError
from djservice.evaluation.allocation import allotted
from djservice.evaluation.evaluate import trees_needed
from djservice.evaluation.targets import Truth
from djservice.fit.joint_fit import JointFit, JointSample
from djservice.fit.model_fit import ModelFit, Sample
from djservice.fit.plan import RunPlan
from djservice.fit.radius_fit import RadiusFit, given_radius, learned, spectrum_radii
from djservice.fit.weights_fit import WeightSample, WeightsFit
from djservice.lund_planes.density import SUMS_SHAPE
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.limits import check_loaded, check_sizes
from djservice.on_dask.session import client_for, run_to_completion
from djservice.runs.finished import FinishedRun
from djservice.store import run_store as stores
from djservice.store.columns import StoreColumns
from djservice.store.location import store_path
from djservice.store.run_store import Store


@checked_arguments
def run(
    run: Run | str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> FinishedRun:
    """Start a run, or continue it from its store.

    Parameters
    ----------
    run
        Configuration of the run, or the path of its YAML file.
    overwrite
        If True, an existing store is deleted first.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    FinishedRun
        The optimum with its error, and the store.

    Raises
    ------
    DjserviceError
        If anything goes wrong. The store keeps finished work, and the same call continues from
        there.
    """
    plan = RunPlan(run)
    check_sizes(plan)
    plan.check()  # before a cluster is started
    if not overwrite:
        stores.check_it_continues(store_path(plan.run.output.store), plan.run.numbers)
    with shown(watch) as display:
        return run_to_completion(_on_cluster(plan, overwrite, display), display)


async def _on_cluster(plan: RunPlan, overwrite: bool, watch: Watch) -> FinishedRun:
    try:
        async with client_for(plan.run.cluster, watch) as client:
            return await run_on(client, plan, watch, overwrite=overwrite)
    except asyncio.CancelledError as stop:
        if str(stop):
            raise
        what = "nothing was deleted or written yet" if overwrite else "the same command goes on"
        raise asyncio.CancelledError(
            f"stopped by a signal while the run was prepared; {what}"
        ) from None


async def run_on(
    client: Client, plan: RunPlan, watch: Watch, *, overwrite: bool = False
) -> FinishedRun:
    """Start a run on the cluster of ``client``, or continue it from its store.

    Both :func:`run` and the service on a scheduler use this function. On cancellation it writes
    finished work and marks the store as interrupted, with the message of the cancellation.

    Raises
    ------
    DjserviceError
        If anything goes wrong.
    CancelledError
        On cancellation, with the number of finished iterations.
    """
    check_sizes(plan)
    run = plan.run
    watch = ShownSteps(watch, shown_of(run.to_dict()))
    path = store_path(run.output.store)
    for line in plan.defaults:
        watch.say(line)
    bundles = await Bundles.load(client, plan, watch, lund=True)
    plan.check_events(bundles.truth)
    identities = _identities(bundles, "input") | plan.observable_files
    model = await _model(client, plan, bundles, identities, watch)
    columns = _columns(plan, bundles, model)
    check_loaded(plan, columns, len(bundles.bundles))
    if overwrite:  # after the input was read, so that a bad one deletes nothing
        stores.remove(path)
    with Store.open(
        path,
        _attributes(plan, bundles),
        {**run.numbers, **identities, "cluster.device": bundles.device, "code": code_hash()},
        columns,
    ) as store:
        _say_changes(store, watch)
        fit_model = None if model is None else model.run_to_completion
        fit_events = (
            functools.partial(bundles.per_event, plan.per_event)
            if run.task == "per-event"
            else None
        )
        allot = functools.partial(
            allotted,
            counts=bundles.counts,
            trees=run.spectrum.trees,
            fewest=trees_needed(plan.robust or plan.loss, plan.estimator),
            rigidity=run.clustering.rigidity,
        )
        fit = RadiusFit(
            run, bundles.keys, bundles.evaluate, store, watch, fit_events, fit_model, bundles.lund,
            allot,
        )  # fmt: skip
        with _advice(store, overwrite, "history" if given_radius(run) is None else "joint"):
            return FinishedRun(await fit.run_to_completion(), path)


async def _model(
    client: Client, plan: RunPlan, bundles: Bundles, identities: dict[str, Any], watch: Watch
) -> ModelFit | WeightsFit | JointFit | None:
    """What a run of its task trains beside R; None for a radius alone."""
    match plan.run.task:
        case "radius-model":
            return await _model_fit(client, plan, bundles, identities, watch)
        case "particle-weights":
            await bundles.prepare(plan.weighting)
            return WeightsFit(plan, _weight_sample(bundles), watch)
        case "joint":
            target = plan.network.target
            label = bundles.truth if isinstance(target, Truth) else await bundles.classes(target)
            sample = JointSample(bundles.joint, bundles.keys, bundles.weight, label)
            return JointFit(plan, sample, watch)
    return None


def _attributes(plan: RunPlan, bundles: Bundles) -> dict[str, Any]:
    """The attributes of the store of a run, before it has results."""
    observable = plan.observable
    return {
        "run": plan.run.to_dict(),
        "versions": bundles.versions,
        "execution": execution(),
        "inputs": [public(asdict(file)) for file in bundles.inputs],
        "quarantined": [public(asdict(bad)) for bad in bundles.bad],
        "events": len(bundles.keys),
        "datasets": bundles.datasets,
        "reading": bundles.reading,
        "observable": {"name": observable.name.replace("_", " "), "units": observable.units},
    }


def _columns(
    plan: RunPlan, bundles: Bundles, model: ModelFit | WeightsFit | JointFit | None
) -> StoreColumns:
    """The arrays of the store of a run."""
    run = plan.run
    return StoreColumns(
        iterations=run.optimiser.iterations,
        scan_radii=run.scan.radii,
        spectrum_radii=len(spectrum_radii(run, np.nan)),
        keys=bundles.keys,
        weight=bundles.weight,
        parameters=tuple(parameter.name for parameter in learned(run)),
        starts=run.per_event.starts if run.task == "per-event" else (),
        model=None if model is None else model.shape,
        histogram=plan.histogram,
        lund=SUMS_SHAPE,
        versions=1 + len(run.robust.augmentations),
        identity=bundles.identity,
        units=plan.observable.units,
    )


def _say_changes(store: Store, watch: Watch) -> None:
    """Say what was damaged, and what is not as it was when the run began."""
    for damage in store.mended:
        watch.say(f"{store.path}: damaged: {damage}; what is lost is computed again")
    for change in store.changes:
        watch.say(
            f"continued with other versions {change}. Numbers may differ in the last bits from "
            "those of an uninterrupted run."
        )


@contextlib.contextmanager
def _advice(store: Store, overwrite: bool, group: str) -> Iterator[None]:
    """Mark a run that is cancelled, and say by which command a run that stops is continued.

    Its iterations are the rows of ``group``.
    """
    try:
        yield
    except asyncio.CancelledError as stop:
        store.set(status="interrupted", message=str(stop) or "stopped by a signal")
        without = " without --overwrite" if overwrite else ""
        raise asyncio.CancelledError(
            f"stopped after {counted(store.n_complete(group), 'iteration')}; the same command{without} "
            "continues from there"
        ) from None
    except DjserviceError as error:
        if not overwrite:
            raise
        raise type(error)(
            f"{error} To continue, leave out --overwrite, which begins again."
        ) from error


def _identities(bundles: Bundles, section: str) -> dict[str, Any]:
    """Identities of an input, independent of its folder, and the ranges that are left out.

    The ranges are included because another reading may leave out different entries.
    """
    identities: dict[str, Any] = {}
    for i, file in enumerate(bundles.inputs):
        identities[f"{section}.files[{i}]"] = [
            basename(file.path),
            file.size,
            file.uuid,
            file.entries,
        ]
        if bundles.datasets:
            steps = None if file.steps is None else [list(step) for step in file.steps]
            identities[f"{section}.files[{i}]"] += [file.dataset, file.tree, steps]
    for name, facts in bundles.datasets.items():
        identities[f"{section}.datasets.{name}"] = facts["metadata"]
    if bundles.lund_weights is not None:
        identities[f"{section}.lund_weights.digest"] = bundles.lund_weights.digest
    if bundles.reading["selection"]:
        identities[f"{section}.selection"] = bundles.reading["selection"]
    if bundles.bad:
        identities[f"{section}.quarantined"] = [
            [basename(bad.path), bad.first, bad.last] for bad in bundles.bad
        ]
    return identities


def _weight_sample(bundles: Bundles) -> WeightSample:
    """The events of prepared bundles, and what evaluates requests on them."""
    return WeightSample(
        bundles.evaluate,
        bundles.weight_slopes,
        bundles.weight_profile,
        bundles.keys,
        bundles.weight,
        bundles.truth,
    )


async def _model_fit(
    client: Client, plan: RunPlan, bundles: Bundles, identities: dict[str, Any], watch: Watch
) -> ModelFit:
    """Fit of the radius model, with the features of its samples; their identities are added."""
    settings = plan.run.radius_model

    async def sample(events: Bundles) -> Sample:
        features = await events.find_features(
            plan.features, settings.feature_radius, plan.run.clustering.power
        )
        return Sample(events.evaluate, events.keys, events.weight, events.truth, features)

    checks = {}
    for name in settings.checks:
        watch.say(f"sample {name}:")
        section = f"radius_model.checks.{name}"
        loaded = await Bundles.load(client, plan, watch, section)
        checks[name] = await sample(loaded)
        identities |= _identities(loaded, section)
    return ModelFit(plan, await sample(bundles), checks, watch)
