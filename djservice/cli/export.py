"""``djservice export``: results of a store in the formats of other programs."""

from __future__ import annotations

from pathlib import Path

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures


@click.command()
@click.argument("store", type=click.Path(file_okay=False))
@click.option(
    "--pyhf",
    "workspace",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file to write: a workspace of pyhf.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@clear_failures
def export(store: str, workspace: Path, force: bool) -> None:
    """Write the histograms of STORE at the optimum as a pyhf workspace.

    STORE is a run whose objective is a significance. The observed data of the workspace are the
    expected ones, signal and background. pyhf need not be installed.

    \b
    Example:
      djservice export significance.zarr --pyhf workspace.json
    """
    from djservice.reports.pyhf_workspace import write_workspace

    write_workspace(store, workspace, force)
    echo(f"wrote {workspace}; read it with: pyhf inspect {workspace}")


COMMANDS = (export,)
