"""The jets of all histories in flat arrays, jet by jet, with their constituents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.constituents import constituents_of_histories, jets_of_histories
from djservice.clustering.particle_order import momenta_of
from djservice.core.typing import Floats
from djservice.events.batch import EventBatch


@dataclass(frozen=True)
class FlatJets:
    """Jets, by tree and in falling pT.

    Attributes
    ----------
    tree
        Number of the tree of each jet: trees follow one another event by event.
    momenta
        px, py, pz and E of each jet in GeV, shape (jet, 4).
    sizes
        Number of constituents of each jet.
    constituents
        The rising indices of the particles of one jet after the other, in their event.
    """

    tree: NDArray[np.int64]
    momenta: Floats
    sizes: NDArray[np.int64]
    constituents: NDArray[np.int64]


def flat_jets(
    events: EventBatch, history: NDArray[np.int32], trees: int, pt_min: float, jets: int | None
) -> FlatJets:
    """The jets of all histories with pT > ``pt_min``, of each tree at most the ``jets`` leading ones."""
    rows, largest = len(history), int(events.counts.max(initial=0))
    momenta, members = np.empty((rows, 4)), np.empty(rows, np.int64)
    owner = np.empty(2 * largest, np.int64)
    particles = momenta_of(events)
    jets_of_histories(
        events.offsets,
        trees,
        history,
        particles,
        momenta,
        members,
        np.empty((2 * largest, 4)),
        owner,
    )
    jet_rows = np.flatnonzero(members)
    pt = np.hypot(momenta[jet_rows, 0], momenta[jet_rows, 1])
    jet_rows, pt = jet_rows[pt > pt_min], pt[pt > pt_min]
    starts = (
        events.offsets[:-1, np.newaxis] * trees + np.arange(trees) * events.counts[:, np.newaxis]
    )
    # An empty tree has the same start as the next one; the search finds the last, which has jets.
    tree = np.searchsorted(starts.ravel(), jet_rows, side="right") - 1
    order = np.lexsort((-pt, tree))
    jet_rows, tree = jet_rows[order], tree[order]
    if jets is not None:
        leading = np.arange(len(tree)) - np.searchsorted(tree, tree) < jets
        jet_rows, tree = jet_rows[leading], tree[leading]
    sizes = members[jet_rows]
    begins = np.full(rows, -1, np.int64)
    begins[jet_rows] = np.cumsum(sizes) - sizes
    constituents = np.empty(int(sizes.sum()), np.int64)
    constituents_of_histories(events.offsets, trees, history, begins, constituents, owner)
    return FlatJets(tree, momenta[jet_rows], sizes, constituents)


def jets_as_events(
    events: EventBatch,
    in_event: NDArray[np.int64],
    sizes: NDArray[np.int64],
    constituents: NDArray[np.int64],
) -> EventBatch:
    """The constituents of each jet as an event.

    Jets have the weights and the generated quarks of their events.

    Parameters
    ----------
    events
        Events of the jets.
    in_event
        Number of the event of each jet.
    sizes, constituents
        See :class:`FlatJets`.
    """
    rows = constituents + np.repeat(events.offsets[in_event], sizes)
    columns = {name: getattr(events, name)[rows] for name in ("pt", "rapidity", "phi", "mass")}
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    batch = EventBatch.from_arrays(
        **columns, offsets=offsets, weight=events.weight[in_event], source="jets"
    )
    quarks = None if events.quarks is None else events.quarks.select(in_event)
    return replace(batch, quarks=quarks)
