"""``djservice show`` and ``report``: what a store holds, for the eye."""

from __future__ import annotations

import json

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures


@click.command()
@click.argument("stores", metavar="STORE...", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="HTML file to write, for runs. [default: the name of STORE with .html, or compared.html]",
)
@clear_failures
def report(stores: tuple[str, ...], output: str | None) -> None:
    """Write the HTML report of the run in STORE, and its figures as PNG and SVG.

    The report is a single file that needs no network. The run may be unfinished. Several runs are
    compared on one page: their results, paths, scans, and what differs in their settings. For the
    store of `scan`, `compare`, `emd` or `shapes`, its figure is written.

    \b
    Examples:
      djservice report zh_global_radius.zarr --output zh.html
      djservice report seed_1.zarr seed_2.zarr --output seeds.html
      djservice report scan.zarr
    """
    from djservice.reports.any_store import RUN, kind_of, store_figures
    from djservice.reports.html import report as write_report

    if len(stores) > 1:
        from djservice.reports.compared import compare_runs

        echo(f"wrote {compare_runs(stores, output or 'compared.html')}")
        return
    (store,) = stores
    if kind_of(store) == RUN:
        echo(f"wrote {write_report(store, output)}")
        return
    if output is not None:
        raise click.UsageError("--output is for the store of a run; a figure is written beside it.")
    echo(*(f"wrote {path}" for path in store_figures(store)))


@click.command()
@click.argument("store")
@click.option("--json", "as_json", is_flag=True, help="Print everything but the arrays as JSON.")
@clear_failures
def show(store: str, as_json: bool) -> None:
    """Print the state and the result of the run in STORE, or the numbers of another store.

    STORE is what `run`, `scan`, `compare`, `emd` or `shapes` wrote.

    \b
    Examples:
      djservice show zh_global_radius.zarr
      djservice show zh_global_radius.zarr --json | jq .result.radius
      djservice show emd.zarr
    """
    from djservice.reports.any_store import RUN, kind_of, store_facts, store_text
    from djservice.reports.summary import summary
    from djservice.reports.terminal import print_summary

    of_run = kind_of(store) == RUN
    if as_json:
        facts = summary(store) if of_run else store_facts(store)
        click.echo(json.dumps(facts, indent=2, allow_nan=False))
    elif of_run:
        print_summary(store, None)
    else:
        echo(*store_text(store))


COMMANDS = (report, show)
