"""The trees of a job on a GPU: events in portions that its memory holds, and the trees that lacked room once more.

What goes on between the kernels is done there too; from there comes what a loop has to know.

Imports numba.cuda, so it is imported where a GPU is to grow trees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.device import Gpu
from djservice.clustering.kernels.cuda import (
    Memory,
    Turn,
    features_of,
    grow_trees_kernel,
    prepare_events_kernel,
)
from djservice.clustering.kernels.grow import Batch, Given, Results
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.steps import LIST_FULL, OK, STATES_FULL
from djservice.clustering.kernels.workspace import (
    Line,
    Room,
    blocks_of,
    bounds_of,
    bytes_of,
    event_arrays,
    pairs_at_first,
    tree_arrays,
)
from djservice.clustering.tree_job import Job, NoRoomError, TreeFailure
from djservice.core.array_module import array_module, to_host
from djservice.core.typing import Floats

#: States that there is room for per tree, at first.
STATES = 16
#: What is taken of the free memory.
_SHARE = 0.8


def grow_on_gpu(job: Job, gpu: Gpu) -> list[tuple[NDArray[np.int64], Floats, Floats]]:
    """Fill the results, on the host or the GPU; returns there the items, jets and scores of the states, in parts, by item.

    Raises
    ------
    TreeFailure
        Of a tree that cannot be grown.
    NoRoomError
        If the trees of one event do not fit into the memory.
    """
    counts, first = job.counts, 0
    states: list[tuple[NDArray[np.int64], Floats, Floats]] = []
    while first < len(counts):
        last = _portion(job, counts, first, int(_SHARE * gpu.free()))
        try:
            items, jets, scores = _Portion(_events_of(job, first, last), gpu).grow()
        except TreeFailure as failure:
            raise TreeFailure(failure.status, failure.item + first * job.trees) from None
        except NoRoomError as lack:
            raise NoRoomError(lack.event + first, lack.needed, lack.free) from None
        states.append((items + first * job.trees, jets, scores))
        first = last
    return states or [_by_item([], job)]


def _portion(job: Job, counts: NDArray[np.int64], first: int, memory: int) -> int:
    """Where a portion that begins with event ``first`` ends: its events and results take half of the memory at most."""
    largest = np.maximum.accumulate(counts[first:])
    each = np.array([_event_bytes(int(n), job.results.jets.shape[1]) for n in np.unique(largest)])
    events = each[np.searchsorted(np.unique(largest), largest)] * np.arange(1, len(largest) + 1)
    results = np.cumsum(_row_bytes(job) * counts[first:] + job.trees * _item_bytes(job))
    last = first + int(np.searchsorted(events + results, memory // 2, side="right"))
    if last == first:
        raise NoRoomError(first, 2 * int(events[0] + results[0]), memory)
    return last


def _event_bytes(particles: int, jets: int) -> int:
    return bytes_of(event_arrays(Room(particles, 0, jets)))


def _row_bytes(job: Job) -> int:
    """Of a particle: its own numbers, and the rows of its trees."""
    given, results = job.given, job.results
    rows: tuple[NDArray[Any], ...] = (
        results.history,
        results.trace,
        results.all_flips,
        given.replay,
    )
    return 56 + job.trees * sum(array[:1].nbytes for array in rows)


def _item_bytes(job: Job) -> int:
    """Of a tree."""
    results, given = job.results, job.given
    state = results.jets[:1].nbytes + results.scores[:1].nbytes
    rest: tuple[NDArray[Any], ...] = (results.numbers, results.flips, given.forced)
    return (
        state * (1 + STATES * job.states) + sum(array[:1].nbytes for array in rest) + 12
    )  # its item and status


def _events_of(job: Job, first: int, last: int) -> Job:
    """The job of some of the events; its results are views."""
    offsets, trees = job.batch.offsets[first : last + 1], job.trees
    particles = slice(int(offsets[0]), int(offsets[-1]))
    items, rows = (
        slice(first * trees, last * trees),
        slice(int(offsets[0]) * trees, int(offsets[-1]) * trees),
    )
    batch, given, results = job.batch, job.given, job.results
    return replace(
        job,
        batch=Batch(
            batch.particles[particles],
            offsets - offsets[0],
            batch.reaches[first:last],
            batch.keys[first:last],
        ),
        given=Given(given.replay[rows], given.forced[items]),
        results=Results(
            results.jets[items],
            results.history[rows],
            results.trace[rows],
            results.scores[items],
            results.numbers[items],
            results.flips[items],
            results.all_flips[rows],
        ),
    )


@dataclass
class _Portion:
    """Some events and their trees, which are on the GPU together."""

    job: Job
    gpu: Gpu

    def grow(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Fill the results; returns the item, the jets and the scores of the states, by item."""
        job, gpu = self.job, self.gpu
        xp = gpu.arrays
        pairs, states = pairs_at_first(job.largest), STATES if job.states else 0
        room = Room(job.largest, pairs, job.results.jets.shape[1])
        batch = gpu.for_kernel(Batch(*(xp.asarray(array) for array in job.batch)))
        given = gpu.for_kernel(Given(*(xp.asarray(array) for array in job.given)))
        stay = array_module(job.results.scores) is xp
        results = (
            job.results
            if stay
            else Results(*(xp.empty(array.shape, array.dtype) for array in job.results))
        )
        events = self._prepared(batch, room)
        longest_first = xp.asarray(np.argsort(-job.counts, kind="stable"))
        items = (longest_first[:, np.newaxis] * job.trees + xp.arange(job.trees)).ravel()
        kept: list[tuple[Any, ...]] = []
        while len(items):
            status, jets, scores = self._launch(items, batch, given, results, events, room, states)
            bad = (status != OK) & (status != LIST_FULL) & (status != STATES_FULL)
            if bad.any():
                item = int(items[bad].min())
                raise TreeFailure(int(status[items == item][0]), item)
            if states:
                number = np.where(status == OK, results.numbers[items, 3], 0.0)
                turn, state = np.nonzero(xp.arange(states) < number[:, np.newaxis])
                found = (items[turn], jets[turn, state], scores[turn, state])
                kept.append(found if stay else tuple(to_host(array) for array in found))
            if (status == LIST_FULL).any():
                room = room._replace(pairs=2 * room.pairs)
            states *= 2 if (status == STATES_FULL).any() else 1
            items = items[status != OK]
        if not stay:
            for name in Results._fields:
                getattr(job.results, name)[...] = to_host(getattr(results, name))
        return _by_item(kept, job)

    def _prepared(self, batch: Batch, room: Room) -> Memory:
        """The events with their stocks."""
        number, bounds = len(self.job.counts), bounds_of(room)
        events = self._memory(number, event_arrays(room))
        blocks = math.ceil(number * team.TEAM / self.gpu.block)
        prepare_events_kernel[blocks, self.gpu.block](self.job.setting.power, batch, events, bounds)
        return events

    def _launch(
        self,
        items: Any,
        batch: Any,
        given: Any,
        results: Results,
        events: Any,
        room: Room,
        states: int,
    ) -> tuple[Any, Any, Any]:
        """Grow the trees of some items; returns their status, and the jets and scores of their states, all on the GPU."""
        job, gpu, xp = self.job, self.gpu, self.gpu.arrays
        table = tree_arrays(room)
        each = bytes_of(table)
        free = int(_SHARE * gpu.free())
        shape = (len(items), states)
        turn = Turn(
            items,
            xp.full(len(items), -1, np.int32),  # a tree that nobody grew is not one that is done
            xp.empty((*shape, *results.jets.shape[1:])),
            xp.empty((*shape, results.scores.shape[1])),
        )
        of_states = turn.state_jets.nbytes + turn.state_scores.nbytes
        teams = min(gpu.threads // team.TEAM, len(items), (free - of_states) // each)
        if teams < 1:
            raise NoRoomError(int(items[0]) // job.trees, each + of_states, free)
        memory = self._memory(teams, table)
        kernel = grow_trees_kernel(features_of(job.setting, job.given, job.results, job.states))
        kernel[math.ceil(teams * team.TEAM / gpu.block), gpu.block](
            gpu.for_kernel(turn),
            job.trees,
            job.first_tree,
            job.iteration,
            job.setting,
            batch,
            given,
            gpu.for_kernel(results),
            events,
            memory,
            bounds_of(room),
        )
        return turn.status, turn.state_jets, turn.state_scores

    def _memory(self, owners: int, table: list[Line]) -> Memory:
        """Zeroed memory of events or teams for the arrays of a table.

        The memory beyond the objects in hand is read, though it counts for nothing.
        """
        blocks = (self.gpu.arrays.zeros((owners, size), kind) for kind, size in blocks_of(table))
        memory: Memory = self.gpu.for_kernel(Memory(*blocks))
        return memory


def _by_item(parts: list[tuple[Any, ...]], job: Job) -> tuple[NDArray[np.int64], Floats, Floats]:
    """States of trees that were grown in any order, by item."""
    if not parts:
        module, jets, scores = (
            array_module(job.results.scores),
            job.results.jets.shape[1:],
            job.results.scores.shape[1:],
        )
        return module.empty(0, np.int64), module.empty((0, *jets)), module.empty((0, *scores))
    items, states, slopes = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(items, kind="stable")
    return items[order], states[order], slopes[order]
