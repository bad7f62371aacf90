"""``djservice shapes``: the shapes that jets or events are nearest to."""

from __future__ import annotations

import click

from djservice.cli.echo import echo
from djservice.cli.failures import clear_failures
from djservice.cli.run_options import cluster_settings, run_options
from djservice.cli.verbosity import progress_display


@click.command()
@run_options
@clear_failures
def shapes(
    config: str,
    overrides: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    threads: int | None,
) -> None:
    """Fit a shape to each jet or event that the YAML file CONFIG describes.

    Shapes are points (N-subjettiness), rings, disks, ellipses, their sums with an even part, and
    isotropies (extra `shapes`, but for points). Distances, centres, radii, weights and the jets of
    the prongs are written to the Zarr store output.store, and a figure of their spectra beside it.
    After a stop or a crash, the same command continues from the store and gives the same numbers.
    The numbers do not depend on --scheduler, --workers or --threads.

    \b
    A configuration:
      input: {files: [example:ZHllbb_200], pt_min: 0.5}
      jets: {radius: 0.8, pt_min: 20}       # the leading jet of each event; null: whole events
      shape: {kind: disk+point, n: 1}       # of the distance: radius: 0.8, beta: 1
      output: {store: shapes.zarr}

    \b
    Examples:
      djservice shapes my_shapes.yaml
      djservice shapes my_shapes.yaml --set shape.kind=point --set shape.n=2
      djservice shapes my_shapes.yaml --set jets=null --set 'shape.kind=ring isotropy'
      djservice shapes my_shapes.yaml --scheduler tcp://login1:8786
      djservice check shapes.zarr
    """
    from djservice.config.shapes import Shapes
    from djservice.reports.shapes import draw, shapes_text
    from djservice.runs.shapes import fit_shapes

    settings = [*overrides, *cluster_settings(scheduler, workers, threads)]
    configuration = Shapes.from_yaml(config, settings)
    with progress_display() as display:
        store = fit_shapes(configuration, watch=display)
    echo(*shapes_text(store).split("\n"))
    echo(*(f"wrote {path}" for path in (store, *draw(store))))


COMMANDS = (shapes,)
