"""The CPU loop over (event, tree): prepares each event once, then grows its trees in the thread's own work space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.kernels.clustering import OK, Setting, Tree, cluster_tree
from djservice.kernels.jit import jit
from djservice.kernels.kinematics import momentum_scale
from djservice.kernels.objects import Floats, Ints, Objects, Reach, end_slots, radius2
from djservice.kernels.options import Work
from djservice.kernels.stock import fill_stock


@jit
def load_event(particles: Floats, start: int, n: int, power: float, objects: Objects) -> None:
    """Fill the objects of one event; ids follow the order of ``particles``, the smallest d last."""
    for j in range(n):
        objects.pt2[j] = particles[start + j, 0] * particles[start + j, 0]
        objects.y[j] = particles[start + j, 1]
        objects.phi[j] = particles[start + j, 2]
        objects.px[j] = particles[start + j, 3]
        objects.py[j] = particles[start + j, 4]
        objects.pz[j] = particles[start + j, 5]
        objects.e[j] = particles[start + j, 6]
        objects.d[j] = momentum_scale(objects.pt2[j], power)
        objects.ident[j] = j
    end_slots(objects, n)


@jit
def cluster_items(
    first: int,
    last: int,
    trees: int,
    first_tree: int,
    iteration: int,
    setting: Setting,
    particles: Floats,
    offsets: NDArray[np.int64],
    reaches: Floats,
    keys: NDArray[np.uint64],
    work: Work,
    replay: Ints,
    forced: Floats,
    jets: Floats,
    history: Ints,
    trace: Floats,
    scores: Floats,
    numbers: Floats,
    state_jets: Floats,
    state_scores: Floats,
    flips: Floats,
    all_flips: Floats,
) -> tuple[int, int, int]:
    """Grow the trees of items ``first`` to ``last``, item = event * trees + tree; returns status, item reached, states.

    Parameters
    ----------
    particles
        Shape (particle, 7): pt, rapidity, phi, px, py, pz, E, in each event by falling d.
    reaches
        Shape (event, 3): rho, R_min and R_max.
    jets, scores, numbers
        Per item: shapes (item, jet, 4), (item, 1 or 5), (item, 4).
    history, replay, trace
        Shapes (row, 2), (row, 2), (row, 6), where the rows of (event, tree) start at ``offsets[event] * trees + tree * n``.
        Length 0 if not wanted.
    state_jets, state_scores
        Shapes (row, jet, 4), (row, 1 or 5), filled from the first row on. Length 0 if not wanted.
    flips, forced
        Shape (item, 4): the alternative paths found, or to be taken. Length 0 if not wanted.
    all_flips
        Shape (row, 4): the alternative paths of all steps, as the history. Length 0 if not wanted.
    """
    loaded, n, states = -1, 0, 0
    for item in range(first, last):
        event, index = item // trees, item % trees
        reach = Reach(reaches[event, 0], reaches[event, 1], reaches[event, 2])
        if event != loaded:
            n = offsets[event + 1] - offsets[event]
            load_event(particles, offsets[event], n, setting.power, work.origin)
            for j in range(n):
                work.origin.beam[j] = work.origin.d[j] * radius2(reach, work.origin.pt2[j])
            fill_stock(work.origin, n, work.stock, work.scratch.row, work.scratch.row_bits)
            loaded = event
        row = offsets[event] * trees + index * n
        tree = Tree(
            jets[item],
            history[row : row + n] if len(history) > 0 else history,
            trace[row : row + n] if len(trace) > 0 else trace,
            scores[item],
            numbers[item],
            state_jets,
            state_scores,
            flips[item] if len(flips) > 0 else numbers[item][:0],
            all_flips[row : row + n] if len(all_flips) > 0 else all_flips,
        )
        status = cluster_tree(
            n,
            reach,
            setting,
            keys[event],
            iteration,
            first_tree + index,
            work,
            states,
            replay[row : row + n] if len(replay) > 0 else replay,
            forced[item] if len(forced) > 0 else numbers[item][:0],
            tree,
        )
        if status != OK:
            return status, item, states
        states += int(numbers[item, 3])
    return OK, last, states
