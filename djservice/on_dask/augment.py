"""augment(crew, loaded, ...): the loaded events after the augmentations of their input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from djservice.core.progress import Watch
from djservice.events.augment import Augmentation, augmented
from djservice.on_dask.crew import Crew
from djservice.on_dask.load import Loaded
from djservice.on_dask.tasks import summarise


async def augment(
    crew: Crew,
    loaded: Loaded,
    augmentations: Sequence[Augmentation],
    seed: int,
    watch: Watch,
    token: str,
) -> Loaded:
    """The events after the augmentations. The watch hears what they are.

    Raises
    ------
    InputError
        If an event has too many particles afterwards.
    """
    change = partial(augmented, augmentations=augmentations, seed=seed)
    bundles = [
        crew.submit(change, bundle, key=f"augmented-{token}-{i}")
        for i, bundle in enumerate(loaded.bundles)
    ]
    summaries = await crew.gather(
        [
            crew.submit(summarise, bundle, key=f"summary-augmented-{token}-{i}")
            for i, bundle in enumerate(bundles)
        ]
    )
    particles = sum(int(summary.counts.sum()) for summary in summaries)
    events = max(sum(len(summary.counts) for summary in summaries), 1)
    watch.say(f"augmented: {', '.join(map(str, augmentations))}: {particles / events:.1f} each")
    return replace(loaded, bundles=bundles, summaries=summaries)
