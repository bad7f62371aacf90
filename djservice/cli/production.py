"""Commands for production: reprocess for schedules, skim for smaller files, doctor for problems."""

from __future__ import annotations

import sys

import click

from djservice.cli.echo import echo
from djservice.cli.failures import INCOMPLETE, clear_failures
from djservice.cli.run_options import cluster_settings, run_options
from djservice.cli.tls import tls_options
from djservice.cli.verbosity import progress_display


@click.command()
@run_options
@clear_failures
def reprocess(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> None:
    """Bring results up to date with their inputs, as the YAML file CONFIG describes.

    CONFIG names the run that is fitted (run), the files that the fit is applied to (apply), and the
    folder of the results (folder). The link `latest` in that folder leads to the last result, and
    earlier results are kept.

    The command is made for a schedule. If nothing changed, or another process is doing the work, it
    says so and ends with exit code 0.

    \b
    Exit codes:
      0  success, or nothing to do
      1  failure
      2  invalid CONFIG
      3  success, but bad inputs were left out

    \b
    Examples:
      djservice reprocess nightly.yaml
      djservice reprocess nightly.yaml --scheduler tcp://login1:8786
    """
    from djservice.reprocessing.config import Reprocessing
    from djservice.reprocessing.lease import HeldError

    settings = Reprocessing.from_yaml(config)
    run = settings.read_run([*overrides, *cluster_settings(scheduler, workers, threads)])
    from djservice.reprocessing.update import reprocess as bring_up_to_date

    try:
        with progress_display() as display:
            outcome = bring_up_to_date(settings, run, display)
    except HeldError as held:
        echo(str(held))
        return
    echo(f"{'latest' if outcome.reasons else 'nothing changed; latest'}: {outcome.result}")
    if outcome.left_out:
        echo(f"bad inputs left out: {len(outcome.left_out)}", *outcome.left_out)
        sys.exit(INCOMPLETE)


@click.command()
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    envvar="DJSERVICE_SCHEDULER",
    show_envvar=True,
    help="Dask scheduler to check, with its workers.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False),
    default=".",
    help="Folder for results. [default: the current folder]",
)
@tls_options
@clear_failures
def doctor(scheduler: str | None, folder: str) -> None:
    """Check versions, storage, clocks, certificates, GPUs and the service.

    Each problem is printed with its remedy. With --scheduler, the scheduler and all its workers are
    compared with this machine. Certificates that are not given are those of Dask's configuration.
    The exit code is 1 if there is anything to fix.

    \b
    Examples:
      djservice doctor --folder /data/results
      djservice doctor --scheduler tls://login1:8786
    """
    from djservice.cli.doctor import examine

    problems = 0
    for finding in examine(folder, scheduler):
        problems += bool(finding.remedy)
        echo(f"{'FIX' if finding.remedy else 'ok':<3}  {finding.subject}: {finding.observation}")
        if finding.remedy:
            echo(f"     -> {finding.remedy}")
    echo(f"{problems} to fix" if problems else "everything is in order")
    sys.exit(1 if problems else 0)


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(dir_okay=False))
@click.option(
    "--pt-min",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Minimum pT in GeV.",
)
@click.option(
    "--particles",
    multiple=True,
    default=["PFCands"],
    show_default=True,
    help="Collection of particles. Repeatable.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="NAME",
    help="Further branch, or field of the collections, to keep. Repeatable.",
)
@clear_failures
def skim(
    source: str, target: str, pt_min: float, particles: tuple[str, ...], keep: tuple[str, ...]
) -> None:
    """Copy what djservice needs from the NanoAOD file SOURCE to the ROOT file TARGET.

    SOURCE is a path or a URL. TARGET has all events, their particles above --pt-min, and the
    generated particles that define the true mass. A run with that pt_min or a higher one reads less
    and gives the same numbers; one with a lower one is warned. Charges, pdgId and puppiWeight of
    the particles are kept where there are any.

    Events without run and event numbers are the exception: their random numbers depend on the name
    of the file.

    \b
    Examples:
      djservice skim root://eos.example.org//store/zh.root zh.root --pt-min 1
      djservice skim zh.root small.root --particles PFCands --particles LostTracks
      djservice skim zh.root small.root --pt-min 1 --keep GenVisH_mass
    """
    from djservice.input.files import expand
    from djservice.input.schemas import nanoaod
    from djservice.input.skim import skim as write

    (path,) = expand([source])
    done, before, after = 0, 0, 0
    with progress_display() as display:
        for total, events, particles_read, particles_kept in write(
            path, target, nanoaod(particles=particles, pt_min=pt_min), keep
        ):
            if not done:
                display.phase("skim", total, 0)
            display.step({"steps": events})
            done, before, after = done + events, before + particles_read, after + particles_kept
    echo(f"{target}: {done} events, {after} of {before} particles")


COMMANDS = (reprocess, skim, doctor)
