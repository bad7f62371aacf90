"""Limits on the sizes of a run, checked before anything of such a size is allocated.

Each limit is a key below ``djservice.limits`` of Dask's configuration, with a default.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np

from djservice.config.run import Run
from djservice.core.suggest import nearest
from djservice.errors import ConfigError
from djservice.evaluation.reduce import layout_of
from djservice.fit.plan import RunPlan
from djservice.fit.radius_fit import learned
from djservice.store.columns import (
    ITERATIONS,
    NEWTON_STEPS,
    SCAN,
    VECTORS,
    VERSION_SCAN,
    StoreColumns,
)
from djservice.store.meanings import IDENTITY

#: The limits and their defaults; docs/service.md says what each of them bounds.
DEFAULTS = {
    "iterations": 100_000,
    "trees": 100_000,
    "radii": 1_000,
    "bins": 1_000,
    "jets": 1_000,
    "parameters": 10_000,
    "path-numbers": 2_000_000,
    "files": 20_000,
    "bundle-events": 1_000_000,
    "bundles": 10_000,
    "sums-bytes": 2_000_000_000,
    "store-bytes": 100_000_000_000,
    "distances": 10_000,
    "search-seconds": 10,
}


def limit(name: str) -> int:
    """The value of a limit.

    Raises
    ------
    ConfigError
        If the configuration has no whole number of 1 or more here, or a limit of another name.
    """
    configured = dask.config.get("djservice.limits", None) or {}
    if not isinstance(configured, dict):
        raise ConfigError(
            f"djservice.limits: expected a mapping of limits, found {configured!r}. Correct Dask's "
            "configuration."
        )
    values = {str(key).replace("_", "-"): value for key, value in configured.items()}
    for key in values:
        if key not in DEFAULTS:
            raise ConfigError(
                f"djservice.limits: unknown key {key}{nearest(key, list(DEFAULTS))}. Correct "
                "Dask's configuration."
            )
    value = values.get(name, DEFAULTS[name])
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(
            f"djservice.limits.{name}: expected a whole number of 1 or more, found {value!r}. "
            "Correct Dask's configuration."
        )
    return value


def check_size(name: str, where: str, size: int) -> None:
    """Check one size against a limit.

    Raises
    ------
    ConfigError
        If it is larger. The message names ``where`` the size comes from, the limit and its key.
    """
    largest = limit(name)
    if size > largest:
        raise ConfigError(
            f"{where}: expected at most {largest:,}, found {size:,}. Choose less, or raise "
            f"djservice.limits.{name} in Dask's configuration."
        )


def check_sizes(plan: RunPlan) -> None:
    """Check the sizes that a configuration sets, before any input is read.

    Raises
    ------
    ConfigError
        If one exceeds its limit.
    """
    for name, where, size in _configured(plan.run):
        check_size(name, where, size)
    check_size("jets", "jets that the loss reads", plan.loss.jets)
    parameters = len(learned(plan.run))
    check_size("path-numbers", "optimiser.iterations", parameters * plan.run.optimiser.iterations)
    if plan.run.task == "radius-model":
        names = plan.model.model.names([feature.name for feature in plan.features])
        check_size("parameters", "parameters of radius_model.model", len(names))
        check_size(
            "path-numbers",
            "radius_model.iterations times the parameters of the model",
            len(names) * plan.run.radius_model.iterations,
        )
        parameters = max(parameters, len(names))
    if plan.run.task == "particle-weights":
        number = 1 + len(plan.weighting.names)
        check_size("parameters", "parameters of particle_weights.model", number)
        check_size(
            "path-numbers",
            "particle_weights.iterations times the parameters of the model",
            number * plan.run.particle_weights.iterations,
        )
        # A worker holds two numbers of 8 bytes for each event of a batch and parameter.
        events = min(plan.run.particle_weights.batch_events, limit("bundle-events"))
        check_size(
            "sums-bytes", "particle_weights.batch_events times parameters", 16 * events * number
        )
    if plan.run.task == "joint":
        number = 1 + plan.network_parameters
        check_size("parameters", "parameters of joint.network", number)
        check_size(
            "path-numbers",
            "joint.iterations times the parameters of the network",
            number * plan.run.joint.iterations,
        )
    check_size("sums-bytes", _SUMS, sums_bytes(plan, parameters))


def check_loaded(plan: RunPlan, shape: StoreColumns, bundles: int) -> None:
    """Check the sizes that are known once the input is read.

    Raises
    ------
    ConfigError
        If one exceeds its limit.
    """
    model = shape.model
    squared = model is not None and model.group == "radius_model"
    parameters = len(model.parameters if model is not None and squared else shape.parameters)
    check_size(
        "sums-bytes", f"{_SUMS} times {bundles} bundles", bundles * sums_bytes(plan, parameters)
    )
    check_size("store-bytes", "bytes of output.store", store_bytes(shape))


_SUMS = "bytes of the sums of the loss, (bins times parameters) squared"


def _configured(run: Run) -> Iterator[tuple[str, str, int]]:
    """Limit, key and value of each size in a configuration."""
    yield "iterations", "optimiser.iterations", run.optimiser.iterations
    trees = {name: getattr(run, name).trees for name in ("optimiser", "scan", "spectrum")}
    yield from (("trees", f"{name}.trees", number) for name, number in trees.items())
    for name in ("scan", "spectrum"):
        yield "radii", f"number of {name}.radii", len(getattr(run, name).radii)
    for i, term in enumerate(run.loss):
        yield "bins", f"loss[{i}].bins", term.bins
    if run.objective is not None and run.objective.bins is not None:
        bins, edges = run.objective.bins, run.objective.kind == "significance"
        for number in (len(bins) - 1,) if edges else bins:
            yield "bins", "number of objective.bins", int(min(number, 2**62))
    for name, section in run.inputs.items():
        yield "bundle-events", f"{name}.bundle_events", section.bundle_events or 1
    if run.task == "per-event":
        yield "iterations", "per_event.iterations", run.per_event.iterations
        yield "radii", "number of per_event.starts", len(run.per_event.starts)
        for key in ("trees", "choose_trees", "score_trees"):
            yield "trees", f"per_event.{key}", getattr(run.per_event, key)
    if run.task == "particle-weights":
        yield "iterations", "particle_weights.iterations", run.particle_weights.iterations
        for key in ("trees", "score_trees"):
            yield "trees", f"particle_weights.{key}", getattr(run.particle_weights, key)
        yield from _model_sizes("particle_weights", run.particle_weights.model)
    if run.task == "joint":
        yield "iterations", "joint.iterations", run.joint.iterations
        for key in ("trees", "score_trees"):
            yield "trees", f"joint.{key}", getattr(run.joint, key)
        yield from _model_sizes("joint", run.joint.network, "network")
    if run.task == "radius-model":
        yield "iterations", "radius_model.iterations", run.radius_model.iterations
        for key in ("trees", "score_trees"):
            yield "trees", f"radius_model.{key}", getattr(run.radius_model, key)
        yield from _model_sizes("radius_model", run.radius_model.model)


def _model_sizes(section: str, model: Any, key_of: str = "model") -> Iterator[tuple[str, str, int]]:
    """Sizes of a model, as its hidden neurons, before a model of that size is built."""
    for key, value in model.items() if isinstance(model, dict) else ():
        for number in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(number, int) and key != "seed":
                yield "parameters", f"{section}.{key_of}.{key}", number


def sums_bytes(plan: RunPlan, parameters: int) -> int:
    """Bytes of the two matrices of one bundle (:mod:`djservice.evaluation.moments`)."""
    layout = layout_of(plan.robust or plan.loss, parameters)
    return 2 * 8 * math.prod(layout.categories) * layout.length**2


def store_bytes(shape: StoreColumns) -> int:
    """Bytes of the arrays of a store, uncompressed."""
    events, parameters = len(shape.keys), len(shape.parameters)
    of_iteration = len(ITERATIONS) + len(VECTORS) * (parameters + 1) + 1
    numbers = shape.iterations * of_iteration + (len(shape.scan_radii) + NEWTON_STEPS) * (
        len(SCAN) + 1
    )
    numbers += shape.spectrum_radii * (len(SCAN) + 1 + 3 * events) + 2 * events
    numbers += shape.spectrum_radii * 3 * math.prod(shape.histogram or (0,))
    if shape.versions > 1:
        of_scan = len(shape.scan_radii) * len(VERSION_SCAN)
        numbers += shape.versions * (of_scan + NEWTON_STEPS * (len(SCAN) + 2))
    if shape.starts:
        starts = len(shape.starts)
        numbers += events * (1 + 3 + starts + 2) + starts + 2 * len(SCAN)
    if shape.model is not None:
        of_iteration = len(ITERATIONS) + len(VECTORS) * len(shape.model.parameters) + 1
        numbers += shape.model.iterations * of_iteration
        for keys, _, _ in shape.model.samples.values():
            numbers += len(keys) * (3 + 4) + 2 * len(SCAN)
    identity = sum(np.dtype(kind).itemsize for kind in IDENTITY.values()) * events
    return 8 * numbers + (identity if shape.identity else 0)
