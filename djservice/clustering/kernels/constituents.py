"""From histories to jets: the particles of each jet, and the sum of their momenta."""

from __future__ import annotations

from typing import Any

from djservice.clustering.kernels.jit import entry


@entry
def jets_of_histories(
    offsets: Any,
    trees: int,
    history: Any,
    particles: Any,
    momenta: Any,
    members: Any,
    objects: Any,
    owner: Any,
) -> None:
    """Replay the merges of all trees to find the momenta and sizes of their jets.

    Step t of a tree that ends a jet gives row t the jet's momentum and number of particles.

    Parameters
    ----------
    offsets
        Shape (event + 1,), of the particles.
    trees
        Trees per event.
    history
        Shape (row, 2): (a, b) became object n + t, or (a, -1) object a became a jet. Each tree has
        n rows; trees are ordered by event and tree.
    particles
        Shape (particle, 4): px, py, pz, E.
    momenta, members
        Output, shapes (row, 4) and (row,): the jet that a step ends, 0 where the step merges.
    objects, owner
        Scratch, shapes (2 n, 4) and (2 n,) with the largest n.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        n = offsets[event + 1] - first
        for tree in range(trees):
            row = first * trees + tree * n
            for i in range(n):
                for k in range(4):
                    objects[i, k] = particles[first + i, k]
                owner[i] = 1  # the number of particles of an object, in this function
            for t in range(n):
                a, b = history[row + t, 0], history[row + t, 1]
                if b < 0:
                    members[row + t] = owner[a]
                    for k in range(4):
                        momenta[row + t, k] = objects[a, k]
                else:
                    members[row + t] = 0
                    owner[n + t] = owner[a] + owner[b]
                    for k in range(4):
                        momenta[row + t, k] = 0.0
                        objects[n + t, k] = objects[a, k] + objects[b, k]


@entry
def constituents_of_histories(
    offsets: Any, trees: int, history: Any, place: Any, constituents: Any, owner: Any
) -> None:
    """List the particles of every jet, in rising order.

    Parameters
    ----------
    offsets, trees, history
        Events, trees and merges, see :func:`jets_of_histories`.
    place
        Shape (row,): the index at which the list of the jet that a step ends begins. It is -1 for a
        merge, or for a jet without a list. Overwritten.
    constituents
        Output: indices of particles in their event.
    owner
        Scratch, shape (2 n,) with the largest n.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        n = offsets[event + 1] - first
        for tree in range(trees):
            row = first * trees + tree * n
            for offset in range(n):
                t = n - 1 - offset  # from the jets to the particles
                a, b = history[row + t, 0], history[row + t, 1]
                if b < 0:
                    owner[a] = t
                else:
                    owner[a] = owner[n + t]
                    owner[b] = owner[n + t]
            for i in range(n):
                index = place[row + owner[i]]
                if index >= 0:
                    constituents[index] = i
                    place[row + owner[i]] = index + 1
