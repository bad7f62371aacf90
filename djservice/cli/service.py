"""Commands about runs that live on a Dask scheduler: submit, list, status, watch, logs, pause, resume, cancel."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from djservice.cli.failures import clear_failures

Command = Callable[..., None]


def _of_a_service(function: Command) -> Command:
    """The options that say which scheduler; the command gets its service as ``service``."""

    @clear_failures
    def with_service(
        scheduler: str,
        tls_ca_file: str | None,
        tls_cert: str | None,
        tls_key: str | None,
        **given: Any,
    ) -> None:
        from distributed.security import Security

        from djservice.service.client import connect

        security = None  # what Dask's configuration says
        if tls_ca_file or tls_cert or tls_key:
            security = Security(
                tls_ca_file=tls_ca_file,
                tls_client_cert=tls_cert,
                tls_client_key=tls_key,
                require_encryption=True,
            )
        function(service=connect(scheduler, security), **given)

    with_service.__name__, with_service.__doc__ = function.__name__, function.__doc__
    command: Command = with_service
    pem = click.Path(exists=True, dir_okay=False)
    for option in (
        click.option("--tls-key", type=pem, help="Private key of this user, in PEM."),
        click.option("--tls-cert", type=pem, help="Certificate of this user, in PEM."),
        click.option(
            "--tls-ca-file", type=pem, help="Certificate authority of the cluster, in PEM."
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            envvar="DJSERVICE_SCHEDULER",
            required=True,
            show_envvar=True,
            help="Dask scheduler that has the runs.",
        ),
    ):
        command = option(command)
    return command


_RUN_ID = click.argument("run_id", metavar="ID")


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one key; repeatable.",
)
@_of_a_service
def submit(service: Any, config: str, overrides: tuple[str, ...]) -> None:
    """Hand the run of the YAML file CONFIG over to a scheduler, print its ID and return.

    It goes on there by itself. Relative paths are those of this folder, which the scheduler and its workers must see. A run
    that was submitted before is not run twice: its ID is printed again; where it had failed or was stopped, it goes on.

    \b
    Example:
      djservice submit my_run.yaml --scheduler tcp://login1:8786
    """
    from djservice.config.run import Run

    submitted = service.submit(Run.from_yaml(config, overrides))
    if not submitted.new:
        status = submitted.status()
        click.echo(
            f"submitted before, by {status['user']}; now {status['state']}: {status['store']}",
            err=True,
        )
    click.echo(submitted.id)


@click.command("list")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many, the last submitted.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything of all, as JSON.")
@_of_a_service
def list_runs(service: Any, last: int, as_json: bool) -> None:
    """List the runs of a scheduler in the order of their submission.

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
        click.echo(f"{len(runs) - last} earlier ones: --last {len(runs)} shows them", err=True)
    if not runs:
        click.echo("no runs yet; `djservice submit` hands one over", err=True)
    shown = runs[-last:]
    width = max((len(status["id"]) for status in shown), default=0)
    for status in shown:
        click.echo(
            f"{status['id']:<{width}}  {status['state']:<9}  {_how_far(status):<22}  {status['user']}  {status['store']}"
        )


@click.command()
@_RUN_ID
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@_of_a_service
def status(service: Any, run_id: str, as_json: bool) -> None:
    """Show state, progress and result of the run ID.

    \b
    Example:
      djservice status zh_global_radius-1a2b3c4d5e --json | jq .result.radius
    """
    found = service.run(run_id).status()
    if as_json:
        click.echo(_as_json(found))
        return
    click.echo(f"{found['id']} of {found['user']}: {found['store']}")
    for transition in found["transitions"]:
        click.echo(
            f"{_clock(transition['time'])}  {transition['state']:<9}  {transition['reason']}".rstrip()
        )
    if found["state"] in ("loading", "running", "paused"):
        click.echo(_how_far(found))
    if found["result"]:
        click.echo(_radius(found["result"]))


@click.command()
@_RUN_ID
@_of_a_service
def watch(service: Any, run_id: str) -> None:
    """Follow the run ID until it ends. Ctrl-C leaves it to itself, and the same command joins it again.

    \b
    Example:
      djservice watch zh_global_radius-1a2b3c4d5e
    """
    from djservice.core.display import choose_display

    submitted, display = service.run(run_id), choose_display()
    try:
        ended = submitted.follow(display)
    except KeyboardInterrupt:
        display.close()
        click.echo(f"left; {run_id} goes on. The same command joins it again.", err=True)
        return
    finally:
        display.close()
    if ended["state"] == "failed":
        click.echo(f"djservice: {ended['id']} failed: {ended['reason']}", err=True)
        sys.exit(1)


@click.command()
@_RUN_ID
@_of_a_service
def logs(service: Any, run_id: str) -> None:
    """Print the last lines that the run ID had to say.

    \b
    Example:
      djservice logs zh_global_radius-1a2b3c4d5e
    """
    for when, line in service.run(run_id).logs():
        click.echo(f"{_clock(when)}  {line}")


@click.command()
@_RUN_ID
@_of_a_service
def cancel(service: Any, run_id: str) -> None:
    """End the run ID. Its store keeps what is there.

    \b
    Example:
      djservice cancel zh_global_radius-1a2b3c4d5e
    """
    _say_state(service.run(run_id).cancel())


@click.command()
@_RUN_ID
@_of_a_service
def pause(service: Any, run_id: str) -> None:
    """Stop the run ID, and give its place to the next, until it is resumed.

    \b
    Example:
      djservice pause zh_global_radius-1a2b3c4d5e
    """
    _say_state(service.run(run_id).pause())


@click.command()
@_RUN_ID
@_of_a_service
def resume(service: Any, run_id: str) -> None:
    """Queue the run ID again after a pause, a cancellation or a failure: it goes on from its store.

    \b
    Example:
      djservice resume zh_global_radius-1a2b3c4d5e
    """
    _say_state(service.run(run_id).resume())


@click.command()
@_RUN_ID
@_of_a_service
def forget(service: Any, run_id: str) -> None:
    """Take the run ID off the list, once it goes on no more. Its store stays.

    \b
    Example:
      djservice forget zh_global_radius-1a2b3c4d5e
    """
    click.echo(f"forgotten; its store stays: {service.run(run_id).forget()['store']}")


COMMANDS = (submit, list_runs, status, watch, logs, pause, resume, cancel, forget)


def _say_state(found: dict[str, Any]) -> None:
    click.echo(f"{found['id']}: {found['state']}")


def _how_far(found: dict[str, Any]) -> str:
    """The progress of a run that goes on, the radius of one that is finished."""
    if found["state"] == "finished":
        return _radius(found["result"])
    progress = found["progress"]
    return f"{progress['phase']} {progress['done']}/{progress['total']}" if progress else "-"


def _radius(result: dict[str, Any]) -> str:
    from djservice.core.formatting import with_error

    return f"R: {with_error(result['radius'], result['radius_error'], 3)}"


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def _as_json(found: Any) -> str:
    from djservice.core.formatting import finite

    return json.dumps(finite(found), indent=2, allow_nan=False)
