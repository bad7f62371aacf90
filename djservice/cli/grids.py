"""``djservice scan`` and ``compare``: the loss and its gradient on a grid of R and rigidity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures
from djservice.cli.run_options import read_run, run_options
from djservice.cli.verbosity import progress_display
from djservice.errors import ConfigError

if TYPE_CHECKING:
    from djservice.config.run import Run

Option = Callable[[Callable[..., None]], Callable[..., None]]


def _points(name: str, variable: str, what: str, default: tuple[float, ...] | str) -> Option:
    """An option of numbers of the grid, whose default is a key of the configuration or numbers."""
    key = default if isinstance(default, str) else None
    return click.option(
        name,
        variable,
        type=float,
        multiple=True,
        default=None if key else default,
        show_default=key is None,
        help=f"{what}. Repeatable." + (f" [default: {key} of CONFIG]" if key else ""),
    )


def _grid_options(
    output: str, rigidities: tuple[float, ...] | str, radii: tuple[float, ...] | str
) -> Option:
    """The options of a command that evaluates a grid."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option(
                "--output",
                type=click.Path(file_okay=False),
                default=output,
                show_default=True,
                help="Zarr store to write or continue.",
            ),
            _points("--radius", "radii", "Jet radius R", radii),
            _points("--rigidity", "rigidities", "Rigidity alpha", rigidities),
        ):
            function = option(function)
        return run_options(function)

    return add


def _read_run(config: str, overrides: tuple[str, ...], *where: Any) -> Run:
    """The run of CONFIG, whose own store is not written here."""
    if any(override.partition("=")[0].strip() == "output.store" for override in overrides):
        raise click.UsageError(
            "output.store is the store of `djservice run`, expected --output for this one."
        )
    return read_run(config, overrides, *where)


@click.command()
@_grid_options("scan.zarr", "clustering.rigidity", "scan.radii")
@click.option(
    "--trees",
    type=click.IntRange(min=2),
    help="Trees per event and grid point. [default: scan.trees of CONFIG]",
)
@clear_failures
def scan(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    trees: int | None,
    output: str,
) -> None:
    """Scan loss, mean, sd and acceptance against R for one or more rigidities.

    The input, the loss and the clustering are those of CONFIG. The command writes a Zarr store, and
    a figure beside it. The same command continues a scan that was stopped.

    \b
    Examples:
      djservice scan workflows/zh_global_radius.yaml
      djservice scan my_run.yaml --rigidity 0.3 --rigidity 1 --trees 20 --output alpha.zarr
    """
    from djservice.reports.grid_figures import draw
    from djservice.runs.grid import scan as do_scan

    with progress_display() as display:
        store = do_scan(
            _read_run(config, overrides, scheduler, workers, threads),
            output,
            rigidities=rigidities,
            radii=radii,
            trees=trees,
            watch=display,
        )
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


def _name_or_mapping(text: str) -> dict[str, Any]:
    """An estimator's name and parameters, from its YAML text."""
    from djservice.core.plain_data import yaml_data

    value = yaml_data(text, "--estimator")
    if isinstance(value, dict) and "name" in value:
        return value
    return {"name": text}


@click.command()
@_grid_options("compare.zarr", (1.0, 10.0), (0.3, 0.5, 0.7, 0.9, 1.1))
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    help="Name, or '{name: NAME, PARAMETER: VALUE}'. Repeatable. The first one is the reference "
    "for the others. [default: all but gumbel_softmax, which takes 100 times as long]",
)
@click.option(
    "--repetitions",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="Independent estimates per grid point.",
)
@click.option(
    "--trees",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Trees per event and estimate.",
)
@clear_failures
def compare(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
    estimators: tuple[str, ...],
    rigidities: tuple[float, ...],
    radii: tuple[float, ...],
    repetitions: int,
    trees: int,
    output: str,
) -> None:
    """Compare gradient estimators by the bias, the variance and the CPU time of dL/dR.

    The input, the loss and the clustering are those of CONFIG. The command prints a table and
    writes a Zarr store, and a figure beside it. The same command continues a comparison that was
    stopped.

    \b
    Examples:
      djservice compare workflows/zh_global_radius.yaml --set input.files=example:ZHllbb_200
      djservice compare my_run.yaml --estimator leave_one_out --estimator score --trees 20
      djservice compare my_run.yaml --estimator '{name: alternative_path, all_steps: true}'
    """
    from djservice.estimators.registry import ESTIMATORS
    from djservice.fit.build import build_estimator
    from djservice.reports.grid_figures import comparison_text, draw
    from djservice.runs.grid import compare as do_compare

    names = [estimator.name for estimator in ESTIMATORS]
    requested = [_name_or_mapping(text) for text in estimators]
    unknown = [entry["name"] for entry in requested if entry["name"] not in names]
    if unknown:
        raise ConfigError(
            f"--estimator: expected one of {', '.join(names)}; found {unknown[0]!r}. "
            "Correct the name."
        )
    default = [{"name": estimator.name} for estimator in ESTIMATORS if not estimator.slow]
    with progress_display() as display:
        store = do_compare(
            _read_run(config, overrides, scheduler, workers, threads),
            output,
            [build_estimator(entry) for entry in requested or default],
            rigidities=rigidities,
            radii=radii,
            repetitions=repetitions,
            trees=trees,
            watch=display,
        )
    echo(*comparison_text(store).split("\n"))
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


COMMANDS = (scan, compare)
