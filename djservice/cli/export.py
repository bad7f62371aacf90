"""``djservice export``: what a store holds in the formats of other programs."""

from __future__ import annotations

from pathlib import Path

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures


@click.command()
@click.argument("store")
@click.option(
    "--to",
    "formats",
    type=click.Choice(["root", "parquet", "csv", "hepdata"]),
    multiple=True,
    help="Format to write. Repeatable.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="File or folder to write, with one --to. [default: the name of STORE with .root, ...]",
)
@click.option(
    "--jets",
    type=click.IntRange(min=1),
    metavar="N",
    help="Add the N leading jets of each event at R. Reads the files of the run.",
)
@click.option(
    "--pyhf",
    "workspace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file to write: the histograms of a significance at the optimum for pyhf.",
)
@click.option("--force", is_flag=True, help="Replace what exists.")
@clear_failures
def export(
    store: str,
    formats: tuple[str, ...],
    output: Path | None,
    jets: int | None,
    workspace: Path | None,
    force: bool,
) -> None:
    """Write what STORE holds as files of other programs.

    STORE is what `run`, `scan`, `compare`, `emd`, `shapes` or `reprocess` wrote. Numbers per event stand
    beside run, luminosityBlock, event, file and entry, so that they can be joined to NanoAOD. Units
    and meaning of each column are written with it.

    \b
    Formats:
      root     one file with a tree for each table: events, history, scan, result, ...
      parquet  a folder with a file for each table
      csv      the same
      hepdata  a folder with submission.yaml and the tables of a run or a scan

    \b
    Examples:
      djservice export zh.zarr --to root --jets 2
      djservice export zh.zarr --to csv --to hepdata
      djservice export emd.zarr --to parquet --output pairs
      djservice export significance.zarr --pyhf workspace.json
    """
    if not formats and workspace is None:
        raise click.UsageError("expected --to FORMAT or --pyhf FILE, found neither.")
    if output is not None and len(formats) != 1:
        raise click.UsageError(f"--output: expected one --to, found {len(formats)}.")
    if formats:
        from djservice.exports.write import export as write

        for name in formats:
            echo(f"wrote {write(store, name, output, jets or 0, force)}")
    if workspace is not None:
        from djservice.exports.pyhf_workspace import write_workspace

        write_workspace(store, workspace, force)
        echo(f"wrote {workspace}; read it with: pyhf inspect {workspace}")


COMMANDS = (export,)
