"""The command line: ``djservice`` and ``dask djservice``. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from djservice.errors import ConfigError, DjserviceError

Command = Callable[..., None]


def _clear_failures(command: Command) -> Command:
    """Errors of djservice as one line: exit code 2 for a wrong configuration, 1 for anything else."""

    @wraps(command)
    def wrapped(*args: Any, **keywords: Any) -> None:
        try:
            command(*args, **keywords)
        except DjserviceError as error:
            click.echo(f"djservice: {type(error).__name__}: {error}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except KeyboardInterrupt:
            click.echo("djservice: stopped; the same command goes on from there.", err=True)
            sys.exit(1)

    return wrapped


@click.group("djservice", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="djservice")
def main() -> None:
    """Learn jet radii by differentiable jet clustering, on one machine or a Dask cluster.

    \b
    Examples:
      djservice init my_run.yaml             a commented configuration to start from
      djservice run my_run.yaml              optimise; killed? the same command goes on
      djservice run my_run.yaml --workers 8 --set optimiser.trees=20
      djservice show my_run.zarr --json      the result for a script
      djservice report my_run.zarr           the HTML report again
    """


@main.command()
@click.argument("path", type=click.Path(dir_okay=False), default="run.yaml")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@_clear_failures
def init(path: str, force: bool) -> None:
    """Write a commented configuration to start from.

    \b
    PATH is the YAML file to write, run.yaml by default. It runs as it is, on events shipped with djservice.
    \b
    Example:
      djservice init my_run.yaml && djservice run my_run.yaml
    """
    from djservice.template import write_template

    write_template(path, force)
    click.echo(f"wrote {path}; run it with: djservice run {path}")


@main.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one key; repeatable.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to use, instead of one on this machine.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes on this machine. [default: one per processor]"
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads per worker process. [default: 1]")
@click.option("--overwrite", is_flag=True, help="Delete the store that is there and start again.")
@click.option("--report/--no-report", default=True, help="Write the HTML report at the end.")
@_clear_failures
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

    \b
    Examples:
      djservice run workflows/zh_global_radius.yaml
      djservice run my_run.yaml --set optimiser.iterations=200 --set 'input.files=["data/*.root"]'
      djservice run my_run.yaml --scheduler tcp://login1:8786
    """
    from djservice.config import Run
    from djservice.display import choose_display
    from djservice.run import run as do_run
    from djservice.summary import print_summary

    given = {"scheduler": scheduler, "workers": workers, "threads": threads}
    places = [f"cluster.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    settings = Run.from_yaml(config, [*overrides, *places])
    display = choose_display()
    try:
        finished = do_run(settings, overwrite=overwrite, watch=display)
    finally:
        display.close()
    page = None
    try:
        if report:
            from djservice.report import report as write_report

            page = write_report(finished.store, settings.output.report)
    finally:  # the result is there, with or without a report
        print_summary(finished.store, page)


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--output", type=click.Path(dir_okay=False), help="HTML file to write. [default: STORE with .html]")
@_clear_failures
def report(store: str, output: str | None) -> None:
    """Write the HTML report of STORE, one file without external resources, and its figures as PNG and SVG.

    \b
    Example:
      djservice report zh_global_radius.zarr --output zh.html
    """
    from djservice.report import report as write_report

    click.echo(f"wrote {write_report(store, output)}")


@main.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Everything but arrays, as JSON.")
@_clear_failures
def show(store: str, as_json: bool) -> None:
    """Show the state and the result of the run in STORE.

    \b
    Examples:
      djservice show zh_global_radius.zarr
      djservice show zh_global_radius.zarr --json | jq .result.radius
    """
    from djservice.summary import print_summary, summary

    if as_json:
        click.echo(json.dumps(summary(store), indent=2, allow_nan=False))
    else:
        print_summary(store, None)
