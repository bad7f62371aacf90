"""Balance: which bundles are evaluated together in one task, so that there are few tasks and all end at the same time.

Only speed depends on it: every bundle has its own sums, and they are added in the order of the bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def cost(counts: NDArray[np.int64]) -> float:
    """Relative cost of a bundle, in arbitrary units: the time of a tree grows like n^1.5 (docs/performance.md)."""
    return float((counts.astype(np.float64) ** 1.5 + 1.0).sum())


def groups(
    costs: Sequence[float], holders: Sequence[Sequence[str]], threads: Mapping[str, int]
) -> list[list[int]]:
    """Bundles shared among the threads of a cluster.

    The dearest first, each goes to a thread of a worker that holds it, unless another thread has so much less to do that moving
    the bundle pays at once.

    Parameters
    ----------
    costs
        Of each bundle.
    holders
        Workers that have each bundle in memory.
    threads
        Threads of each worker.

    Returns
    -------
    For each thread with something to do the numbers of its bundles, rising.
    """
    places = [(worker, i) for worker, number in sorted(threads.items()) for i in range(number)]
    load = dict.fromkeys(places, 0.0)
    found: dict[tuple[str, int], list[int]] = {place: [] for place in places}
    for bundle in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(places, key=lambda place: load[place])
        near = [place for place in places if place[0] in holders[bundle]]
        chosen = min(near, key=lambda place: load[place], default=least)
        if load[chosen] > load[least] + 0.5 * costs[bundle]:
            chosen = least
        load[chosen] += costs[bundle]
        found[chosen].append(bundle)
    return [sorted(numbers) for numbers in found.values() if numbers]
