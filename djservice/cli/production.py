"""Commands for production: reprocess, what a schedule calls; skim, what a workflow begins with; doctor, what is wrong."""

from __future__ import annotations

import json
import sys

import click

from djservice.cli.failures import INCOMPLETE, clear_failures


@click.command()
@click.argument("config", type=click.Path(dir_okay=False))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change one key of the run; repeatable.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler to use, instead of one on this machine."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Worker processes on this machine. [default: one per processor]",
)
@clear_failures
def reprocess(
    config: str, overrides: tuple[str, ...], scheduler: str | None, workers: int | None
) -> None:
    """Bring results up to date as the YAML file CONFIG says: do what is new or changed, and nothing where nothing is.

    CONFIG names the run that is fitted (run), the files that the fit is applied to (apply), and where results are kept
    (folder); its `latest` leads to the last result, and earlier ones stay. Made for a schedule: where another process is at it,
    or nothing changed, it says so and ends with exit code 0. Exit code: 0, 1 for a failure, 2 for a wrong CONFIG, 3 where bad
    inputs were left out.

    \b
    Examples:
      djservice reprocess nightly.yaml
      djservice reprocess nightly.yaml --scheduler tcp://login1:8786
    """
    from djservice.reprocessing.config import Reprocessing
    from djservice.reprocessing.lease import HeldError

    settings = Reprocessing.from_yaml(config)
    given = {"scheduler": scheduler, "workers": workers}
    places = [
        f"cluster.{key}={json.dumps(value)}" for key, value in given.items() if value is not None
    ]
    run = settings.read_run([*overrides, *places])
    from djservice.core.display import choose_display
    from djservice.reprocessing.update import reprocess as bring_up_to_date

    display = choose_display()
    try:
        outcome = bring_up_to_date(settings, run, display)
    except HeldError as held:
        click.echo(str(held))
        return
    finally:
        display.close()
    click.echo(f"{'latest' if outcome.reasons else 'nothing changed; latest'}: {outcome.result}")
    if outcome.left_out:
        click.echo(
            "\n".join([f"bad inputs that are left out: {len(outcome.left_out)}", *outcome.left_out])
        )
        sys.exit(INCOMPLETE)


@click.command()
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    envvar="DJSERVICE_SCHEDULER",
    show_envvar=True,
    help="Dask scheduler to look at.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False),
    default=".",
    help="Where results are to go. [default: here]",
)
@clear_failures
def doctor(scheduler: str | None, folder: str) -> None:
    """Look for what may be wrong: versions, storage, clocks, certificates, GPUs, the service. Exit code 1 if anything is.

    With --scheduler, the scheduler and all workers are compared with this machine. Certificates are those of Dask's
    configuration.

    \b
    Examples:
      djservice doctor --folder /data/results
      djservice doctor --scheduler tls://login1:8786
    """
    from djservice.cli.doctor import examine

    wrong = 0
    for finding in examine(folder, scheduler):
        wrong += bool(finding.remedy)
        click.echo(f"{'FIX' if finding.remedy else 'ok':<3}  {finding.what}: {finding.found}")
        if finding.remedy:
            click.echo(f"     -> {finding.remedy}")
    click.echo(f"{wrong} to fix" if wrong else "all is well")
    sys.exit(1 if wrong else 0)


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option("--pt-min", type=click.FloatRange(min=0), default=0.5, show_default=True, help="GeV.")
@click.option(
    "--particles",
    multiple=True,
    default=["PFCands"],
    show_default=True,
    help="Collection; repeatable.",
)
@clear_failures
def skim(source: str, target: str, pt_min: float, particles: tuple[str, ...]) -> None:
    """Write what djservice reads of the NanoAOD file SOURCE, a path or URL, to the ROOT file TARGET.

    All events are kept, particles above --pt-min, and the generated particles, which the true mass comes from. Runs with that
    pt_min or a higher one give the same numbers from it, and read less; but for events without run and event numbers, whose
    random numbers are keyed by the name of the file.

    \b
    Examples:
      djservice skim root://eos.example.org//store/zh.root zh.root --pt-min 1
      djservice skim zh.root small.root --particles PFCands --particles LostTracks
    """
    from djservice.core.display import choose_display
    from djservice.input.files import expand
    from djservice.input.schemas import nanoaod
    from djservice.input.skim import skim as write

    (path,) = expand([source])
    display, done, before, after = choose_display(), 0, 0, 0
    try:
        for total, events, of_before, of_after in write(
            path, target, nanoaod(particles=particles, pt_min=pt_min)
        ):
            if not done:
                display.phase("skim", total, 0)
            display.step({"steps": events})
            done, before, after = done + events, before + of_before, after + of_after
    finally:
        display.close()
    click.echo(f"{target}: {done} events, {after} of {before} particles")


COMMANDS = (reprocess, skim, doctor)
