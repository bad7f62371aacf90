"""Growth of the trees of a job on a GPU, in portions of events that fit into its memory.

Trees that ran out of room are grown again with more. The steps between the kernels run on the GPU
too; only the loop conditions are copied back. This module imports numba.cuda, so it is imported
only where a GPU grows trees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from djservice.clustering.device import Gpu
from djservice.clustering.kernels.cuda import (
    Launch,
    Memory,
    features_of,
    grow_trees_kernel,
    prepare_events_kernel,
)
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.pseudojets import LARGE
from djservice.clustering.kernels.steps import LIST_FULL, OK, STATES_FULL
from djservice.clustering.kernels.sweep import Cotangents, no_cotangents
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
from djservice.clustering.tree_job import NoRoomError, TreeFailure, TreeJob
from djservice.core.array_module import array_module, to_host
from djservice.core.typing import Floats

#: Initial number of states per tree for which there is room.
INITIAL_STATES = 16
#: Fraction of the free memory that is used.
_SHARE = 0.8


def grow_on_gpu(job: TreeJob, gpu: Gpu) -> list[tuple[NDArray[np.int64], Floats, Floats]]:
    """Fill the results of a job; return the items, jets and scores of its states.

    The states come in parts, by item, on the device of the results: the host or the GPU.

    Raises
    ------
    TreeFailure
        If a tree cannot be grown.
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
        except NoRoomError as error:
            raise NoRoomError(error.event + first, error.needed, error.free) from None
        states.append((items + first * job.trees, jets, scores))
        first = last
    return states or [_by_item([], job)]


