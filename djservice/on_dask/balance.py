"""Balance: groups of bundles for each thread of a cluster, so that all threads end together.

Only the speed depends on the groups. Every bundle has its own sums, and they are added in the order
of the bundles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from djservice.core.formatting import counted
from djservice.evaluation.allocation import tree_costs


def cost(counts: NDArray[np.int64]) -> float:
    """Relative cost of a bundle in arbitrary units, from the number of particles of its events."""
    return float(tree_costs(counts).sum())


def with_trees(costs: Sequence[float], trees: Sequence[NDArray[np.int64]]) -> list[float]:
    """Costs of bundles whose events have ``trees`` trees, shape (event,) of each bundle."""
    return [
        cost * float(of_bundle.sum()) / max(len(of_bundle), 1)
        for cost, of_bundle in zip(costs, trees, strict=True)
    ]


def groups(
    costs: Sequence[float], holders: Sequence[Sequence[str]], threads: Mapping[str, int]
) -> dict[str, list[list[int]]]:
    """Bundles shared among the threads of a cluster.

    The most expensive bundles are placed first. Each goes to a thread of a worker that holds it,
    unless another thread has so much less to do that moving the bundle saves time.

    Parameters
    ----------
    costs
        Relative cost of each bundle.
    holders
        Workers that hold each bundle in memory.
    threads
        Number of threads of each worker.

    Returns
    -------
    dict of str to list of list of int
        For each worker that has bundles, and for each of its threads that has some, their numbers
        in rising order.
    """
    slots = [(worker, i) for worker, number in sorted(threads.items()) for i in range(number)]
    load = dict.fromkeys(slots, 0.0)
    shares: dict[tuple[str, int], list[int]] = {slot: [] for slot in slots}
    for bundle in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(slots, key=lambda slot: load[slot])
        near = [slot for slot in slots if slot[0] in holders[bundle]]
        chosen = min(near, key=lambda slot: load[slot], default=least)
        if load[chosen] > load[least] + 0.5 * costs[bundle]:
            chosen = least
        load[chosen] += costs[bundle]
        shares[chosen].append(bundle)
    by_worker: dict[str, list[list[int]]] = {}
    for (worker, _), numbers in shares.items():
        if numbers:
            by_worker.setdefault(worker, []).append(sorted(numbers))
    return by_worker


def idle_text(name: str, bundles: int, slots: int, entries: int) -> str:
    """That an input has fewer bundles than there are threads or GPUs, and what to set.

    Parameters
    ----------
    name
        Name of the input's section.
    bundles, slots, entries
        Numbers of bundles, of threads or GPUs, and of entries that were read.

    Returns
    -------
    str
        The text; empty if all have work, or no smaller bundles can be made.
    """
    if not bundles < min(slots, entries):
        return ""
    return (
        f"{slots - bundles} of {slots} threads or GPUs have no work, as {name} has "
        f"{counted(bundles, 'bundle')}. For one each, set {name}.bundle_events to "
        f"{max(1, entries // slots)} or less."
    )
