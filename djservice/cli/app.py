"""The command line: ``djservice`` and ``dask djservice``. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from djservice.cli import production as cli_production
from djservice.cli import service as cli_service
from djservice.cli.failures import INCOMPLETE, clear_failures
from djservice.errors import ConfigError


@click.group(
    "djservice", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="djservice")
def main() -> None:
    """Learn jet radii by differentiable jet clustering, on one machine or a Dask cluster.

    \b
    Examples:
      djservice init my_run.yaml             a commented configuration to start from
      djservice run my_run.yaml              optimise; killed? the same command goes on
      djservice run my_run.yaml --workers 8 --set optimiser.trees=20
      djservice show my_run.zarr --json      the result for a script
      djservice scan my_run.yaml --rigidity 1 --rigidity 10
      djservice compare my_run.yaml          which gradient estimator to use
      djservice report my_run.zarr           the HTML report again
      djservice submit my_run.yaml --scheduler tcp://login1:8786
      djservice reprocess nightly.yaml       what is new or changed, for a schedule
    """


for command in (*cli_service.COMMANDS, *cli_production.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument("path", type=click.Path(dir_okay=False), default="run.yaml")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@clear_failures
def init(path: str, force: bool) -> None:
    """Write a commented configuration to start from.

    \b
    PATH is the YAML file to write, run.yaml by default. It runs as it is, on events shipped with djservice.
    \b
    Example:
      djservice init my_run.yaml && djservice run my_run.yaml
    """
    from djservice.config.template import write_template

    write_template(path, force)
    click.echo(f"wrote {path}; run it with: djservice run {path}")


def _of_a_run(function: Callable[..., None]) -> Callable[..., None]:
    """The argument and the options of a command that does a run."""
    for option in reversed(
        (
            click.argument("config", type=click.Path(dir_okay=False)),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="SECTION.KEY=VALUE",
                help="Change one key; repeatable.",
            ),
            click.option(
                "--scheduler",
                metavar="ADDRESS",
                help="Dask scheduler to use, instead of one on this machine.",
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


def _settings(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> Any:
    from djservice.config.run import Run

    given = {"scheduler": scheduler, "workers": workers, "threads": threads}
    places = [
        f"cluster.{key}={json.dumps(value)}" for key, value in given.items() if value is not None
    ]
    return Run.from_yaml(config, [*overrides, *places])


@main.command()
@_of_a_run
@click.option("--overwrite", is_flag=True, help="Delete the store that is there and start again.")
@click.option("--report/--no-report", default=True, help="Write the HTML report at the end.")
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
    """Do the run that the YAML file CONFIG describes, or continue it.

    Results go to the Zarr store named there (output.store) as they come. A run that was stopped or killed goes on from
    its store with the same command, to the same numbers. Numbers do not depend on --scheduler, --workers or --threads.
    Exit code: 0, 1 for a failure, 2 for a wrong CONFIG, 3 where bad inputs were left out (input.bad_inputs: quarantine).

    \b
    Examples:
      djservice run workflows/zh_global_radius.yaml
      djservice run my_run.yaml --set optimiser.iterations=200 --set 'input.files=["data/*.root"]'
      djservice run my_run.yaml --scheduler tcp://login1:8786
    """
    from djservice.core.display import choose_display
    from djservice.reports.terminal import print_summary
    from djservice.runs.run import run as do_run

    settings = _settings(config, overrides, scheduler, workers, threads)
    display = choose_display()
    try:
        finished = do_run(settings, overwrite=overwrite, watch=display)
    finally:
        display.close()
    page = None
    try:
        if report:
            from djservice.reports.html import report as write_report

            page = write_report(finished.store, settings.output.report)
    finally:  # the result is there, with or without a report
        facts = print_summary(finished.store, page)
    if facts["quarantined"]:
        sys.exit(INCOMPLETE)


@main.command()
@_of_a_run
@click.option(
    "--rigidity",
    "rigidities",
    type=float,
    multiple=True,
    help="alpha; repeatable. [default: of CONFIG]",
)
@click.option(
    "--radius",
    "radii",
    type=float,
    multiple=True,
    help="R; repeatable. [default: scan.radii of CONFIG]",
)
@click.option(
    "--trees",
    type=click.IntRange(min=2),
    help="Trees per event and cell. [default: scan.trees of CONFIG]",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False),
    default="scan.zarr",
    show_default=True,
    help="Zarr store.",
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
    """Scan the loss, mean, sd and acceptance against R for one or several rigidities.

    The input, the loss and the clustering are those of CONFIG. Writes a Zarr store and a figure beside it. A scan that was
    stopped goes on with the same command.

    \b
    Examples:
      djservice scan workflows/zh_global_radius.yaml
      djservice scan my_run.yaml --rigidity 0.3 --rigidity 1 --rigidity 10 --trees 20 --output rigidities.zarr
    """
    from djservice.core.display import choose_display
    from djservice.reports.grid_figures import draw
    from djservice.runs.grid import scan as do_scan

    display = choose_display()
    try:
        store = do_scan(
            _settings(config, overrides, scheduler, workers, threads),
            output,
            rigidities=rigidities,
            radii=radii,
            trees=trees,
            watch=display,
        )
    finally:
        display.close()
    click.echo("\n".join(f"wrote {path}" for path in (store, *draw(store))))


def _name_or_mapping(text: str) -> dict[str, Any]:
    """An estimator as it is given in YAML."""
    import yaml

    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        given = text
    if isinstance(given, dict) and "name" in given:
        return given
    return {"name": text}


@main.command()
@_of_a_run
@click.option(
    "--estimator",
    "estimators",
    multiple=True,
    help="Name, or '{name: NAME, PARAMETER: VALUE}'; repeatable. The first is what the others are held against. "
    "[default: all but gumbel_softmax, which takes 100 times as long]",
)
@click.option(
    "--rigidity",
    "rigidities",
    type=float,
    multiple=True,
    default=(1.0, 10.0),
    show_default=True,
    help="alpha.",
)
@click.option(
    "--radius",
    "radii",
    type=float,
    multiple=True,
    default=(0.3, 0.5, 0.7, 0.9, 1.1),
    show_default=True,
    help="R.",
)
@click.option(
    "--repetitions",
    type=click.IntRange(min=2),
    default=10,
    show_default=True,
    help="Estimates of each.",
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
    help="Zarr store.",
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
    """Compare gradient estimators: dL/dR against R, its spread, its CPU, and which is cheapest for its variance.

    The input, the loss and the clustering are those of CONFIG. Writes a Zarr store and a figure beside it, and prints a table.
    A comparison that was stopped goes on with the same command.

    \b
    Examples:
      djservice compare workflows/zh_global_radius.yaml --set input.files=example:ZHllbb_200
      djservice compare my_run.yaml --estimator leave_one_out --estimator score --rigidity 1 --trees 20
      djservice compare my_run.yaml --estimator score --estimator '{name: alternative_path, all_steps: true}'
    """
    from djservice.core.display import choose_display
    from djservice.estimators.registry import ESTIMATORS
    from djservice.fit.build import build_estimator
    from djservice.reports.grid_figures import comparison_text, draw
    from djservice.runs.grid import compare as do_compare

    known = [estimator.name for estimator in ESTIMATORS]
    asked = [_name_or_mapping(text) for text in estimators]
    unknown = [each["name"] for each in asked if each["name"] not in known]
    if unknown:
        raise ConfigError(f"--estimator {unknown[0]}: unknown; valid: {', '.join(known)}.")
    default = [{"name": estimator.name} for estimator in ESTIMATORS if not estimator.slow]
    display = choose_display()
    try:
        store = do_compare(
            _settings(config, overrides, scheduler, workers, threads),
            output,
            [build_estimator(each) for each in asked or default],
            rigidities=rigidities,
            radii=radii,
            repetitions=repetitions,
            trees=trees,
            watch=display,
        )
    finally:
        display.close()
    click.echo(comparison_text(store))
    click.echo("\n".join(f"wrote {path}" for path in (store, *draw(store))))


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="HTML file to write. [default: STORE with .html]",
)
@clear_failures
def report(store: str, output: str | None) -> None:
    """Write the HTML report of STORE, one file without external resources, and its figures as PNG and SVG.

    \b
    Example:
      djservice report zh_global_radius.zarr --output zh.html
    """
    from djservice.reports.html import report as write_report

    click.echo(f"wrote {write_report(store, output)}")


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Everything but arrays, as JSON.")
@clear_failures
def show(store: str, as_json: bool) -> None:
    """Show the state and the result of the run in STORE.

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