def _portion(job: TreeJob, counts: NDArray[np.int64], first: int, memory: int) -> int:
    """End of the portion that begins with event ``first``.

    The events and results of a portion take half of the memory at most.
    """
    largest = np.maximum.accumulate(counts[first:])
    sizes = np.unique(largest)
    event_bytes = np.array([_event_bytes(int(n), job.results.jets.shape[1]) for n in sizes])
    events = event_bytes[np.searchsorted(sizes, largest)] * np.arange(1, len(largest) + 1)
    results = np.cumsum(_row_bytes(job) * counts[first:] + job.trees * _item_bytes(job))
    last = first + int(np.searchsorted(events + results, memory // 2, side="right"))
    if last == first:
        raise NoRoomError(first, 2 * int(events[0] + results[0]), memory)
    return last


def _event_bytes(particles: int, jets: int) -> int:
    """Bytes of an event with its closest pairs."""
    return bytes_of(event_arrays(Room(particles, 0, jets)))


def _row_bytes(job: TreeJob) -> int:
    """Bytes of a particle: its own numbers, and the rows of its trees."""
    imposed, results = job.imposed, job.results
    rows: tuple[NDArray[Any], ...] = (
        results.history,
        results.trace,
        results.all_flips,
        imposed.replay,
    )
    sums = 0
    if job.cotangents is not None:
        of_all = job.cotangents.sums.nbytes + job.cotangents.squares.nbytes
        sums = 8 + of_all // max(len(job.batch.particles), 1)
    return 56 + sums + job.trees * sum(array[:1].nbytes for array in rows)


def _item_bytes(job: TreeJob) -> int:
    """Bytes of a tree."""
    results, imposed = job.results, job.imposed
    state = results.jets[:1].nbytes + results.scores[:1].nbytes
    arrays: tuple[NDArray[Any], ...] = (results.numbers, results.flips, imposed.forced)
    index = 20  # item, end and status
    if job.cotangents is not None:
        arrays += (job.cotangents.factors, job.cotangents.jets)
    return (
        state * (1 + INITIAL_STATES * job.states)
        + sum(array[:1].nbytes for array in arrays)
        + index
    )


def _events_of(job: TreeJob, first: int, last: int) -> TreeJob:
    """The job of events ``first`` to ``last``; its results are views."""
    offsets, trees = job.batch.offsets[first : last + 1], job.trees
    particles = slice(int(offsets[0]), int(offsets[-1]))
    items = slice(first * trees, last * trees)
    rows = slice(int(offsets[0]) * trees, int(offsets[-1]) * trees)
    batch, imposed, results = job.batch, job.imposed, job.results
    return replace(
        job,
        batch=EventArrays(
            batch.particles[particles],
            offsets - offsets[0],
            batch.radius_bounds[first:last],
            batch.keys[first:last],
            batch.slots[particles],
        ),
        imposed=Imposed(imposed.replay[rows], imposed.forced[items]),
        results=Results(
            results.jets[items],
            results.history[rows],
            results.trace[rows],
            results.scores[items],
            results.numbers[items],
            results.flips[items],
            results.all_flips[rows],
        ),
        cotangents=_cotangents_of(job, particles, items),
    )


def _cotangents_of(job: TreeJob, particles: slice, items: slice) -> Cotangents | None:
    """The cotangents of some events; the sums are views."""
    if job.cotangents is None:
        return None
    factors, jets, mass, rows, sums, squares = job.cotangents
    per_particle = len(sums) // max(len(job.batch.particles), 1)
    sum_rows = slice(particles.start * per_particle, particles.stop * per_particle)
    return Cotangents(
        factors[items], jets[items], mass[particles], rows[items] - sum_rows.start, sums[sum_rows],
        squares[sum_rows],
    )  # fmt: skip


@dataclass
class _Portion:
    """Events that are on the GPU together, with their trees."""

    job: TreeJob
    gpu: Gpu

    def grow(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Fill the results; return the item, the jets and the scores of the states, by item."""
        job, gpu = self.job, self.gpu
        xp = gpu.arrays
        pairs, states = pairs_at_first(job.largest), INITIAL_STATES if job.states else 0
        room = Room(job.largest, pairs, job.results.jets.shape[1], job.cotangents is not None)
        batch = gpu.for_kernel(EventArrays(*(xp.asarray(array) for array in job.batch)))
        imposed = gpu.for_kernel(Imposed(*(xp.asarray(array) for array in job.imposed)))
        on_device = array_module(job.results.scores) is xp
        results = (
            job.results
            if on_device
            else Results(*(xp.empty(array.shape, array.dtype) for array in job.results))
        )
        cotangents = job.cotangents or no_cotangents()
        sums = Cotangents(*(xp.asarray(array) for array in cotangents))
        events = self._prepared(batch, room)
        starts, ends = job.starts, np.append(job.starts[1:], len(job.results.numbers))
        longest_first = np.argsort(-job.counts[starts // job.trees], kind="stable")
        items, ends = xp.asarray(starts[longest_first]), xp.asarray(ends[longest_first])
        state_parts: list[tuple[Any, ...]] = []
        while len(items):
            begun = items.copy()  # a kernel with the score moves each entry to the tree it came to
            status, jets, scores = self._launch(
                items, ends, batch, imposed, results, sums, events, room, states
            )
            bad = (status != OK) & (status != LIST_FULL) & (status != STATES_FULL)
            if bad.any():
                item = int(items[bad].min())
                raise TreeFailure(int(status[bad & (items == item)][0]), item)
            if states:
                number = np.where(status == OK, results.numbers[begun, 3], 0.0)
                tree, state = np.nonzero(xp.arange(states) < number[:, np.newaxis])
                columns = (begun[tree], jets[tree, state], scores[tree, state])
                state_parts.append(
                    columns if on_device else tuple(to_host(column) for column in columns)
                )
            if (status == LIST_FULL).any():
                room = room._replace(pairs=2 * room.pairs)
            states *= 2 if (status == STATES_FULL).any() else 1
            items, ends = items[status != OK], ends[status != OK]
        if not on_device:
            for name in Results._fields:
                getattr(job.results, name)[...] = to_host(getattr(results, name))
        if job.cotangents is not None:
            job.cotangents.sums[...] = to_host(sums.sums)
            job.cotangents.squares[...] = to_host(sums.squares)
        return _by_item(state_parts, job)

    def _prepared(self, batch: EventArrays, room: Room) -> Memory:
        """The events, made ready on the GPU, with their closest pairs."""
        number, bounds = len(self.job.counts), bounds_of(room)
        events = self._memory(number, event_arrays(room))
        blocks = math.ceil(number * team.TEAM / self.gpu.block)
        prepare_events_kernel[blocks, self.gpu.block](self.job.setting.power, batch, events, bounds)
        return events

    def _launch(
        self,
        items: Any,
        ends: Any,
        batch: Any,
        imposed: Any,
        results: Results,
        sums: Cotangents,
        events: Any,
        room: Room,
        states: int,
    ) -> tuple[Any, Any, Any]:
        """Grow the trees of the items; return status, and the jets and scores of their states.

        All results are on the GPU.
        """
        job, gpu, xp = self.job, self.gpu, self.gpu.arrays
        table = tree_arrays(room)
        team_bytes = bytes_of(table)
        free = int(_SHARE * gpu.free())
        shape = (len(items), states)
        launch = Launch(
            items,
            ends,
            xp.full(len(items), -1, np.int32),  # so that a tree that was not grown does not look OK
            xp.empty((*shape, *results.jets.shape[1:])),
            xp.empty((*shape, results.scores.shape[1])),
        )
        state_bytes = launch.state_jets.nbytes + launch.state_scores.nbytes
        teams = min(gpu.threads // team.TEAM, len(items), (free - state_bytes) // team_bytes)
        if teams < 1:
            raise NoRoomError(int(items[0]) // job.trees, team_bytes + state_bytes, free)
        memory = self._memory(teams, table)
        features = features_of(
            job.setting, job.imposed, job.results, job.states, job.largest >= LARGE, room.slopes
        )
        kernel = grow_trees_kernel(features)
        kernel[math.ceil(teams * team.TEAM / gpu.block), gpu.block](
            gpu.for_kernel(launch),
            job.trees,
            job.first_tree,
            job.iteration,
            job.setting,
            batch,
            imposed,
            gpu.for_kernel(results),
            gpu.for_kernel(sums),
            events,
            memory,
            bounds_of(room),
        )
        return launch.status, launch.state_jets, launch.state_scores

    def _memory(self, owners: int, table: list[Line]) -> Memory:
        """Zeroed memory of events or teams for the arrays of a table.

        Kernels read beyond the present objects, without using the values, so the memory must be
        initialised.
        """
        blocks = (self.gpu.arrays.zeros((owners, size), kind) for kind, size in blocks_of(table))
        memory: Memory = self.gpu.for_kernel(Memory(*blocks))
        return memory


def _by_item(
    parts: list[tuple[Any, ...]], job: TreeJob
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Items, jets and scores of the states of trees that were grown in any order, by item."""
    if not parts:
        module = array_module(job.results.scores)
        no_jets = module.empty((0, *job.results.jets.shape[1:]))
        no_scores = module.empty((0, *job.results.scores.shape[1:]))
        return module.empty(0, np.int64), no_jets, no_scores
    items, jets, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(items, kind="stable")
    return items[order], jets[order], scores[order]
