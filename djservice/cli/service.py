"""Commands for runs on a Dask scheduler: submit, list, status, watch, logs, pause, resume, cancel.

``forget`` takes a run off the list.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures
from djservice.cli.tls import tls_options
from djservice.cli.verbosity import progress_display
from djservice.core.visible import visible

Command = Callable[..., None]


def _service_options(function: Command) -> Command:
    """Add the options that name the scheduler; the command gets a ``service`` argument instead."""

    @clear_failures
    def with_service(
        scheduler: str,
        **arguments: Any,
    ) -> None:
        from djservice.service.client import connect

        function(service=connect(scheduler), **arguments)

    with_service.__name__, with_service.__doc__ = function.__name__, function.__doc__
    return click.option(
        "--scheduler",
        metavar="ADDRESS",
        envvar="DJSERVICE_SCHEDULER",
        required=True,
        show_envvar=True,
        help="Dask scheduler that hosts the runs.",
    )(tls_options(with_service))


_RUN_ID = click.argument("run_id", metavar="ID")


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one configuration key. Repeatable.",
)
@_service_options
def submit(service: Any, config: str, overrides: tuple[str, ...]) -> None:
    """Submit the run of the YAML file CONFIG to a scheduler, and print its ID.

    The command returns at once, and the scheduler does the run. Relative paths refer to the current
    folder, which the scheduler and its workers must see too.

    Submitting a run again starts no second one: its ID is printed again, and the run is resumed if
    it had failed or was stopped.

    \b
    Example:
      djservice submit my_run.yaml --scheduler tcp://login1:8786
    """
    from djservice.config.run import Run

    submitted = service.submit(Run.from_yaml(config, overrides))
    if not submitted.new:
        status = submitted.status()
        echo(
            f"submitted before by {status['user']}, now {status['state']}: {status['store']}",
            err=True,
        )
    echo(submitted.id)


@click.command("list")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Number of runs to list, the most recent ones.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all runs as JSON.")
@_service_options
def list_runs(service: Any, last: int, as_json: bool) -> None:
    """List the runs of a scheduler in the order in which they were submitted.

    LEFT is the time that the present phase of a run may still take, at its rate so far.

    \b
    Examples:
      djservice list --scheduler tcp://login1:8786 --last 10
      djservice list --json | jq '.[] | .id + " " + .state'
    """
    runs = service.runs()
    if as_json:
        click.echo(_as_json(runs))
        return
    if len(runs) > last:
        echo(
            f"{len(runs) - last} earlier runs are not shown; use --last {len(runs)} to list all",
            err=True,
        )
    if not runs:
        echo("no runs yet; submit one with: djservice submit CONFIG", err=True)
    else:
        echo(*_table([_HEADING, *map(_row, runs[-last:])]))


@click.command()
@_RUN_ID
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@_service_options
def status(service: Any, run_id: str, as_json: bool) -> None:
    """Print the state, the progress and the result of the run ID.

    \b
    Example:
      djservice status zh_global_radius-1a2b3c4d5e --json | jq .result.radius
    """
    record = service.run(run_id).status()
    if as_json:
        click.echo(_as_json(record))
        return
    echo(f"{record['id']} of {record['user']}: {record['store']}")
    for transition in record["transitions"]:
        echo(
            f"{_local_time(transition['time'])}  {transition['state']:<9}  "
            f"{transition['reason']}".rstrip()
        )
    if record["state"] in ("loading", "running", "paused"):
        echo(_progress_text(record))
    if record["result"]:
        echo(_radius(record["result"]))


@click.command()
@_RUN_ID
@_service_options
def watch(service: Any, run_id: str) -> None:
    """Follow the run ID until it ends.

    Ctrl-C ends the display and not the run. The same command follows the run again. The exit code
    is 1 if the run failed.

    \b
    Example:
      djservice watch zh_global_radius-1a2b3c4d5e
    """

    submitted = service.run(run_id)
    try:
        with progress_display() as display:
            record = submitted.follow(display)
    except KeyboardInterrupt:
        echo(f"{run_id} continues on the scheduler; the same command follows it again.", err=True)
        return
    if record["state"] in ("failed", "set-aside"):
        echo(f"djservice: {record['id']} {record['state']}: {record['reason']}", err=True)
        sys.exit(1)


@click.command()
@_RUN_ID
@_service_options
def logs(service: Any, run_id: str) -> None:
    """Print the last log lines of the run ID with their times.

    \b
    Example:
      djservice logs zh_global_radius-1a2b3c4d5e
    """
    for seconds, line in service.run(run_id).logs():
        echo(f"{_local_time(seconds)}  {line}")


@click.command()
@_RUN_ID
@_service_options
def cancel(service: Any, run_id: str) -> None:
    """Stop the run ID. Its store keeps what is done, and `djservice resume` continues it.

    \b
    Example:
      djservice cancel zh_global_radius-1a2b3c4d5e
    """
    _print_state(service.run(run_id).cancel())


@click.command()
@_RUN_ID
@_service_options
def pause(service: Any, run_id: str) -> None:
    """Stop the run ID until it is resumed. The next run in the queue takes its place.

    \b
    Example:
      djservice pause zh_global_radius-1a2b3c4d5e
    """
    _print_state(service.run(run_id).pause())


@click.command()
@_RUN_ID
@_service_options
def resume(service: Any, run_id: str) -> None:
    """Continue the run ID from its store after a pause, a cancellation or a failure.

    \b
    Example:
      djservice resume zh_global_radius-1a2b3c4d5e
    """
    _print_state(service.run(run_id).resume())


@click.command()
@_RUN_ID
@_service_options
def forget(service: Any, run_id: str) -> None:
    """Remove the run ID from the list. It must have ended; its store is kept.

    \b
    Example:
      djservice forget zh_global_radius-1a2b3c4d5e
    """
    store = service.run(run_id).forget()["store"]
    echo(f"{run_id} is off the list; its store is kept: {store}")


COMMANDS = (submit, list_runs, status, watch, logs, pause, resume, cancel, forget)


def _print_state(record: dict[str, Any]) -> None:
    echo(f"{record['id']}: {record['state']}")


def _progress_text(record: dict[str, Any]) -> str:
    """The radius of a finished run, and the progress of any other."""
    if record["state"] == "finished":
        return _radius(record["result"])
    progress = record["progress"]
    if not progress:
        return "-"
    from djservice.core.progress import done_of

    phase = progress["phase"]
    return f"{phase} {done_of(phase, progress['done'], progress['total'])}"


_HEADING = ("ID", "STATE", "PROGRESS", "LEFT", "SUBMITTED", "CHANGED", "USER", "STORE")


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    """One run of the list."""
    from djservice.core.formatting import duration_text

    left = (record["progress"] or {}).get("seconds_left")
    submitted, changed = (record["transitions"][i]["time"] for i in (0, -1))
    return (
        record["id"],
        record["state"],
        _progress_text(record),
        duration_text(left) if record["state"] == "running" and left is not None else "",
        _local_time(submitted)[:-3],
        _local_time(changed)[:-3],
        record["user"],
        record["store"],
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines whose columns are as wide as their widest cell."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _radius(result: dict[str, Any]) -> str:
    from djservice.core.formatting import learned_radius_text

    return f"R: {learned_radius_text(result)}"


def _local_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _as_json(data: Any) -> str:
    from djservice.core.formatting import finite

    return json.dumps(finite(data), indent=2, allow_nan=False)
