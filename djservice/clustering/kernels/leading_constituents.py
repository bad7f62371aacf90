"""From histories to the particles of the leading jets of each tree, with one source for all devices.

A history is followed to its end to find the leading jets as the tree found them, and then back to
mark their particles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.jit import entry, jit
from djservice.clustering.kernels.pseudojets import Floats, Ints


class Histories(NamedTuple):
    """Trees of events, with item = event * trees + tree, and the particles that they name.

    ``offsets`` has shape (event + 1,). ``history`` has shape (row, 2), with the rows of a tree as in
    :class:`djservice.clustering.kernels.grow.Results`, of which the first ``steps``, shape (item,),
    are filled. ``particles`` has shape (particle, 7): pt, rapidity, phi, px, py, pz, E, by the
    numbers that the histories use. ``scan`` has shape (particle, 2): for the particles of each event
    in falling pT, these numbers and the places in the batch.
    """

    offsets: NDArray[np.int64]
    history: Ints
    steps: NDArray[np.int64]
    particles: Floats
    scan: Ints


class Work(NamedTuple):
    """Scratch of one thread for the objects of a tree, at least 2 n of them.

    ``place`` has shape (2 n,), ``numbers`` (3, 2 n), ``roots`` (jet,).
    """

    place: Ints
    numbers: Floats
    roots: Ints


class Summary(NamedTuple):
    """What tells the leading jets apart: output of :func:`summarise_jets`.

    ``counts`` has shape (item, jet): the number of constituents, 0 where there is no jet. ``momenta``
    has shape (item, jet, 4): the sum of the constituents in falling pT, which does not depend on
    the merges. ``codes`` has shape (item, jet, 2): hashes of the set.
    """

    counts: Ints
    momenta: Floats
    codes: NDArray[np.uint64]


@jit
def find_roots(n: int, row: int, first: int, steps: int, trees: Histories, work: Work) -> None:
    """Find the objects that are the leading jets, in falling pT; -1 where a tree has fewer."""
    history, particles, roots = trees.history, trees.particles, work.roots
    px, py, pt2 = work.numbers[0], work.numbers[1], work.numbers[2]
    jets = len(roots)
    for j in range(jets):
        roots[j] = -1
    for i in range(n):
        px[i], py[i] = particles[first + i, 3], particles[first + i, 4]
        pt2[i] = particles[first + i, 0] * particles[first + i, 0]
    for t in range(steps):
        a, b = history[row + t, 0], history[row + t, 1]
        if b >= 0:
            px[n + t] = px[a] + px[b]
            py[n + t] = py[a] + py[b]
            pt2[n + t] = px[n + t] * px[n + t] + py[n + t] * py[n + t]
        else:
            place = jets
            while place > 0 and (roots[place - 1] < 0 or pt2[a] > pt2[roots[place - 1]]):
                place -= 1
            for j in range(jets - 1, place, -1):
                roots[j] = roots[j - 1]
            if place < jets:
                roots[place] = a


@jit
def mark_jets(item: int, trees_each: int, trees: Histories, work: Work) -> None:
    """Mark every object of a tree with the place of its jet among the leading jets, or -1."""
    event, place = item // trees_each, work.place
    first, steps = trees.offsets[event], trees.steps[item]
    n = trees.offsets[event + 1] - first
    row = first * trees_each + (item % trees_each) * n
    find_roots(n, row, first, steps, trees, work)
    for k in range(n + steps):
        place[k] = -1
    for j in range(len(work.roots)):
        if work.roots[j] >= 0:
            place[work.roots[j]] = j
    for back in range(steps):
        t = steps - 1 - back
        a, b = trees.history[row + t, 0], trees.history[row + t, 1]
        if b >= 0:
            place[a] = place[n + t]
            place[b] = place[n + t]


@entry
def summarise_jets(
    begin: int, stride: int, trees_each: int, trees: Histories, work: Work,
    codes: NDArray[np.uint64], summary: Summary,
) -> None:  # fmt: skip
    """Fill the summaries of items ``begin``, ``begin + stride`` ...

    ``codes`` has shape (particle of an event, 2): random bits, which make the hash of a set.
    """
    counts, momenta, sets = summary.counts, summary.momenta, summary.codes
    for item in range(begin, len(trees.steps), stride):
        mark_jets(item, trees_each, trees, work)
        for j in range(len(work.roots)):
            counts[item, j] = 0
            sets[item, j, 0] = 0
            sets[item, j, 1] = 0
            for c in range(4):
                momenta[item, j, c] = 0.0
        event = item // trees_each
        first = trees.offsets[event]
        for k in range(first, trees.offsets[event + 1]):
            i, name = trees.scan[k, 0], trees.scan[k, 1]
            j = work.place[i]
            if j >= 0:
                counts[item, j] += 1
                sets[item, j, 0] ^= codes[name, 0]
                sets[item, j, 1] ^= codes[name, 1]
                for c in range(4):
                    momenta[item, j, c] += trees.particles[first + i, 3 + c]


@entry
def list_constituents(
    begin: int, stride: int, trees_each: int, trees: Histories, work: Work,
    chosen: NDArray[np.int64], index: Ints,
) -> None:  # fmt: skip
    """List the constituents of chosen jets ``begin``, ``begin + stride`` ... in falling pT.

    Parameters
    ----------
    chosen
        Shape (row,): item * jets + jet.
    index
        Output, shape (row, constituent): places in the event, -1 where a jet has fewer. Constituents
        without room are left out.
    """
    jets, length = len(work.roots), index.shape[1]
    for row in range(begin, len(chosen), stride):
        item, jet = chosen[row] // jets, chosen[row] % jets
        mark_jets(item, trees_each, trees, work)
        event, filled = item // trees_each, 0
        for k in range(trees.offsets[event], trees.offsets[event + 1]):
            if filled < length and work.place[trees.scan[k, 0]] == jet:
                index[row, filled] = trees.scan[k, 1]
                filled += 1
        for k in range(filled, length):
            index[row, k] = -1


@entry
def list_members(
    begin: int, stride: int, trees_each: int, trees: Histories, work: Work, member: Ints
) -> None:
    """Mark each particle with the place of its jet among the leading jets, or -1.

    ``member`` is the output, shape (row,): the particles of each tree in the order of the batch.
    """
    for item in range(begin, len(trees.steps), stride):
        mark_jets(item, trees_each, trees, work)
        event = item // trees_each
        first = trees.offsets[event]
        n = trees.offsets[event + 1] - first
        row = first * trees_each + (item % trees_each) * n
        for k in range(first, first + n):
            member[row + trees.scan[k, 1]] = work.place[trees.scan[k, 0]]
