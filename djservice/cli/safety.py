"""``djservice check-irc``: infrared and collinear safety of a run's objective."""

from __future__ import annotations

from pathlib import Path

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures
from djservice.cli.run_options import read_run, run_options
from djservice.cli.verbosity import progress_display


@click.command("check-irc")
@run_options
@click.option(
    "--radius", type=float, help="Jet radius R. [default: radius.start of CONFIG]", metavar="R"
)
@click.option(
    "--rigidity",
    type=float,
    metavar="ALPHA",
    help="Rigidity of the stochastic clustering. [default: clustering.rigidity of CONFIG]",
)
@click.option(
    "--trees",
    type=click.IntRange(min=1),
    help="Trees per event and epsilon. [default: scan.trees of CONFIG]",
)
@click.option(
    "--epsilon",
    "epsilons",
    type=float,
    multiple=True,
    help="Size of the emission. Repeatable, three or more. [default: 0.1 to 0.00001]",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="irc.json",
    show_default=True,
    help="JSON file to write, with the figure beside it.",
)
@clear_failures
def check_irc(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
    radius: float | None,
    rigidity: float | None,
    trees: int | None,
    epsilons: tuple[float, ...],
    output: Path,
) -> None:
    """Check whether the loss of CONFIG changes by arbitrarily soft or collinear particles.

    One particle is added to each event: a soft one with epsilon times the pT of the hardest, within
    0.4 of a mother that is drawn in proportion to pT; or the mother splits in two at the distance
    epsilon. The table has the relative change of the loss, and of the mean of its observable, with
    the deterministic and with the stochastic clustering. It tells the change at fixed jets, where
    the new particle is in the jet of its mother, from that of the jets. Safe is what goes to 0 with
    epsilon. The numbers do not depend on --scheduler, --workers or --threads.

    \b
    Examples:
      djservice check-irc my_run.yaml
      djservice check-irc my_run.yaml --set 'input.entries=[0, 200]' --trees 50 --output check.json
      djservice check-irc my_run.yaml --set clustering.scale=safe --rigidity 0.1
    """
    from djservice.reports.safety import need_free, safety_text, write
    from djservice.runs.safety import check_irc_of

    need_free(output)
    run = read_run(config, overrides, scheduler, workers, threads)
    with progress_display() as display:
        check = check_irc_of(
            run, radius=radius, rigidity=rigidity, trees=trees, epsilons=epsilons, watch=display
        )
    echo(*safety_text(check).split("\n"))
    echo(*(f"wrote {path}" for path in write(check, output)))


COMMANDS = (check_irc,)
