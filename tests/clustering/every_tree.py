"""Every merge sequence of a tiny event, with its probability and its scores: what samples are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from brute_force import BEAM, Floats, Objects, Setting, options
from numpy.typing import ArrayLike

History = list[tuple[int, int]]


def enumerate_trees(event: ArrayLike) -> Iterator[History]:
    """Every merge sequence of a tiny event: 180 for four particles, 2700 for five."""
    n = len(np.asarray(event).reshape(-1, 4))

    def grow(active: tuple[int, ...], history: History) -> Iterator[History]:
        if not active:
            yield history
            return
        new = n + len(history)
        for a in active:
            yield from grow(tuple(k for k in active if k != a), [*history, (a, BEAM)])
        for i, a in enumerate(active):
            for b in active[i + 1 :]:
                yield from grow((*(k for k in active if k not in (a, b)), new), [*history, (a, b)])

    yield from grow(tuple(range(n)), [])


@dataclass(frozen=True)
class Exact:
    """Every merge sequence of one tiny event at one setting, in the order of :func:`enumerate_trees`."""

    probability: Floats
    score_radius: Floats
    score_rigidity: Floats
    score_power: Floats


def exact(event: ArrayLike, setting: Setting) -> Exact:
    """Probabilities and scores of all merge sequences.

    Options depend on which particles are in which object and not on the order in which they came together, so each
    such state is computed once. Here, and only here, a sum is called n + (set of its particles as bits).
    """
    n = len(np.asarray(event).reshape(-1, 4))
    objects = Objects(event, slots=n + 2**n)

    def joined(a: int, b: int) -> int:
        return n + sum(k - n if k >= n else 1 << k for k in (a, b))

    @cache
    def table(active: frozenset[int]) -> dict[tuple[int, int], Floats]:
        step = options(objects, sorted(active), setting)
        rows = np.stack(
            [np.log(step.probability), step.score_radius, step.score_rigidity, step.score_power],
            axis=1,
        )
        found = {}
        for a, b, row in zip(step.first.tolist(), step.second.tolist(), rows, strict=True):
            found[a, b] = found[b, a] = row
            if b != BEAM:
                objects.merge(a, b, joined(a, b))
        return found

    leaves: list[Floats] = []

    def grow(active: tuple[int, ...], total: Floats) -> None:  # in the order of enumerate_trees
        if not active:
            leaves.append(total)
            return
        step = table(frozenset(active))
        for a in active:
            grow(tuple(k for k in active if k != a), total + step[a, BEAM])
        for i, a in enumerate(active):
            for b in active[i + 1 :]:
                rest = tuple(k for k in active if k not in (a, b))
                grow((*rest, joined(a, b)), total + step[a, b])

    with np.errstate(divide="ignore"):  # log of the probability of options that are dropped
        grow(tuple(range(n)), np.zeros(4))
    log_prob, *scores = np.array(leaves).T
    return Exact(np.exp(log_prob), *scores)
