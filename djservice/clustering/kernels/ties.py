"""The order of particles whose keys are equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import entry, jit
from djservice.core.typing import Floats


@entry
def order_ties(
    index: NDArray[np.int64], key: NDArray[np.int64], first: Floats, second: Floats, third: Floats,
    fourth: Floats,
) -> None:  # fmt: skip
    """Sort each run of equal keys by four columns, in place; what is equal in all stays in order.

    ``index`` has the particles by rising key. Runs are short, so each particle is inserted among
    those before it.
    """
    for i in range(1, len(index)):
        particle, k = index[i], i
        while (
            k > 0
            and key[index[k - 1]] == key[particle]
            and _is_before(particle, index[k - 1], first, second, third, fourth)
        ):
            index[k] = index[k - 1]
            k -= 1
        index[k] = particle


@jit
def _is_before(
    a: int, b: int, first: Floats, second: Floats, third: Floats, fourth: Floats
) -> bool:
    """Whether particle ``a`` comes before ``b`` by the columns, the first of which counts most."""
    if first[a] != first[b]:
        return bool(first[a] < first[b])
    if second[a] != second[b]:
        return bool(second[a] < second[b])
    if third[a] != third[b]:
        return bool(third[a] < third[b])
    return bool(fourth[a] < fourth[b])
