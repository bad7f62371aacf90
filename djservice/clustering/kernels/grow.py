"""One event made ready, and one tree of it grown into its place among the results: what the loops of CPU and GPU share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.candidates import Work
from djservice.clustering.kernels.close_pairs import Stock, fill_stock
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import momentum_scale
from djservice.clustering.kernels.pseudojets import Floats, Ints, Objects, Reach, end_slots, radius2
from djservice.clustering.kernels.tree import Setting, Tree, cluster_tree


class Batch(NamedTuple):
    """The particles of some events and what is drawn.

    ``particles`` has shape (particle, 7): pt, rapidity, phi, px, py, pz, E, in each event by falling d; ``offsets`` (event + 1,);
    ``reaches`` (event, 3): rho, R_min and R_max; ``keys`` (event,) key the random numbers.
    """

    particles: Floats
    offsets: NDArray[np.int64]
    reaches: Floats
    keys: NDArray[np.uint64]


class Given(NamedTuple):
    """What trees are to follow, or length 0: histories (row, 2), and flips (item, 4)."""

    replay: Ints
    forced: Floats


class Results(NamedTuple):
    """Where the results of trees go, by item = event * trees + tree, or by row.

    The rows of (event, tree) start at ``offsets[event] * trees + tree * n``. What is not wanted has length 0.
    """

    jets: Floats  # (item, jet, 4)
    history: Ints  # (row, 2)
    trace: Floats  # (row, 6)
    scores: Floats  # (item, 1 or 5)
    numbers: Floats  # (item, 4)
    flips: Floats  # (item, 4)
    all_flips: Floats  # (row, 4)


@jit
def reach_of(batch: Batch, event: int) -> Reach:
    """R of an event."""
    return Reach(batch.reaches[event, 0], batch.reaches[event, 1], batch.reaches[event, 2])


@jit
def load_event(
    batch: Batch, event: int, power: float, objects: Objects, stock: Stock, row: Floats
) -> int:
    """Fill the objects of one event, ids by the order of its particles, and its stock; returns how many particles it has."""
    particles, start = batch.particles, batch.offsets[event]
    n = batch.offsets[event + 1] - start
    reach = reach_of(batch, event)
    for j in range(n):
        objects.pt2[j] = particles[start + j, 0] * particles[start + j, 0]
        objects.y[j] = particles[start + j, 1]
        objects.phi[j] = particles[start + j, 2]
        objects.px[j] = particles[start + j, 3]
        objects.py[j] = particles[start + j, 4]
        objects.pz[j] = particles[start + j, 5]
        objects.e[j] = particles[start + j, 6]
        objects.d[j] = momentum_scale(objects.pt2[j], power)
        objects.beam[j] = objects.d[j] * radius2(reach, objects.pt2[j])
        objects.ident[j] = j
    end_slots(objects, n)
    fill_stock(objects, n, stock, row)
    return int(n)


@jit
def grow_item(
    item: int,
    trees: int,
    first_tree: int,
    iteration: int,
    setting: Setting,
    batch: Batch,
    work: Work,
    given: Given,
    results: Results,
    first_state: int,
    state_jets: Floats,
    state_scores: Floats,
) -> int:
    """Grow the tree of an item, whose event is loaded; returns a status code.

    Parameters
    ----------
    first_state
        Where its states begin in ``state_jets`` and ``state_scores``, shapes (state, jet, 4) and (state, 1 or 5); length 0 if not
        wanted.
    """
    event, index = item // trees, item % trees
    n = batch.offsets[event + 1] - batch.offsets[event]
    row = batch.offsets[event] * trees + index * n
    history, trace, all_flips, replay = (
        results.history,
        results.trace,
        results.all_flips,
        given.replay,
    )
    nothing = results.numbers[item][:0]
    tree = Tree(
        results.jets[item],
        history[row : row + n] if len(history) > 0 else history,
        trace[row : row + n] if len(trace) > 0 else trace,
        results.scores[item],
        results.numbers[item],
        state_jets,
        state_scores,
        results.flips[item] if len(results.flips) > 0 else nothing,
        all_flips[row : row + n] if len(all_flips) > 0 else all_flips,
    )
    return cluster_tree(
        n,
        reach_of(batch, event),
        setting,
        batch.keys[event],
        iteration,
        first_tree + index,
        work,
        first_state,
        replay[row : row + n] if len(replay) > 0 else replay,
        given.forced[item] if len(given.forced) > 0 else nothing,
        tree,
    )
