"""The loss, its spectrum and its gradient on a grid of radius, rigidity and estimator: `djservice scan` and `compare`.

A grid is a Zarr store of its own. Cells are filled in order, and the attribute ``n_complete`` is moved behind each, so a
grid that was stopped goes on where it was. Every cell has the same events, and at the same repetition the same random
numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash, versions
from djservice.core.redact import redacted, redacted_data
from djservice.errors import ConfigError, NothingAcceptedError, StoreError
from djservice.estimators.base import Estimator
from djservice.evaluation.evaluate import trees_needed
from djservice.evaluation.moments import Moments
from djservice.fit.all_events import spectrum_numbers
from djservice.fit.plan import RunPlan
from djservice.fit.requests import Request
from djservice.on_dask.bundles import Bundles
from djservice.on_dask.session import client_for, run_to_completion
from djservice.store.grid_store import COLUMNS, open_grid


@dataclass(frozen=True)
class Grid:
    """Which cells: every estimator at every rigidity and radius, so many times with new trees.

    Attributes
    ----------
    estimators, rigidities, radii
        The axes.
    repetitions
        Independent estimates of each.
    trees
        Per event and repetition.
    """

    estimators: tuple[Estimator, ...]
    rigidities: tuple[float, ...]
    radii: tuple[float, ...]
    repetitions: int
    trees: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(estimator, rigidity, radius, repetition)."""
        return len(self.estimators), len(self.rigidities), len(self.radii), self.repetitions

    def labels(self) -> list[str]:
        """The estimators with their parameters."""
        return [label(estimator) for estimator in self.estimators]


def label(estimator: Estimator) -> str:
    """An estimator's name, with its parameters where it has any."""
    given = ", ".join(f"{name} {value}" for name, value in vars(estimator).items())
    return f"{estimator.name} ({given})" if given else estimator.name


def scan(
    run: Run,
    output: str | Path,
    *,
    rigidities: Sequence[float] = (),
    radii: Sequence[float] = (),
    trees: int | None = None,
    watch: Watch | None = None,
) -> Path:
    """Loss, mean, sd and acceptance against R for several rigidities, over all events of a run.

    Parameters
    ----------
    run
        Its input, clustering, loss, estimator and cluster; of its scan section what is not given here.
    output
        Zarr store to write, or to continue.
    rigidities, radii, trees
        The grid: the run's rigidity, ``scan.radii`` and ``scan.trees`` by default.

    Raises
    ------
    DjserviceError
        As :func:`djservice.runs.run`; and if ``output`` holds another grid.
    """
    plan = RunPlan(run)
    grid = Grid(
        (plan.estimator,),
        tuple(rigidities) or (run.clustering.rigidity,),
        tuple(radii) or run.scan.radii,
        1,
        trees or run.scan.trees,
    )
    return fill(plan, grid, output, watch)


def compare(
    run: Run,
    output: str | Path,
    estimators: Sequence[Estimator],
    *,
    rigidities: Sequence[float] = (1.0, 10.0),
    radii: Sequence[float] = (0.3, 0.5, 0.7, 0.9, 1.1),
    repetitions: int = 10,
    trees: int = 10,
    watch: Watch | None = None,
) -> Path:
    """The loss and its gradient against R by several estimators and rigidities, repeated, with the CPU of each.

    Parameters
    ----------
    run
        Its input, clustering, loss and cluster.
    output
        Zarr store to write, or to continue.
    estimators, rigidities, radii, repetitions, trees
        The grid.
    """
    if repetitions < 2:
        raise ConfigError(
            f"repetitions is {repetitions}, expected 2 or more: the bands are their spread."
        )
    grid = Grid(tuple(estimators), tuple(rigidities), tuple(radii), repetitions, trees)
    return fill(RunPlan(run), grid, output, watch)


def fill(plan: RunPlan, grid: Grid, output: str | Path, watch: Watch | None = None) -> Path:
    """Fill what is left of a grid."""
    for name, values in (("rigidity", grid.rigidities), ("radius", grid.radii)):
        if (
            not values
            or len(set(values)) < len(values)
            or not all(0 < value < math.inf for value in values)
        ):
            raise ConfigError(
                f"{name} is {', '.join(map(str, values))}, expected different, positive, finite numbers."
            )
    for estimator in grid.estimators:
        needed = trees_needed(plan.loss, estimator)
        if grid.trees < needed:
            raise ConfigError(
                f"trees is {grid.trees}, expected {needed} or more with the {estimator.name} estimator."
            )
    plan.input()
    watch = watch or Lines()
    return run_to_completion(_fill(plan, grid, Path(output), watch), watch)


async def _fill(plan: RunPlan, grid: Grid, path: Path, watch: Watch) -> Path:
    async with client_for(plan.run, watch) as client:
        bundles = await Bundles.load(client, plan, watch)
        sections = ("input", "clustering", "loss", "seed")
        facts = {
            "run": {
                key: redacted_data(value)
                for key, value in plan.run.to_dict().items()
                if key in sections
            },
            "device": bundles.device,
            "code": code_hash(),
            "trees": grid.trees,
            "estimators": grid.labels(),
            "events": len(bundles.keys),
            "inputs": [
                [os.path.basename(redacted(f.path)), f.size, f.uuid, f.entries]
                for f in bundles.inputs
            ],
        }
        observable = {
            "name": plan.observable.name.replace("_", " "),
            "units": plan.observable.units,
        }
        shown = {"versions": versions(), "observable": observable}
        root = open_grid(path, grid.shape, grid.rigidities, grid.radii, facts, shown)
        cells = list(product(*(range(length) for length in grid.shape)))
        done: Any = root.attrs["n_complete"]
        watch.phase("cells", len(cells), int(done))
        for number in range(int(done), len(cells)):
            e, a, r, repetition = cells[number]
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
            try:
                for name, value in numbers.items():
                    root[name][e, a, r, repetition] = value  # type: ignore[index]
                root.attrs["n_complete"] = number + 1
            except OSError as error:
                raise StoreError(
                    f"{path}: cannot be written: {error.strerror}. The same command goes on from there."
                ) from error
            watch.step({"radius": grid.radii[r], **numbers, "trees": moments.trees})
    return path


def _columns(moments: Moments) -> dict[str, float]:
    """What is kept of one cell; NaN where no tree passes the selection."""
    try:
        return {**spectrum_numbers(moments), "gradient_tree_error": moments.gradient().tree_error}
    except NothingAcceptedError:
        return {**dict.fromkeys(COLUMNS[:-1], math.nan), "acceptance": moments.acceptance}
