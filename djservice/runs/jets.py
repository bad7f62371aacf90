"""What ``djservice emd`` and ``djservice shapes`` have in common: a store that is filled for jets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from djservice.config.jets import JetsDocument
from djservice.core.progress import Watch
from djservice.fit.plan import augmentations_of
from djservice.input.plan import plan_input
from djservice.on_dask.jet_sample import JetSample
from djservice.on_dask.session import client_for, run_to_completion
from djservice.store.filled import FilledStore
from djservice.store.location import store_path

#: Fills the store at a place from a sample.
Fill = Callable[[JetSample, Path | str, Watch], Awaitable[None]]


def compute(config: JetsDocument, fill: Fill, watch: Watch, solver: str | None) -> Path | str:
    """Load the jets of a configuration onto a cluster, fill its store, and return that.

    Parameters
    ----------
    solver
        Version of POT that the workers need; None if they need none.

    Raises
    ------
    DjserviceError
        If the input, the configuration or the cluster is unusable, or what ``fill`` raises.
    """
    augmentations, plan = augmentations_of(config.input), plan_input(config.input)
    path = store_path(config.output.store)
    cluster = config.cluster.model_copy(update={"device": "cpu"})

    async def computed() -> Path | str:
        async with client_for(cluster, watch) as client:
            sample = await JetSample.load(client, config, plan, augmentations, watch, solver)
            await fill(sample, path, watch)
        return path

    return run_to_completion(computed(), watch)


def say_opened(store: FilledStore, watch: Watch) -> None:
    """Say what was damaged in a store, and what changed since it was left."""
    for damage in store.mended:
        watch.say(f"{store}: damaged: {damage}; what is lost is computed again")
    for change in store.changes:
        watch.say(f"continued with other versions {change}")
