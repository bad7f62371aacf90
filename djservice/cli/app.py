"""The command line: ``djservice`` and ``dask djservice``.

Heavy modules are imported by the commands that need them, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from djservice.cli import check as cli_check
from djservice.cli import production as cli_production
from djservice.cli import service as cli_service
from djservice.cli.echo import echo
from djservice.cli.failures import INCOMPLETE, Commands, clear_failures
from djservice.errors import ConfigError


@click.group(
    "djservice",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="djservice")
def main() -> None:
    """Learn jet radii by differentiable jet clustering, on one machine or a Dask cluster.

    \b
    Examples:
      djservice init my_run.yaml             write a commented configuration
      djservice run my_run.yaml              optimise, or continue a run that was stopped
      djservice run my_run.yaml --workers 8 --set optimiser.trees=20
      djservice show my_run.zarr --json      print the result for a script
      djservice scan my_run.yaml --rigidity 1 --rigidity 10
      djservice compare my_run.yaml          find the best gradient estimator
      djservice report my_run.zarr           write the HTML report again
      djservice check my_run.zarr            verify every byte of a store
      djservice submit my_run.yaml --scheduler tcp://login1:8786
      djservice reprocess nightly.yaml       process new or changed files on a schedule
    """


for command in (*cli_service.COMMANDS, *cli_production.COMMANDS, *cli_check.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument("path", type=click.Path(dir_okay=False), default="run.yaml")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@clear_failures
def init(path: str, force: bool) -> None:
    """Write a commented configuration to start from.

    PATH is the YAML file to write, run.yaml by default. The configuration runs without changes, on
    example events that are part of djservice.

    \b
    Example:
      djservice init my_run.yaml && djservice run my_run.yaml
    """
    from djservice.config.template import write_template

    write_template(path, force)
    echo(f"wrote {path}; run it with: djservice run {path}")


def _run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options of a command that reads the configuration of a run."""
    for option in reversed(
        (
            click.argument("config", type=click.Path(dir_okay=False)),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="SECTION.KEY=VALUE",
                help="Change one configuration key. Repeatable.",
            ),
            click.option(
                "--scheduler",
                metavar="ADDRESS",
                help="Use this Dask scheduler. [default: a cluster on this machine]",
            ),
            click.option(
                "--workers",
                type=click.IntRange(min=1),
                help="Worker processes on this machine. [default: one per processor]",
            ),
            click.option(
                "--threads",
                type=click.IntRange(min=1),
                help="Threads per worker process. [default: 1]",
            ),
        )
    ):
        function = option(function)
    return function


def _read_run(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> Any:
    from djservice.config.run import Run

    cluster = {"scheduler": scheduler, "workers": workers, "threads": threads}
    settings = [
        f"cluster.{key}={json.dumps(value)}" for key, value in cluster.items() if value is not None
    ]
    return Run.from_yaml(config, [*overrides, *settings])


@main.command()
@_run_options
@click.option("--overwrite", is_flag=True, help="Delete an existing store and start again.")
@click.option(
    "--report/--no-report",
    default=True,
    show_default=True,
    help="Write the HTML report at the end.",
)
@clear_failures
def run(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
    overwrite: bool,
    report: bool,
) -> None:
    """Start or continue the run that the YAML file CONFIG describes.

    Results are written to the Zarr store output.store during the run. After a stop or a crash, the
    same command continues from the store and gives the same numbers. The numbers do not depend on
    --scheduler, --workers or --threads.

    \b
    Exit codes:
      0  success
      1  failure
      2  invalid CONFIG
      3  success, but bad inputs were left out (input.bad_inputs: quarantine)

    \b
    Examples:
      djservice run workflows/zh_global_radius.yaml
      djservice run my_run.yaml --set optimiser.iterations=200 --set 'input.files=["data/*.root"]'
      djservice run my_run.yaml --scheduler tcp://login1:8786
    """
    from djservice.core.display import choose_display
    from djservice.reports.terminal import print_summary
    from djservice.runs.run import run as do_run

    configuration = _read_run(config, overrides, scheduler, workers, threads)
    display = choose_display()
    try:
        finished = do_run(configuration, overwrite=overwrite, watch=display)
    finally:
        display.close()
    page = None
    try:
        if report:
            from djservice.reports.html import report as write_report

            page = write_report(finished.store, configuration.output.report)
    finally:  # the result exists even if the report fails
        outcome = print_summary(finished.store, page)
    if outcome["quarantined"]:
        sys.exit(INCOMPLETE)


@main.command()
@_run_options
@click.option(
    "--rigidity",
    "rigidities",
    type=float,
    multiple=True,
    help="Rigidity alpha. Repeatable. [default: clustering.rigidity of CONFIG]",
)
@click.option(
    "--radius",
    "radii",
    type=float,
    multiple=True,
    help="Jet radius R. Repeatable. [default: scan.radii of CONFIG]",
)
@click.option(
    "--trees",
    type=click.IntRange(min=2),
    help="Trees per event and grid point. [default: scan.trees of CONFIG]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="scan.zarr",
    show_default=True,
    help="Zarr store to write or continue.",
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
    from djservice.core.display import choose_display
    from djservice.reports.grid_figures import draw
    from djservice.runs.grid import scan as do_scan

    display = choose_display()
    try:
        store = do_scan(
            _read_run(config, overrides, scheduler, workers, threads),
            output,
            rigidities=rigidities,
            radii=radii,
            trees=trees,
            watch=display,
        )
    finally:
        display.close()
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


def _name_or_mapping(text: str) -> dict[str, Any]:
    """An estimator's name and parameters, from its YAML text."""
    from djservice.core.plain_data import yaml_data

    value = yaml_data(text, "--estimator")
    if isinstance(value, dict) and "name" in value:
        return value
    return {"name": text}


@main.command()
@_run_options
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    help="Name, or '{name: NAME, PARAMETER: VALUE}'. Repeatable. The first one is the reference "
    "for the others. [default: all but gumbel_softmax, which takes 100 times as long]",
)
@click.option(
    "--rigidity",
    "rigidities",
    type=float,
    multiple=True,
    default=(1.0, 10.0),
    show_default=True,
    help="Rigidity alpha. Repeatable.",
)
@click.option(
    "--radius",
    "radii",
    type=float,
    multiple=True,
    default=(0.3, 0.5, 0.7, 0.9, 1.1),
    show_default=True,
    help="Jet radius R. Repeatable.",
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
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="compare.zarr",
    show_default=True,
    help="Zarr store to write or continue.",
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
    from djservice.core.display import choose_display
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
    display = choose_display()
    try:
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
    finally:
        display.close()
    echo(*comparison_text(store).split("\n"))
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="HTML file to write. [default: the name of STORE with .html]",
)
@clear_failures
def report(store: str, output: str | None) -> None:
    """Write the HTML report of the run in STORE, and its figures as PNG and SVG.

    The report is a single file that needs no network. The run may be unfinished.

    \b
    Example:
      djservice report zh_global_radius.zarr --output zh.html
    """
    from djservice.reports.html import report as write_report

    echo(f"wrote {write_report(store, output)}")


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print everything but the arrays as JSON.")
@clear_failures
def show(store: str, as_json: bool) -> None:
    """Print the state and the result of the run in STORE.

    \b
    Examples:
      djservice show zh_global_radius.zarr
      djservice show zh_global_radius.zarr --json | jq .result.radius
    """
    from djservice.reports.summary import summary
    from djservice.reports.terminal import print_summary

    if as_json:
        click.echo(json.dumps(summary(store), indent=2, allow_nan=False))
    else:
        print_summary(store, None)
