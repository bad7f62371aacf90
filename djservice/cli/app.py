"""The command line: ``djservice`` and ``dask djservice``.

Heavy modules are imported by the commands that need them, so that ``--help`` is instant.
"""

from __future__ import annotations

import sys

import click

from djservice.cli import check as cli_check
from djservice.cli import configurations as cli_configurations
from djservice.cli import distances as cli_distances
from djservice.cli import export as cli_export
from djservice.cli import grids as cli_grids
from djservice.cli import lund as cli_lund
from djservice.cli import production as cli_production
from djservice.cli import safety as cli_safety
from djservice.cli import service as cli_service
from djservice.cli import shapes as cli_shapes
from djservice.cli import stores as cli_stores
from djservice.cli.citation import cite
from djservice.cli.failures import INCOMPLETE, Commands, clear_failures
from djservice.cli.run_options import read_run, run_options
from djservice.cli.verbosity import progress_display


@click.group(
    "djservice",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="djservice")
@click.option(
    "--cite",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=cite,
    help="Print what to cite, as BibTeX.",
)
def main() -> None:
    """Learn jet radii by differentiable jet clustering, on one machine or a Dask cluster.

    \b
    Examples:
      djservice init my_run.yaml             write a commented configuration
      djservice run my_run.yaml              optimise, or continue a run that was stopped
      djservice run my_run.yaml --workers 8 --set optimiser.trees=20
      djservice show my_run.zarr --json      print the result for a script
      djservice scan my_run.yaml --rigidity 1 --rigidity 10
      djservice check-irc my_run.yaml        is the loss infrared and collinear safe?
      djservice emd my_emd.yaml              distances between all pairs of jets
      djservice shapes my_shapes.yaml        points, rings, disks or ellipses that jets are nearest to
      djservice lund measure data.yaml simulation.yaml ratio.json
      djservice compare my_run.yaml          find the best gradient estimator
      djservice report my_run.zarr           write the HTML report again
      djservice check my_run.yaml            look at the input, memory and time without running
      djservice check my_run.zarr            verify every byte of a store
      djservice export my_run.zarr --to root --jets 2
      djservice submit my_run.yaml --scheduler tcp://login1:8786
      djservice reprocess nightly.yaml       process new or changed files on a schedule
    """


for group in (
    cli_configurations,
    cli_grids,
    cli_safety,
    cli_distances,
    cli_shapes,
    cli_lund,
    cli_service,
    cli_production,
    cli_check,
    cli_export,
    cli_stores,
):
    for command in group.COMMANDS:
        main.add_command(command)


@main.command()
@run_options
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
    from djservice.reports.terminal import print_summary
    from djservice.runs.run import run as do_run

    configuration = read_run(config, overrides, scheduler, workers, threads)
    with progress_display() as display:
        finished = do_run(configuration, overwrite=overwrite, watch=display)
    page = None
    try:
        if report:
            from djservice.reports.html import report as write_report

            page = write_report(finished.store, configuration.output.report)
    finally:  # the result exists even if the report fails
        outcome = print_summary(finished.store, page)
    if outcome["quarantined"]:
        sys.exit(INCOMPLETE)
