"""Whether two batches hold the same events."""

from collections.abc import Collection

import numpy as np

import djservice as dj

FIELDS = (
    *("pt", "rapidity", "phi", "mass", "offsets", "key", "weight", "truth"),
    *("run", "luminosity_block", "event", "entry"),
)


def assert_same_events(one: dj.EventBatch, other: dj.EventBatch, but: Collection[str] = ()) -> None:
    """To the bit, and by their names, in every field but those that are left out."""
    for name in FIELDS:
        if name not in but:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.quarks is None) == (other.quarks is None)
    if one.quarks is not None and other.quarks is not None:
        for name, values in one.quarks.columns.items():
            np.testing.assert_array_equal(values, getattr(other.quarks, name), err_msg=name)
    assert one.dataset == other.dataset
    if "entry" not in but:
        names = ([batch.name(i) for i in range(len(batch))] for batch in (one, other))
        assert next(names) == next(names)
