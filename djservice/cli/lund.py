"""``djservice lund``: measure the ratio of Lund planes, and weigh jets by it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from djservice.cli.echo import echo
from djservice.cli.failures import Commands, clear_failures
from djservice.cli.run_options import cluster_options, cluster_settings, read_run, run_options
from djservice.cli.verbosity import progress_display

if TYPE_CHECKING:
    from djservice.config.lund import LundSample

_FILE = click.Path(dir_okay=False)


@click.group(cls=Commands)
def lund() -> None:
    """Weigh simulated jets by the Lund plane of data.

    \b
    Examples:
      djservice lund measure data.yaml simulation.yaml ratio.json
      djservice lund apply ratio.json sample.yaml weights.root
      djservice lund shift run.yaml
    """


@lund.command()
@click.argument("data", type=_FILE)
@click.argument("simulation", type=_FILE)
@click.argument("ratio", type=_FILE)
@click.option(
    "--variation",
    "variations",
    nargs=3,
    multiple=True,
    metavar="NAME UP DOWN",
    help="Simulations of a systematic uncertainty, varied up and down. Repeatable.",
)
@cluster_options
@clear_failures
def measure(
    data: str,
    simulation: str,
    ratio: str,
    variations: tuple[tuple[str, str, str], ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> None:
    """Measure the ratio of the Lund planes of DATA and SIMULATION, and write it to RATIO.

    DATA and SIMULATION are YAML files with the sections input and jets. Background is subtracted by
    datasets of negative weight. The jets of both are the same, W -> qq by default: pT above
    225 GeV, and groomed masses from 70 to 110 GeV. With prongs: quarks, jets of a simulation are
    matched to its generated quarks. Runs take the ratio as input.lund_weights.

    \b
    A sample:
      input: {files: [simulation_*.root], pt_min: 0.1}
      jets: {radius: 0.8, pt_min: 225, mass: [70, 110], prongs: 2}

    \b
    Examples:
      djservice lund measure data.yaml simulation.yaml ratio.json
      djservice lund measure data.yaml simulation.yaml ratio.json --variation fsr up.yaml down.yaml
    """
    from djservice.runs.lund import measure as do_measure

    names = [name for name, _, _ in variations]
    if len(set(names)) < len(names):
        raise click.UsageError("--variation: expected distinct names.")
    settings = cluster_settings(scheduler, workers, threads)
    samples = {name: (_read(up, []), _read(down, [])) for name, up, down in variations}
    with progress_display() as display:
        result = do_measure(_read(data, settings), _read(simulation, []), ratio, samples, display)
    filled = result.nominal.value[result.nominal.error != 1.0]
    echo(f"bins with a ratio: {filled.size:,} of {result.nominal.value.size:,}", f"wrote {ratio}")


@lund.command()
@click.argument("ratio", type=_FILE)
@click.argument("sample", type=_FILE)
@click.argument("weights", type=_FILE)
@click.option(
    "--toys",
    type=click.IntRange(min=0, max=1000),
    default=100,
    show_default=True,
    help="Random changes of the bins of RATIO, and as many of its fits.",
)
@cluster_options
@clear_failures
def apply(
    ratio: str,
    sample: str,
    weights: str,
    toys: int,
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> None:
    """Weigh the jets of SAMPLE by RATIO, and write a ROOT tree WEIGHTS with a row for each jet.

    RATIO is a file of `djservice lund measure`, or the published ROOT file. The rows have the
    identity of the event, the number of the jet in it, its pT and prongs, and the weights: weight,
    its toys, and weight_NAME_up and weight_NAME_down of the systematic uncertainties. With prongs:
    quarks in SAMPLE, those that need generated quarks are among them.

    \b
    Example:
      djservice lund apply ratio.json sample.yaml weights.root --toys 20
    """
    from djservice.lund_planes.published import read_ratio
    from djservice.runs.lund import apply as do_apply

    known = read_ratio(ratio)
    with progress_display() as display:
        settings = cluster_settings(scheduler, workers, threads)
        result = do_apply(known, _read(sample, settings), weights, toys, display)
    effective = float(result.nominal.sum() ** 2 / max((result.nominal**2).sum(), 1e-300))
    echo(f"{len(result.nominal):,} jets, as many as {effective:,.0f} without weights")
    echo(f"wrote {weights}")


@lund.command()
@run_options
@click.option(
    "--toys",
    type=click.IntRange(min=0, max=100),
    default=5,
    show_default=True,
    help="Runs with random changes of the bins of the ratio, and as many of its fits.",
)
@clear_failures
def shift(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
    toys: int,
) -> None:
    """Repeat the run in CONFIG with each variation of its Lund weights: what they do to R*.

    The run has input.lund_weights. Stores are written beside output.store, one for each variation,
    and the changes of R* as a JSON file. All runs have the same random numbers, so that the changes
    are those of the weights. What is finished is not computed again.

    \b
    Example:
      djservice lund shift my_run.yaml --toys 10
    """
    from djservice.runs.lund_shift import shift as do_shift

    run = read_run(config, overrides, scheduler, workers, threads)
    with progress_display() as display:
        page = do_shift(run, toys, display)
    result = json.loads(page.read_text())
    echo(
        f"R* = {result['radius']['nominal']:.4f}, without weights {result['radius']['unweighted']:.4f}"
    )
    echo(f"{'change of R*':<19}up    down")
    for name, (up, down) in result["changes"].items():
        echo(f"{name:<16} {up:+.4f} {down:+.4f}")
    echo(f"wrote {page}")


def _read(path: str, settings: list[str]) -> LundSample:
    from djservice.config.lund import LundSample

    return LundSample.from_yaml(path, settings)


COMMANDS = (lund,)
