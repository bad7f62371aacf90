"""Grids of radius, rigidity and estimator: ``djservice scan`` and ``djservice compare``.

A grid is a Zarr store. Its cells are filled in order, and the attribute ``n_complete`` counts them,
so a grid that was stopped continues where it was. All cells have the same events, and cells of the
same repetition have the same random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from djservice.config.run import Run
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import BOUNDS
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash
from djservice.core.shown import ShownSteps, shown_of
from djservice.core.urls import basename
from djservice.errors import ConfigError, NothingAcceptedError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import trees_needed
from djservice.evaluation.moments import Moments
from djservice.fit.all_events import spectrum_numbers
from djservice.fit.objective_checks import check_datasets
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.limits import check_size
from djservice.on_dask.session import client_for, run_to_completion
from djservice.store.grid_store import COLUMNS, GridStore, open_grid


@dataclass(frozen=True)
class Grid:
    """Axes of a grid: every estimator at every rigidity and radius, repeated with new trees.

    Attributes
    ----------
    estimators, rigidities, radii
        Values on the axes.
    repetitions
        Number of independent estimates at each point.
    trees
        Trees per event and repetition.
    """

    estimators: tuple[Estimator, ...]
    rigidities: tuple[float, ...]
    radii: tuple[float, ...]
    repetitions: int
    trees: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes: (estimator, rigidity, radius, repetition)."""
        return len(self.estimators), len(self.rigidities), len(self.radii), self.repetitions

    def labels(self) -> list[str]:
        """Names of the estimators with their parameters."""
        return [label(estimator) for estimator in self.estimators]


def label(estimator: Estimator) -> str:
    """Name of an estimator, with its parameters if it has any."""
    parameters = ", ".join(f"{name} {value}" for name, value in vars(estimator).items())
    return f"{estimator.name} ({parameters})" if parameters else estimator.name


@checked_arguments
def scan(
    run: Run | str | Path,
    output: str | Path,
    *,
    rigidities: Sequence[float] = (),
    radii: Sequence[float] = (),
    trees: int | None = None,
    watch: Watch | None = None,
) -> Path:
    """Scan loss, mean, sd and acceptance against R for several rigidities, over all events.

    Parameters
    ----------
    run
        Run that gives the input, the clustering, the loss, the estimator and the cluster, or the
        path of its YAML file.
    output
        Zarr store to write or continue.
    rigidities, radii, trees
        Rigidities, radii and trees per event of the grid. The defaults are the run's rigidity,
        ``scan.radii`` and ``scan.trees``.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or ``output`` holds another
        grid.
    """
    plan = RunPlan(run)
    grid = Grid(
        (plan.estimator,),
        tuple(rigidities) or (plan.run.clustering.rigidity,),
        tuple(radii) or plan.run.scan.radii,
        1,
        trees or plan.run.scan.trees,
    )
    return fill(plan, grid, output, watch)


@checked_arguments
def compare(
    run: Run | str | Path,
    output: str | Path,
    estimators: Sequence[Estimator],
    *,
    rigidities: Sequence[float] = (1.0, 10.0),
    radii: Sequence[float] = (0.3, 0.5, 0.7, 0.9, 1.1),
    repetitions: int = 10,
    trees: int = 10,
    watch: Watch | None = None,
) -> Path:
    """Compare estimators: repeated estimates of loss and gradient against R, and their CPU time.

    Parameters
    ----------
    run
        Run that gives the input, the clustering, the loss and the cluster, or the path of its YAML
        file.
    output
        Zarr store to write or continue.
    estimators, rigidities, radii, repetitions, trees
        Axes of the grid, and trees per event and repetition.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    Path
        The store.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or ``output`` holds another
        grid.
    """
    if repetitions < 2:
        raise ConfigError(
            f"repetitions: expected 2 or more, found {repetitions}. "
            "The variance is estimated from their spread."
        )
    grid = Grid(tuple(estimators), tuple(rigidities), tuple(radii), repetitions, trees)
    return fill(RunPlan(run), grid, output, watch)


