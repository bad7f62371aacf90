"""Matrices of distances: ``djservice emd``.

The matrix is a Zarr store, filled in stripes of rows. One that was stopped continues where it was.
"""

from __future__ import annotations

from pathlib import Path

from djservice.config.distances import Distances
from djservice.core.notebook import shown
from djservice.core.progress import Watch
from djservice.core.provenance import code_hash
from djservice.core.urls import basename
from djservice.events.augment import Augmentation
from djservice.fit.plan import augmentations_of
from djservice.input.plan import InputPlan, plan_input
from djservice.on_dask.distances import Sample
from djservice.on_dask.session import client_for, run_to_completion
from djservice.shapes.transport import solver_version
from djservice.store.distance_store import DistanceStore, open_distances
from djservice.store.location import store_path


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
    solver_version()  # so that a missing package ends it at once
    augmentations = augmentations_of(config.input)
    plan = plan_input(config.input)
    with shown(watch) as display:
        return run_to_completion(_fill(config, plan, augmentations, display), display)


async def _fill(
    config: Distances, plan: InputPlan, augmentations: tuple[Augmentation, ...], watch: Watch
) -> Path | str:
    path = store_path(config.output.store)
    cluster = config.cluster.model_copy(update={"device": "cpu"})
    async with client_for(cluster, watch) as client:
        sample = await Sample.load(client, config, plan, augmentations, watch)
        what = "events" if config.jets is None else "jets"
        left_out = f"; events without one: {sample.empty:,}" if sample.empty else ""
        watch.say(
            f"{len(sample.jets):,} {what}{left_out}; blocks of {sample.size} by {sample.size}"
        )
        facts = {
            **config.numbers,
            "code": code_hash(),
            "inputs": [[basename(f.path), f.size, f.uuid, f.entries] for f in sample.loaded.inputs],
            "selection": plan.selection,
            "left out": [[str(part) for part in vars(bad).values()] for bad in sample.loaded.bad],
            "sample": [len(sample.jets), sample.size, sample.jets.digest],
            "without jets": sample.empty,
        }
        with open_distances(path, sample.jets, sample.size, facts, sample.versions) as store:
            for damage in store.mended:
                watch.say(f"{path}: damaged: {damage}; what is lost is computed again")
            for change in store.changes:
                watch.say(f"continued with other versions {change}")
            await _fill_stripes(sample, store, watch)
    return path


async def _fill_stripes(sample: Sample, store: DistanceStore, watch: Watch) -> None:
    """Compute and write the stripes that are not done, in order."""
    first, blocks = -(-store.n_complete // sample.size), sample.blocks_from(0)
    watch.phase("blocks", blocks, blocks - sample.blocks_from(first))
    async for stripe in sample.stripes(first, watch):
        store.write(stripe)
