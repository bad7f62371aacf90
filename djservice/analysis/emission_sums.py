"""Sums over events before and after an emission, from which relative changes follow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.cluster import follow_trees, sample_trees
from djservice.clustering.constituents import constituents_of
from djservice.clustering.particle_order import sorted_particles
from djservice.clustering.radius import Radius
from djservice.clustering.sampling import Sampling, TreeRequest
from djservice.clustering.trees import TreeSample
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats
from djservice.evaluation.evaluate import trees_at_once
from djservice.evaluation.moments import MomentLayout, Moments, Quantity
from djservice.evaluation.reduce import sums_over_events
from djservice.evaluation.tree_columns import term_columns
from djservice.events.batch import EventBatch
from djservice.events.emissions import Emitted, Kind, emitted
from djservice.objectives.losses import Loss, Mean


@dataclass(frozen=True)
class EmissionSums:
    """Sums over events of several versions of them, which merge with ``+``.

    The versions are the events as they are, and for each epsilon those after the emission, first in
    the trees of before with the new particle in its mother, then in trees of their own.

    Attributes
    ----------
    loss, observable
        Sums of the loss, and of the mean of the observable over accepted trees.
    """

    loss: Moments
    observable: Moments

    def __add__(self, other: EmissionSums) -> EmissionSums:
        return EmissionSums(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(EmissionSums))
        )


def emission_sums(
    events: EventBatch,
    loss: Loss,
    *,
    radius: Radius,
    sampling: Sampling,
    trees: int,
    kind: Kind,
    epsilons: Sequence[float],
) -> EmissionSums:
    """The sums over some events; with infinite rigidity from one tree of each.

    Parameters
    ----------
    radius
        R: one number, or a :class:`djservice.VariableR`.
    trees
        Trees per event, version and epsilon.
    kind, epsilons
        Kind of the emission, and its sizes (:func:`djservice.events.emissions.emitted`).
    """
    if math.isinf(sampling.rigidity):  # the square of a mean needs two
        trees = 2 if any(term.squares_expectation for term in loss.terms) else 1
    at_once = max(1, trees_at_once(sampling.device, loss) // trees)
    first = loss.terms[0]
    mean = Mean(first.observable, cut=first.cut)
    sums = []
    for start in range(0, max(len(events), 1), at_once):
        between_pieces()
        portion = events.select(np.arange(start, min(start + at_once, len(events))))
        versions = _versions(portion, loss, radius, sampling, trees, kind, epsilons)
        columns = [[_columns(each, made, jets) for each in (loss, mean)] for made, jets in versions]
        of_loss, of_mean = zip(*columns, strict=True)
        sums.append(
            EmissionSums(_moments(portion, loss, of_loss), _moments(portion, mean, of_mean))
        )
    total = sums[0]
    for each in sums[1:]:
        total = total + each
    return total


def _versions(
    events: EventBatch,
    loss: Loss,
    radius: Radius,
    sampling: Sampling,
    trees: int,
    kind: Kind,
    epsilons: Sequence[float],
) -> Iterator[tuple[EventBatch, Any]]:
    """Events and leading jets of each version."""
    request = TreeRequest(trees, loss.jets, constituents=loss.needs_constituents)
    before = sample_trees(events, radius, sampling, replace(request, history=True))
    yield events, before.jets
    for epsilon in epsilons:
        after = emitted(events, kind, epsilon, sampling.seed)
        yield after.events, _in_mothers(after, before, radius, sampling, request).jets
        quick = replace(request, settled_pt=loss.settled_pt)
        yield after.events, sample_trees(after.events, radius, sampling, quick).jets


def _in_mothers(
    after: Emitted, before: TreeSample, radius: Radius, sampling: Sampling, request: TreeRequest
) -> TreeSample:
    """Trees in which each new particle first merges with its mother, and all else is as before."""
    assert before.history is not None
    history = with_emission(before.history, before.offsets, after.mother, request.trees)
    finite = sampling if math.isfinite(sampling.rigidity) else replace(sampling, rigidity=1.0)
    sample = follow_trees(
        after.events, history, radius, finite, replace(request, constituents=False)
    )
    if not request.constituents:
        return sample
    order, particles = sorted_particles(after.events, sampling.power)
    members = constituents_of(
        after.events,
        history,
        sample.steps,
        particles,
        order,
        sampling.power,
        request.jets,
        renamed=True,
    )
    return replace(sample, members=members)


def with_emission(
    history: NDArray[np.int32], offsets: NDArray[np.int64], mother: NDArray[np.int64], trees: int
) -> NDArray[np.int32]:
    """Histories that begin with the merge of a mother and a new particle, the last of its event.

    Parameters
    ----------
    history
        Merges of all trees, shape (particle * trees, 2).
    offsets, mother
        Offsets of the particles of each event before, and place of the mother in each.
    """
    parts = []
    for event, number in enumerate(np.diff(offsets).tolist()):
        if number == 0:
            continue
        rows = history[offsets[event] * trees : offsets[event + 1] * trees]
        rows = rows.reshape(trees, number, 2)
        # Sums of before stand two places further: behind the new particle and its sum.
        shifted = np.where(rows >= number, rows + 2, rows)
        shifted = np.where(rows == mother[event], number + 1, shifted)
        merge = np.broadcast_to([[[mother[event], number]]], (trees, 1, 2))
        parts.append(np.concatenate([merge, shifted], axis=1).reshape(-1, 2))
    return np.concatenate(parts or [history]).astype(np.int32)


def _columns(loss: Loss, events: EventBatch, jets: Any) -> tuple[list[Floats], list[Floats], Any]:
    """z of each tree, their influences, and the first term's value and acceptance."""
    z: list[Floats] = []
    influences: list[Floats] = []
    first: Any = None
    for term in loss.terms:
        value, quantities, accepted = term.evaluate(jets, events.truth)
        of_term = term_columns(term, quantities, accepted.astype(np.float64), [])
        z, influences = z + of_term[0], influences + of_term[1]
        if first is None:
            first = np.where(accepted, value, 0.0), accepted.astype(np.float64)
    return z, influences, first


