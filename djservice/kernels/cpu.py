"""The CPU loop over (event, tree): prepares each event once, then grows its trees in the thread's own work space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from djservice.kernels.clustering import LIST_FULL, OK, Setting, Tree, cluster_tree, first_list
from djservice.kernels.jit import jit
from djservice.kernels.kinematics import momentum_scale
from djservice.kernels.objects import Floats, Ints, Objects, copy_objects
from djservice.kernels.options import Options, Scratch, copy_options

Work = tuple[Objects, Objects, Options, Options, Options, Options, Scratch]


@jit
def load_event(particles: Floats, start: int, n: int, radius: float, power: float, objects: Objects) -> None:
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
        objects.beam[j] = objects.d[j] * radius * radius
        objects.ident[j] = j


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
    radius: Floats,
    keys: NDArray[np.uint64],
    work: Work,
    jet_pt2: Floats,
    replay: Ints,
    jets: Floats,
    history: Ints,
    trace: Floats,
    numbers: Floats,
) -> tuple[int, int]:
    """Grow the trees of items ``first`` to ``last``, item = event * trees + tree; returns status and item reached.

    Parameters
    ----------
    particles
        Shape (particle, 7): pt, rapidity, phi, px, py, pz, E, in each event by falling d.
    jets, history, replay, trace, numbers
        Flat outputs and input: (item, jet, 4), (row, 2), (row, 2), (row, 6), (item, 4), where the rows of
        (event, tree) start at ``offsets[event] * trees + tree * n``. Length 0 if not wanted.
    """
    origin, objects, pairs0, pairs, beams0, beams, scratch = work
    loaded = -1
    n = n_pairs = n_beams = 0
    threshold = 0.0
    for item in range(first, last):
        event, index = item // trees, item % trees
        if event != loaded:
            n = offsets[event + 1] - offsets[event]
            load_event(particles, offsets[event], n, radius[event], setting.power, origin)
            n_pairs, n_beams, threshold = first_list(origin, n, setting, pairs0, beams0, scratch)
            if n_pairs < 0:
                return LIST_FULL, item
            loaded = event
        copy_objects(origin, objects, n)
        copy_options(pairs0, pairs, n_pairs, setting.asymmetry > 0.0)
        copy_options(beams0, beams, n_beams, False)
        row = offsets[event] * trees + index * n
        tree = Tree(
            jets[item],
            jet_pt2,
            history[row : row + n] if len(history) > 0 else history,
            trace[row : row + n] if len(trace) > 0 else trace,
            numbers[item],
        )
        status = cluster_tree(
            n,
            radius[event],
            setting,
            keys[event],
            iteration,
            first_tree + index,
            objects,
            pairs,
            n_pairs,
            beams,
            n_beams,
            threshold,
            scratch,
            replay[row : row + n] if len(replay) > 0 else replay,
            tree,
        )
        if status != OK:
            return status, item
    return OK, last
