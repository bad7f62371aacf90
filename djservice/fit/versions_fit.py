"""The best radius for each version of the events, by Newton steps from that for all of them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.errors import NothingAcceptedError
from djservice.evaluation.moments import Moments
from djservice.fit.all_events import all_events
from djservice.fit.curvature import curvature_at
from djservice.fit.newton import Newton, RadiusErrors
from djservice.fit.newton_steps import take_steps
from djservice.fit.requests import Evaluate, Request
from djservice.store.columns import NEWTON_STEPS, SCAN, VERSION_SCAN
from djservice.store.run_store import Store

#: Group of the store.
GROUP = "robust"
#: Standard errors from which the curvature of a version is not that of all.
_CLEARLY = 3.0


def version_columns(moments: Moments) -> dict[str, Floats]:
    """Loss and gradient of each version of the events in one row, shape (1, version) each.

    They are NaN if no tree passes the selection.
    """
    ones = np.eye(moments.layout.versions)
    columns: dict[str, list[float]] = {name: [] for name in VERSION_SCAN}
    for one in ones:
        try:
            loss, gradient = moments.loss_along(one), moments.gradient_along(one)
            values = (loss.value, loss.tree_error, gradient.value, gradient.tree_error)
        except NothingAcceptedError:
            values = (math.nan,) * 4
        for name, value in zip(VERSION_SCAN, values, strict=True):
            columns[name].append(value)
    return {name: np.array([values]) for name, values in columns.items()}


def version_scan(store: Store, version: int) -> dict[str, Any]:
    """Columns of the scan of one version, as :func:`curvature_at` takes them."""
    columns = {"radius": store.column("scan", "radius")}
    for name in VERSION_SCAN:
        columns[name.removeprefix("version_")] = store.column("scan", name)[:, version]
    return columns


def version_curvature(store: Store, version: int) -> Callable[[float], tuple[float, float]]:
    """d^2L/dR^2 of a version and its standard error, as a function of R.

    The versions are of the same events, so their losses are nearly the same function of R. Their
    trees are not: the curvature of one has a large error, of which R and its shift would be made.
    So it is that of their mean, unless that of the version clearly differs. Versions may have common
    trees, so the error of the mean is that of one of them.
    """
    every = range(store.column("scan", VERSION_SCAN[0]).shape[1])
    scans = [version_scan(store, each) for each in every]
    mean = {name: np.mean([scan[name] for scan in scans], axis=0) for name in scans[0]}
    mean["radius"] = scans[0]["radius"]

    def at(radius: float) -> tuple[float, float]:
        common, error = curvature_at(radius, mean)
        alone, of_alone = curvature_at(radius, scans[version])
        if abs(alone - common) > _CLEARLY * math.hypot(of_alone, error):
            return alone, of_alone
        return common, error

    return at


def shift_errors(moments: Moments, store: Store, radius: float) -> list[float | None]:
    """Standard error over events of R of each version minus that of the first, to first order.

    The versions are of the same events, so most of their errors is common to them. None where it is
    not determined.
    """
    curvatures = [
        version_curvature(store, version)(radius)[0] for version in range(moments.layout.versions)
    ]
    errors: list[float | None] = []
    for version, curvature in enumerate(curvatures):
        if not (curvature > 0.0 and curvatures[0] > 0.0):
            errors.append(None)
            continue
        factors = np.zeros(len(curvatures))
        factors[version] += 1.0 / curvature
        factors[0] -= 1.0 / curvatures[0]
        try:
            slope = moments.gradient_along(factors)
            errors.append(math.sqrt(max(slope.error**2 - slope.tree_error**2, 0.0)))
        except NothingAcceptedError:
            errors.append(None)
    return [None if error is None else _known(error) for error in errors]


async def fit_versions(
    run: Run,
    evaluate: Evaluate,
    store: Store,
    watch: Watch,
    radius: float,
    rigidity: float | None,
    with_trees: Callable[[Request], Awaitable[Request]],
) -> None:
    """Find the root of dL/dR of each version, and write what it differs by.

    Parameters
    ----------
    radius, rigidity
        R for all versions together, where the steps begin, and a learned rigidity.
    with_trees
        A request with the trees of each event.
    """
    names = ["none", *(_title(value) for value in run.robust.augmentations)]
    watch.phase("R of each", len(names) * NEWTON_STEPS, store.n_complete(GROUP))
    rows, table, row = [], [], 0
    for version in range(len(names)):
        curvature = version_curvature(store, version)
        newton = Newton(radius, run.radius.minimum, run.radius.maximum, curvature)

        async def step(
            number: int, at: float, version: int = version
        ) -> tuple[dict[str, float], Moments]:
            request = Request(
                at, run.spectrum.trees, "newton", number, rigidity=rigidity, version=version
            )
            numbers, moments, _ = await all_events(evaluate, await with_trees(request), watch)
            return numbers, moments

        rows.append(row)
        row = await take_steps(
            newton, store, GROUP, step, watch, first=row, label={"version": version}
        )
        table.append(newton)
    store.rewind(GROUP, row)  # rows of other steps
    columns = {name: store.column(GROUP, name)[rows].tolist() for name in ("radius", *SCAN)}
    store.set_of(GROUP, table=_table(names, table, columns, store))


def _table(
    names: list[str], fits: list[Newton], at_common: dict[str, list[float]], store: Store
) -> list[dict[str, Any]]:
    """What is known of each version, as plain data; None where it is not determined."""
    of_events, first = store.attribute("spectrum", "shift_errors"), fits[0]
    table = []
    for version, (name, fit) in enumerate(zip(names, fits, strict=True)):
        known = fit.errors is not None
        shift = fit.radius - first.radius if known and first.errors is not None else None
        entry: dict[str, Any] = {
            "name": name,
            "radius": fit.radius if known else None,
            "radius_error": fit.errors.total if fit.errors else None,
            "shift": shift if version else None,
            "shift_error": _shift_error(of_events[version], fit.errors, first.errors)
            if version
            else None,
            "note": fit.failure,
        }
        for column in ("loss", "loss_error", "mean", "mean_error"):
            entry[column] = at_common[column][version]
        table.append(entry)
    return [{key: _known(value) for key, value in entry.items()} for entry in table]


def _shift_error(
    of_events: float | None, one: RadiusErrors | None, other: RadiusErrors | None
) -> float | None:
    if of_events is None or one is None or other is None:
        return None
    return math.hypot(of_events, one.trees, other.trees, one.optimiser, other.optimiser)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _title(value: Any) -> str:
    """An augmentation as a configuration spells it."""
    parameters = {key: number for key, number in value.items() if key != "name"}
    text = ", ".join(f"{key} {number}" for key, number in parameters.items())
    return f"{value['name']} ({text})" if text else str(value["name"])
