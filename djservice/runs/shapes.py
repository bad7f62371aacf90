"""Fitted shapes of many jets: ``djservice shapes``.

They are a Zarr store, filled in groups of jets. One that was stopped continues where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from djservice.config.shapes import Shapes, as_shapes
from djservice.core.arguments import checked_arguments
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.errors import ConfigError, InputError
from djservice.on_dask.jet_sample import JetSample
from djservice.on_dask.shapes import Fits
from djservice.runs.jets import compute, say_opened
from djservice.shapes.forms import Isotropy, Shape, check_beta, named_shape
from djservice.shapes.table import lengths_of
from djservice.shapes.transport import solver_version
from djservice.store.shape_store import open_shapes


@checked_arguments
def fit_shapes(
    config: Shapes | Mapping[str, Any] | str | Path, *, watch: Watch | None = None
) -> Path | str:
    """Fit a shape to the leading jets, or to all events, of an input, or continue from the store.

    Parameters
    ----------
    config
        The configuration (docs/guides/shapes.md): the path of its YAML file, or plain data.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    Path or str
        The Zarr store, which ``xarray.open_zarr`` opens.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or ``output.store`` holds
        something else. Finished jets are kept, and the same call continues from there.
    """
    config = as_shapes(config)
    shape = built_shape(config)
    needs = isinstance(shape, Isotropy) or not shape.only_points
    solver = solver_version() if needs else None  # a missing package ends it at once
    with shown(watch) as display:
        return compute(config, partial(_fill, config, shape), display, solver)


def built_shape(config: Shapes) -> Shape | Isotropy:
    """The shape of a configuration.

    Raises
    ------
    ConfigError
        If there is no such shape.
    """
    section = config.shape
    try:
        shape = named_shape(section.kind, section.n, section.y_max)
        check_beta(shape, section.beta)
    except InputError as error:
        raise ConfigError(f"shape: {error}") from None
    return shape


async def _fill(
    config: Shapes, shape: Shape | Isotropy, sample: JetSample, path: Path | str, watch: Watch
) -> None:
    """Compute and write the groups that are not done, in order."""
    if not len(sample.jets):
        raise InputError(
            f"there are no {sample.noun} to fit. Lower jets.pt_min, or give more events."
        )
    fits = Fits(sample, shape, config.shape.radius, config.shape.beta)
    watch.say(f"{sample}; {shape}; groups of {fits.size}")
    facts = sample.facts | {"sample": [len(sample.jets), fits.size, sample.jets.digest]}
    lengths = lengths_of(shape)
    with open_shapes(path, sample.jets, fits.size, lengths, facts, sample.versions) as store:
        say_opened(store, watch)
        first = -(-store.n_complete // fits.size)
        watch.phase("groups", len(fits.groups), first)
        async for rows in fits.rows(first, watch):
            store.write(rows)
