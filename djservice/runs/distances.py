"""Matrices of distances: ``djservice emd``.

The matrix is a Zarr store, filled in stripes of rows. One that was stopped continues where it was.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from djservice.config.distances import Distances
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.on_dask.distances import Blocks
from djservice.on_dask.jet_sample import JetSample
from djservice.runs.jets import compute, say_opened
from djservice.shapes.transport import solver_version
from djservice.store.distance_store import open_distances


def distances(config: Distances, watch: Watch | None = None) -> Path | str:
    """Compute the distances of all pairs of jets, or continue from the store.

    Parameters
    ----------
    config
        The configuration.
    watch
        Watch that shows the progress; by default bars in a notebook, else lines on standard error.

    Returns
    -------
    Path or str
        The store.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or ``output.store`` holds
        something else. Finished stripes are kept, and the same call continues from there.
    """
    solver = solver_version()  # so that a missing package ends it at once
    with shown(watch) as display:
        return compute(config, partial(_fill, config), display, solver)


async def _fill(config: Distances, sample: JetSample, path: Path | str, watch: Watch) -> None:
    """Compute and write the stripes that are not done, in order."""
    blocks = await Blocks.of(sample, config)
    watch.say(f"{sample}; blocks of {blocks.size} by {blocks.size}")
    facts = sample.facts | {"sample": [len(sample.jets), blocks.size, sample.jets.digest]}
    with open_distances(path, sample.jets, blocks.size, facts, sample.versions) as store:
        say_opened(store, watch)
        first, number = -(-store.n_complete // blocks.size), blocks.number_from(0)
        watch.phase("blocks", number, number - blocks.number_from(first))
        async for stripe in blocks.stripes(first, watch):
            store.write(stripe)
