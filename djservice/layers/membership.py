"""Histories -> the leading jet of each particle."""

from __future__ import annotations

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from djservice.clustering.awkward_jets import jets_of_trees
from djservice.events.batch import EventBatch


def jet_of_particles(
    events: EventBatch, history: NDArray[np.int32], trees: int, jets: int
) -> list[NDArray[np.int32]]:
    """Place of the jet of each particle among the leading jets, -1 if it is in none of them.

    There is an array of shape (tree, particle) for each event.
    """
    records = ak.flatten(jets_of_trees(events, history, trees, 0.0, jets, per_tree=True), axis=1)
    in_tree, sizes = ak.num(records), ak.flatten(ak.num(records.constituents, axis=2))
    jet = ak.to_numpy(ak.flatten(ak.local_index(records, axis=1)))
    first = events.offsets[:-1, np.newaxis] * trees
    first = first + np.arange(trees) * events.counts[:, np.newaxis]
    of_tree = np.repeat(first.ravel(), ak.to_numpy(in_tree))
    members = np.full(len(history), -1, np.int32)
    row = np.repeat(of_tree, sizes) + ak.to_numpy(ak.flatten(records.constituents, axis=None))
    members[row] = np.repeat(jet, sizes)
    parts = np.split(members, events.offsets[1:-1] * trees) if len(events) else []
    return [part.reshape(trees, -1) for part in parts]
