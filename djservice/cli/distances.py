"""``djservice emd``: the distances between all pairs of jets or events."""

from __future__ import annotations

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures
from djservice.cli.run_options import cluster_settings, run_options
from djservice.cli.verbosity import progress_display


@click.command()
@run_options
@clear_failures
def emd(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> None:
    """Compute the distances of all pairs of jets or events that the YAML file CONFIG describes.

    The energy mover's distance is computed by exact transport (extra `shapes`), each pair once. The
    matrix is written to the Zarr store output.store, and a figure beside it: distances to nearest
    neighbours, and the correlation dimension against the scale. After a stop or a crash, the same
    command continues from the store and gives the same numbers. The numbers do not depend on
    --scheduler, --workers or --threads.

    \b
    A configuration:
      input: {files: [example:ZHllbb_200], pt_min: 0.5}
      jets: {radius: 0.8, pt_min: 20}       # the leading jet of each event; null: whole events
      distance: {radius: 0.8, beta: 1}      # kind: spectral compares pairwise angles
      output: {store: emd.zarr}

    \b
    Examples:
      djservice emd my_emd.yaml
      djservice emd my_emd.yaml --set distance.beta=2 --set output.store=emd2.zarr
      djservice emd my_emd.yaml --set jets=null --set distance.kind=spectral
      djservice emd my_emd.yaml --scheduler tcp://login1:8786
      djservice check emd.zarr
    """
    from djservice.config.distances import Distances
    from djservice.reports.distances import distances_text, draw
    from djservice.runs.distances import distances

    settings = [*overrides, *cluster_settings(scheduler, workers, threads)]
    configuration = Distances.from_yaml(config, settings)
    with progress_display() as display:
        store = distances(configuration, display)
    echo(*distances_text(store).split("\n"))
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


COMMANDS = (emd,)
