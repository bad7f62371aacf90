"""How arrays lie in a GPU's memory."""

from __future__ import annotations

import numpy as np
import pytest

from djservice.clustering.kernels.pseudojets import BEAM, FIELDS, IDENT, LOWER, Pseudojets, Y
from djservice.clustering.kernels.workspace import Room, bounds_of, tree_arrays


@pytest.mark.parametrize(
    "room", [Room(1, 1, 1), Room(70, 1400, 2), Room(600, 9000, 4, slopes=True)]
)
def test_the_fields_of_an_object_are_as_far_from_each_other(room: Room) -> None:
    """Threads of a GPU find them so."""
    kinds, lengths = zip(*tree_arrays(room)[: len(FIELDS)], strict=True)
    assert set(kinds) == {np.float64} and len(set(lengths)) == 1
    starts, ends = (np.array(bounds_of(room).tree[k : 2 * len(FIELDS) : 2]) for k in (0, 1))
    assert (
        (ends - starts == lengths[0]).all() and (starts[1:] == ends[:-1]).all() and starts[0] == 0
    )


def test_the_fields_are_those_of_objects() -> None:
    tiles = set(Pseudojets._fields) - set(FIELDS)
    assert all(name.startswith("tile_") for name in tiles) and len(tiles) == 3
    assert [FIELDS[k] for k in (Y, BEAM, LOWER, IDENT)] == ["y", "beam", "lower", "ident"]
