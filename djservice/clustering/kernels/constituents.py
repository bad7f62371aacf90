"""From histories to jets: which particles each one is made of, and the sum of their momenta."""

from __future__ import annotations

from typing import Any

from djservice.clustering.kernels.jit import jit


@jit
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
    """Replay the merges of all trees: step t of a tree that ends a jet gives row t its momentum and number of particles.

    Parameters
    ----------
    offsets
        Shape (event + 1,), of the particles.
    trees
        Per event.
    history
        Shape (row, 2): (a, b) became object n + t, or (a, -1) object a a jet; n rows per tree, by event and tree.
    particles
        Shape (particle, 4): px, py, pz, E.
    momenta, members
        Shapes (row, 4) and (row,), written: of the jet that a step ends, 0 where it merges.
    objects, owner
        Scratch, shapes (2 n, 4) and (2 n,) with the largest n. ``owner`` is not kept.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        n = offsets[event + 1] - first
        for tree in range(trees):
            row = first * trees + tree * n
            for i in range(n):
                for k in range(4):
                    objects[i, k] = particles[first + i, k]
                owner[i] = 1  # at first: how many particles an object has
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


@jit
def constituents_of_histories(
    offsets: Any, trees: int, history: Any, place: Any, constituents: Any, owner: Any
) -> None:
    """List the particles of every jet, rising, from the place where its list begins.

    Parameters
    ----------
    offsets, trees, history
        As of :func:`jets_of_histories`.
    place
        Shape (row,): where the list of the jet that a step ends begins, -1 for a step or jet without one. Overwritten.
    constituents
        Written: particles by their number in the event.
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
