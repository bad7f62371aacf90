"""The argument and the options of commands that read a configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from djservice.cli.tls import Command, tls_options

if TYPE_CHECKING:
    from djservice.config.run import Run


def run_options(function: Command) -> Command:
    """Add the argument and the options of a command that reads a configuration."""
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Change one configuration key of the run. Repeatable.",
    )(cluster_options(function))
    return click.argument("config", type=click.Path(dir_okay=False))(function)


def cluster_options(function: Command) -> Command:
    """Add the options of the cluster, and those of its certificates."""
    for option in reversed(
        (
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
            tls_options,
        )
    ):
        function = option(function)
    return function


def read_run(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> Run:
    """The configuration in a file, changed by the options of the command line.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not that of a run.
    """
    from djservice.config.run import Run

    return Run.from_yaml(config, [*overrides, *cluster_settings(scheduler, workers, threads)])


def cluster_settings(scheduler: str | None, workers: int | None, threads: int | None) -> list[str]:
    """The options of the cluster as settings of a configuration."""
    cluster = {"scheduler": scheduler, "workers": workers, "threads": threads}
    return [
        f"cluster.{key}={json.dumps(value)}" for key, value in cluster.items() if value is not None
    ]