def fill(plan: RunPlan, grid: Grid, output: str | Path, watch: Watch | None = None) -> Path:
    """Fill the cells of a grid that are not done yet.

    Raises
    ------
    DjserviceError
        If the axes or the number of trees are invalid, or the run cannot be done.
    """
    _check(grid)
    check_size("trees", "trees", grid.trees)
    check_size("radii", "number of radii", len(grid.radii))
    for estimator in grid.estimators:
        needed = trees_needed(plan.loss, estimator)
        if grid.trees < needed:
            raise ConfigError(
                f"trees: expected {needed} or more for the {estimator.name} estimator, found "
                f"{grid.trees}."
            )
    check_datasets(plan.loss, plan.input().fileset)
    _ = plan.robust  # built here, so that errors come before a cluster starts
    with shown(watch) as display:
        job = _fill(plan, grid, Path(output).expanduser(), display)
        return run_to_completion(job, display)


def _check(grid: Grid) -> None:
    """Refuse axes and numbers of trees or repetitions that are out of their bounds."""
    for name, values in (("rigidity", grid.rigidities), ("radius", grid.radii)):
        good = all(BOUNDS[name].holds(value) for value in values)
        if not values or len(set(values)) < len(values) or not good:
            raise ConfigError(
                f"{name}: expected different, positive, finite numbers, found "
                f"{', '.join(map(str, values)) or 'none'}; each may be {BOUNDS[name]}."
            )
    for name, number in (("trees", grid.trees), ("repetitions", grid.repetitions)):
        bound = BOUNDS["trees" if name == "trees" else "iterations"]
        if not bound.holds(number):
            raise ConfigError(f"{name}: expected {bound}, found {number}.")


async def _fill(plan: RunPlan, grid: Grid, path: Path, watch: Watch) -> Path:
    watch = ShownSteps(watch, shown_of(plan.run.to_dict()))
    async with client_for(plan.run.cluster, watch) as client:
        for line in plan.defaults:
            watch.say(line)
        bundles = await Bundles.load(client, plan, watch)
        plan.check_events(bundles.truth)
        sections = ("input", "clustering", "loss", "objective", "robust", "seed")
        facts = {
            "run": {key: value for key, value in plan.run.to_dict().items() if key in sections},
            "device": bundles.device,
            "code": code_hash(),
            "trees": grid.trees,
            "estimators": grid.labels(),
            "biased": [estimator.biased for estimator in grid.estimators],
            "events": len(bundles.keys),
            **plan.observable_files,
            **({"lund weights": weights.digest} if (weights := bundles.lund_weights) else {}),
            "inputs": [[basename(f.path), f.size, f.uuid, f.entries] for f in bundles.inputs],
        }
        observable = {
            "name": plan.observable.name.replace("_", " "),
            "units": plan.observable.units,
        }
        shown = {"versions": bundles.versions, "observable": observable}
        with open_grid(path, grid.shape, grid.rigidities, grid.radii, facts, shown) as store:
            for damage in store.mended:
                watch.say(f"{path}: damaged: {damage}; what is lost is computed again")
            for change in store.changes:
                watch.say(f"continued with other versions {change}")
            await _fill_cells(bundles, grid, store, watch)
    return path


async def _fill_cells(bundles: Bundles, grid: Grid, store: GridStore, watch: Watch) -> None:
    """Compute and write the cells that are not done, in order."""
    cells = list(product(*(range(length) for length in grid.shape)))
    watch.phase("cells", len(cells), store.n_complete)
    for e, a, r, repetition in cells[store.n_complete :]:
        request = Request(
            grid.radii[r],
            grid.trees,
            "grid",
            repetition,
            estimator=grid.estimators[e],
            rigidity=grid.rigidities[a],
        )
        moments, seconds = await bundles.evaluate_timed(request)
        numbers = {**_columns(moments), "cpu": 1e6 * seconds / moments.trees}
        store.write(numbers)
        watch.step({"radius": grid.radii[r], **numbers, "trees": moments.trees})


def _columns(moments: Moments) -> dict[str, float]:
    """Numbers of one cell; NaN if no tree passes the selection."""
    try:
        return spectrum_numbers(moments)
    except NothingAcceptedError:
        return {**dict.fromkeys(COLUMNS[:-1], math.nan), "acceptance": moments.acceptance}
