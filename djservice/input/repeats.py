"""Distinct keys for events that share an identity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from djservice.core.urls import last_parts
from djservice.events.batch import EventBatch
from djservice.events.keys import Keys, entry_keys

#: Most folders by which files of one name are told apart.
MOST_FOLDERS = 16


def repeated_keys(keys: Keys) -> Keys:
    """The keys that occur more than once, sorted."""
    unique, counts = np.unique(keys, return_counts=True)
    return unique[counts > 1]


def tell_apart(batch: EventBatch, repeated: Keys, folders: int = 0) -> EventBatch:
    """The batch, with events whose key is in ``repeated`` keyed by dataset, file and entry.

    A file is known by its name and the names of the last ``folders`` folders that hold it, so that
    keys do not change when all files move.
    """
    rows = np.flatnonzero(np.isin(batch.key, repeated))
    key = batch.key.copy()
    for file in np.unique(batch.file[rows]):
        of_file = rows[batch.file[rows] == file]
        name = last_parts(batch.files[file], folders + 1)
        key[of_file] = entry_keys(batch.dataset, name, batch.entry[of_file])
    return replace(batch, key=key)
