"""Loading an event and growing one of its trees: the part that the loops of CPU and GPU share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.kernels.candidates import Workspace
from djservice.clustering.kernels.close_pairs import ClosePairs, fill_close_pairs
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.kinematics import momentum_scale
from djservice.clustering.kernels.lanes import natural
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import (
    LARGE,
    EffectiveRadius,
    Floats,
    Ids,
    Ints,
    Pseudojets,
    end_slots,
    radius2,
)
from djservice.clustering.kernels.records import Tree
from djservice.clustering.kernels.steps import OK
from djservice.clustering.kernels.sweep import Cotangents, add_tree
from djservice.clustering.kernels.tiles import bound_tiles, open_tiles
from djservice.clustering.kernels.tree import Setting, cluster_tree


class EventArrays(NamedTuple):
    """The particles of a batch of events, their radii, and the keys of their random numbers.

    ``particles`` has shape (particle, 7): pt, rapidity, phi, px, py, pz, E, in each event by
    falling d. ``offsets`` has shape (event + 1,), ``radius_bounds`` (event, 3): rho, R_min and
    R_max, and ``keys`` (event,). ``slots`` has shape (particle,): where a particle is put among
    those of its event, see :func:`djservice.clustering.particle_order.slots_of`.
    """

    particles: Floats
    offsets: NDArray[np.int64]
    radius_bounds: Floats
    keys: NDArray[np.uint64]
    slots: Ids


class Imposed(NamedTuple):
    """Imposed choices: histories to replay, shape (row, 2), and flips to take, shape (item, 4).

    An array has length 0 if nothing is imposed.
    """

    replay: Ints
    forced: Floats


class Results(NamedTuple):
    """The output arrays of trees, by item = event * trees + tree, or by row.

    The rows of (event, tree) start at ``offsets[event] * trees + tree * n``. Arrays that are not
    wanted have length 0.
    """

    jets: Floats  # (item, jet, 4)
    history: Ints  # (row, 2)
    trace: Floats  # (row, 6)
    scores: Floats  # (item, 1 or 5)
    numbers: Floats  # (item, 4)
    flips: Floats  # (item, 4)
    all_flips: Floats  # (row, 4)


@jit
def effective_radius(batch: EventArrays, event: int) -> EffectiveRadius:
    """R of an event."""
    return EffectiveRadius(
        batch.radius_bounds[event, 0], batch.radius_bounds[event, 1], batch.radius_bounds[event, 2]
    )


@jit
def load_event(
    batch: EventArrays,
    event: int,
    power: float,
    pseudojets: Pseudojets,
    close_pairs: ClosePairs,
    row: Floats,
) -> int:
    """Fill the pseudojets and close pairs of an event; returns its number of particles.

    Ids follow the order of the particles.
    """
    particles, start = batch.particles, batch.offsets[event]
    n = batch.offsets[event + 1] - start
    radius = effective_radius(batch, event)
    slots = batch.slots[start : start + n]
    for j in range(n):
        slot = natural(int(slots[j]))
        pseudojets.pt2[slot] = particles[start + j, 0] * particles[start + j, 0]
        pseudojets.y[slot] = particles[start + j, 1]
        pseudojets.phi[slot] = particles[start + j, 2]
        pseudojets.px[slot] = particles[start + j, 3]
        pseudojets.py[slot] = particles[start + j, 4]
        pseudojets.pz[slot] = particles[start + j, 5]
        pseudojets.e[slot] = particles[start + j, 6]
        pseudojets.d[slot] = momentum_scale(pseudojets.pt2[slot], power)
        pseudojets.beam[slot] = pseudojets.d[slot] * radius2(radius, pseudojets.pt2[slot])
        pseudojets.ident[slot] = j
    end_slots(pseudojets, n)
    if n >= LARGE:
        bound_tiles(pseudojets, n)
    else:
        open_tiles(pseudojets)
    fill_close_pairs(pseudojets, n, slots, close_pairs, row)
    return int(n)


@jit
def grow_item(
    item: int,
    trees: int,
    first_tree: int,
    iteration: int,
    setting: Setting,
    batch: EventArrays,
    workspace: Workspace,
    slopes: ObjectSlopes | None,
    imposed: Imposed,
    results: Results,
    first_state: int,
    state_jets: Floats,
    state_scores: Floats,
    cotangents: Cotangents | None,
) -> int:
    """Grow the tree of an item, whose event is loaded; returns a status code.

    Parameters
    ----------
    slopes, cotangents
        The slopes of the score in the particles, and the sums over trees to which this one is
        added; None if they are not wanted.
    first_state
        The row of ``state_jets`` and ``state_scores`` where the states of this tree begin. These
        have shapes (state, jet, 4) and (state, 1 or 5), or length 0 if states are not wanted.
    """
    event, index = item // trees, item % trees
    n = batch.offsets[event + 1] - batch.offsets[event]
    row = batch.offsets[event] * trees + index * n
    history, trace, all_flips, replay = (
        results.history,
        results.trace,
        results.all_flips,
        imposed.replay,
    )
    empty = results.numbers[item][:0]
    tree = Tree(
        results.jets[item],
        history[row : row + n] if len(history) > 0 else history,
        trace[row : row + n] if len(trace) > 0 else trace,
        results.scores[item],
        results.numbers[item],
        state_jets,
        state_scores,
        results.flips[item] if len(results.flips) > 0 else empty,
        all_flips[row : row + n] if len(all_flips) > 0 else all_flips,
    )
    status = cluster_tree(
        n,
        effective_radius(batch, event),
        setting,
        batch.keys[event],
        iteration,
        first_tree + index,
        workspace,
        slopes,
        first_state,
        replay[row : row + n] if len(replay) > 0 else replay,
        imposed.forced[item] if len(imposed.forced) > 0 else empty,
        tree,
    )
    if slopes is not None and cotangents is not None and status == OK:
        ids = n + int(tree.numbers[2])
        add_tree(n, ids, setting.power, slopes, batch.offsets[event], item, cotangents)
    return status
