"""Lund planes and weights of the jets of an input, on the workers of a cluster."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from distributed import Future

from djservice.config.input import LundJets
from djservice.core.progress import Watch
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch
from djservice.events.checks import check_weights
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.normalisation import normalised
from djservice.lund_planes.prong_jets import QUARKS, doubt_of_matches
from djservice.lund_planes.selected_jets import LundWeighting, Products, plane_of, products_of
from djservice.on_dask.crew import Crew


async def plane(
    crew: Crew,
    bundles: Sequence[Future],
    jets: LundJets,
    prongs: int,
    binning: Binning,
    token: str,
) -> PlaneSums:
    """The plane of the jets with so many prongs of all bundles, added up in their order."""
    arguments = jets, prongs, binning
    futures = [
        crew.submit(plane_of, bundle, *arguments, key=f"plane-{token}-{i}", work="clustering")
        for i, bundle in enumerate(bundles)
    ]
    sums: PlaneSums = functools.reduce(operator.add, await crew.gather(futures))
    return sums


async def factors_of(
    crew: Crew, bundles: Sequence[Future], weights: Sequence[Floats], by: LundWeighting, token: str
) -> tuple[list[Floats], int, str]:
    """Factor on the weight of each event, by bundle; the number of jets; and a doubt, or "".

    The normalisation needs all jets, so it is done here, in the order of the bundles.
    """
    futures = [
        crew.submit(products_of, bundle, by, key=f"products-{token}-{i}", work="clustering")
        for i, bundle in enumerate(bundles)
    ]
    parts: list[Products] = await crew.gather(futures)
    raw, prongs, pt, bad = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("value", "prongs", "pt", "bad")
    )
    of_event = np.concatenate(
        [weight[part.event] for weight, part in zip(weights, parts, strict=True)]
    )
    jets = normalised(raw, prongs, pt, of_event)
    factors, first = [], 0
    for weight, part in zip(weights, parts, strict=True):
        factor = np.ones(len(weight))
        np.multiply.at(factor, part.event, jets[first : first + len(part.event)])
        factors.append(factor)
        first += len(part.event)
    return factors, len(raw), doubt_of_matches(prongs, bad) if by.jets.prongs == QUARKS else ""


async def weigh(
    crew: Crew,
    bundles: Sequence[Future],
    weights: Sequence[Floats],
    by: LundWeighting,
    watch: Watch,
    token: str,
) -> tuple[list[Future], list[Floats]]:
    """The bundles with the weights of their jets, and the weights of their events."""
    factors, jets, doubt = await factors_of(crew, bundles, weights, by, token)
    spread = float(np.concatenate(factors).std())
    watch.say(f"Lund weights ({by.name}): {jets:,} jets, standard deviation {spread:.3f}")
    if doubt:
        watch.say(f"warning: {doubt}")
    weighed = [
        crew.submit(_weighed, bundle, factor, key=f"lund-weighed-{token}-{i}")
        for i, (bundle, factor) in enumerate(zip(bundles, factors, strict=True))
    ]
    return weighed, [weight * factor for weight, factor in zip(weights, factors, strict=True)]


def _weighed(batch: EventBatch, factor: Floats) -> EventBatch:
    return check_weights(replace(batch, weight=batch.weight * factor))
