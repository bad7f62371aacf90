"""``dask scheduler --preload djservice.preload``: a scheduler that accepts and hosts runs."""

from __future__ import annotations

import click
from distributed import Scheduler

from djservice.service.plugin import RunService


@click.command()
@click.option(
    "--state-directory",
    type=click.Path(file_okay=False),
    help="Folder for the records of runs. [default: djservice-state]",
)
@click.option(
    "--concurrent-runs",
    type=click.IntRange(min=1),
    help="Number of runs at the same time. [default: 2]",
)
def dask_setup(
    scheduler: Scheduler, state_directory: str | None, concurrent_runs: int | None
) -> None:
    """Called by Dask when the scheduler starts."""
    scheduler.add_plugin(RunService(state_directory, concurrent_runs))
