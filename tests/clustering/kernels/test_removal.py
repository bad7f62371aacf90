"""The order of the options on a list: the dead are replaced by the last, from the highest on."""

from __future__ import annotations

import numpy as np
import pytest

from djservice.clustering.kernels.jit import entry
from djservice.clustering.kernels.removal import remove_pairs
from djservice.clustering.kernels.workspace import allocate


@entry
def remove(pairs, count, a, b, minimum, safe, dead):
    return remove_pairs(pairs, count, a, b, minimum, safe, dead, None, 0.0)


def removed(pairs, count, a, b):
    """What is left, one dead option after the other."""
    left = [(pairs.q[k], pairs.owner[k], pairs.other[k]) for k in range(count)]
    for k in reversed(range(count)):
        if {int(left[k][1]), int(left[k][2])} & {a, b}:
            last = left.pop()
            if k < len(left):
                left[k] = last
    return left


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("count", [0, 1, 5, 31, 32, 33, 64, 97, 200])
def test_the_dead_are_replaced_by_the_last(count: int, share: float) -> None:
    random = np.random.default_rng(count)
    for safe in (False, True):
        pairs, dead_places = (work := allocate(300, 300, 1)).pairs, work.scratch.dead
        pairs.q[:count] = random.random(count)
        pairs.w[:count], pairs.s[:count] = 2.0 * pairs.q[:count], 3.0 * pairs.q[:count]
        pairs.owner[:count], pairs.other[:count] = random.integers(10, 300, (2, count))
        dead = random.random(count) < share
        pairs.owner[:count] = np.where(dead & (random.random(count) < 0.5), 7, pairs.owner[:count])
        pairs.other[:count] = np.where(dead & (pairs.owner[:count] != 7), 8, pairs.other[:count])
        minimum = pairs.q[:count].min(initial=np.inf)
        expected, lost = (
            removed(pairs, count, 7, 8),
            bool(count) and bool(dead[np.argmin(pairs.q[:count])]),
        )
        left, minimum_went = remove(pairs, count, 7, 8, minimum, safe, dead_places)
        assert left == len(expected) == count - dead.sum() and minimum_went == lost
        assert [
            *zip(pairs.q[:left], pairs.owner[:left], pairs.other[:left], strict=True)
        ] == expected
        np.testing.assert_array_equal(pairs.w[:left], 2.0 * pairs.q[:left])
        if safe:
            np.testing.assert_array_equal(pairs.s[:left], 3.0 * pairs.q[:left])
