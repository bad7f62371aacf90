"""Distinct keys for events that share an identity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from djservice.core.urls import basename
from djservice.errors import InputError
from djservice.events.batch import EventBatch
from djservice.events.keys import Keys, entry_keys


def repeated_keys(keys: Keys) -> Keys:
    """The keys that occur more than once, sorted."""
    unique, counts = np.unique(keys, return_counts=True)
    return unique[counts > 1]


def tell_apart(batch: EventBatch, repeated: Keys) -> EventBatch:
    """The batch, with events whose key is in ``repeated`` keyed by dataset, file name and entry.

    Raises
    ------
    InputError
        If two of these events have the same entry in files of the same name.
    """
    rows = np.flatnonzero(np.isin(batch.key, repeated))
    key = batch.key.copy()
    for file in np.unique(batch.file[rows]):
        of_file = rows[batch.file[rows] == file]
        key[of_file] = entry_keys(batch.dataset, basename(batch.files[file]), batch.entry[of_file])
    ambiguous = repeated_keys(key[rows])
    if len(ambiguous):
        first, second = rows[key[rows] == ambiguous[0]][:2]
        raise InputError(
            f"{batch.name(int(first))} and {batch.name(int(second))} have the same identity and "
            "the same file name and entry: they cannot be told apart. Rename one of the files, or "
            "read them as two datasets."
        )
    return replace(batch, key=key)