def _moments(events: EventBatch, loss: Loss, versions: Sequence[Any]) -> Moments:
    """Sums over events, in each version."""
    layout = MomentLayout(
        tuple(term.statistic for term in loss.terms) * len(versions),
        tuple(term.coefficient for term in loss.terms) * len(versions),
        parameters=0,
        versions=len(versions),
    )
    value, accepted = versions[0][2]
    spectrum = [accepted, value, value**2]
    z = np.stack([x for version in versions for x in version[0]] + spectrum, axis=-1)
    centred = np.stack([x for version in versions for x in version[1]] + spectrum, axis=-1)
    centred -= centred.mean(axis=1, keepdims=True)
    trees = z.shape[1]
    return Moments(
        layout,
        *sums_over_events(
            layout,
            None,
            z.mean(axis=1),
            centred,
            events.weight,
            loss.categories(events.truth, events.dataset),
        ),
        weight=float(events.weight.sum()),
        events=len(events),
        events_without=int((accepted.sum(axis=1) == 0).sum()),
        trees=len(events) * trees * len(versions),
        trees_accepted=int(accepted.sum()),
        state_share=math.nan,
    )


def relative(moments: Moments, one: Sequence[int], other: Sequence[int]) -> Quantity:
    """Mean of some versions minus the mean of others, relative to the first version."""
    factors = np.zeros(moments.layout.versions)
    factors[list(one)] += 1.0 / len(one)
    factors[list(other)] -= 1.0 / len(other)
    unit = np.zeros_like(factors)
    unit[0] = 1.0
    size = abs(moments.loss_along(unit).value)
    change = moments.loss_along(factors)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Quantity(*(float(np.divide(x, size)) for x in vars(change).values()))
