"""``dj.expectation``: the mean of an observable over the clusterings of each event."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Unpack, cast

import numpy as np
from numpy.typing import ArrayLike

from djservice.clustering.cluster import sample_trees
from djservice.clustering.radius import Radius, VariableR, radius_per_event
from djservice.clustering.rigidities import Rigidity, groups_of, in_order, is_per_event
from djservice.clustering.sampling import Sampling, SamplingKeywords, TreeRequest, takes_sampling
from djservice.core.array_module import to_host
from djservice.core.html_table import html_table
from djservice.core.typing import Floats
from djservice.evaluation.evaluate import trees_at_once
from djservice.evaluation.per_event import mean_of_accepted
from djservice.events.as_events import as_events
from djservice.objectives.cuts import Cut
from djservice.objectives.losses import Mean
from djservice.objectives.observable import Observable, warn_of_defaults


@dataclass(frozen=True)
class Expectation:
    """Mean of an observable over the accepted trees of each event; all arrays have shape (event,).

    Attributes
    ----------
    mean
        Mean in the units of the observable; NaN where no tree is accepted.
    error
        Standard error of the mean over trees. NaN with fewer than two accepted trees, 0 for the
        deterministic clustering.
    acceptance
        Fraction of the trees that are accepted.
    """

    mean: Floats
    error: Floats
    acceptance: Floats

    def _repr_html_(self) -> str:
        good = np.isfinite(self.mean)
        errors = self.error[np.isfinite(self.error)]
        rows = {
            "events": f"{len(self.mean):,}",
            "without accepted trees": f"{len(self.mean) - good.sum():,}",
            "mean over events": f"{self.mean[good].mean():.4g}" if good.any() else "",
            "median error": f"{np.median(errors):.2g}" if len(errors) else "",
            "accepted trees": f"{self.acceptance.mean():.3f}" if len(self.mean) else "",
        }
        return html_table("Expectation", rows)


@takes_sampling
def expectation(
    particles: Any,
    observable: Observable,
    *,
    radius: Radius,
    trees: int = 100,
    rigidity: Rigidity = 1.0,
    where: Cut | None = None,
    mask: ArrayLike | None = None,
    identity: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    **sampling: Unpack[SamplingKeywords],
) -> Expectation:
    """Mean of an observable over the sampled clusterings of each event, with its Monte-Carlo error.

    Parameters
    ----------
    particles
        Particles of the events in any form of :func:`djservice.as_events`, such as
        ``events.PFCands`` of NanoEvents after any cleaning.
    observable
        Observable of the leading jets of each tree.
    radius, rigidity, sampling
        See :func:`djservice.cluster`. With infinite rigidity there is one tree, whatever ``trees``
        is. Give ``threads=1`` inside a Dask task of one thread.
    trees
        Trees per event.
    where
        Selection of trees; all by default. Trees whose observable is not finite never count.
    mask
        Particles that are no padding; see :func:`djservice.as_events`.
    identity
        ``(events.run, events.luminosityBlock, events.event)``, the keys of the random draws. With
        it, an event has the same trees in every chunk, order, process and selection. Without it,
        draws are keyed by the position in this array, so they depend on how the input was cut into
        chunks and on earlier selections of events.

    Raises
    ------
    InputError
        If an argument has no meaning, or the particles are not such records; the message names the
        first bad particle.
    ClusteringError
        See :func:`djservice.cluster`.

    Warns
    -----
    InputWarning
        If the observable reads columns of the particles that they lack.
    """
    events = as_events(particles, mask, identity=identity)
    warn_of_defaults([observable], events.columns)
    if is_per_event(rigidity):
        groups = list(groups_of(events, radius, rigidity))
        results = [
            expectation(
                some, observable, radius=radii, trees=trees, rigidity=alpha, where=where, **sampling
            )
            for _, some, radii, alpha in groups
        ]
        of_groups = ([getattr(part, f.name) for part in results] for f in fields(Expectation))
        return Expectation(*(in_order([rows for rows, *_ in groups], part) for part in of_groups))
    settings = Sampling(cast(float, rigidity), **sampling)
    if settings.rigidity == math.inf:
        trees = min(trees, 1)
    term = Mean(observable, cut=where)
    radii = None if isinstance(radius, VariableR) else radius_per_event(events, radius)
    request = TreeRequest(
        trees,
        term.jets,
        settled_pt=term.settled_pt,
        on_device=True,
        constituents=term.needs_constituents,
    )
    at_once = max(1, trees_at_once(settings.device, term) // trees)
    parts: list[tuple[Floats, Floats, Floats]] = []
    for start in range(0, max(len(events), 1), at_once):
        rows = np.arange(start, min(start + at_once, len(events)))
        portion = events if len(events) <= at_once else events.select(rows)
        sample = sample_trees(portion, radius if radii is None else radii[rows], settings, request)
        _, (value,), accepted = term.evaluate(sample.jets, portion.truth)
        mean, error = (to_host(x) for x in mean_of_accepted(value, accepted))
        if sample.deterministic:
            error = np.where(np.isnan(mean), np.nan, 0.0)
        parts.append((mean, error, to_host(accepted.mean(axis=1))))
    return Expectation(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
