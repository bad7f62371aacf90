"""The CUDA loops over (event, tree): a thread makes an event ready, and a thread grows a tree, by the source of the CPU.

The particles' objects and the stock of an event are shared by its trees; the lists and objects of a tree are in memory of the
thread that grows it, and the thread takes one tree after the other. A warp's threads grow trees of one event, mostly, so they
read the same word at the same time: these are side by side. Eight lanes are eight numbers in one thread, so sums have the order that
they have on the CPU.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from numba import cuda

from djservice.kernels.clustering import Setting
from djservice.kernels.items import Batch, Given, Results, grow_item, load_event
from djservice.kernels.jit import jit, keyed_by_sources
from djservice.kernels.objects import Objects
from djservice.kernels.options import PAD, Options, Scratch, Work, stock_room
from djservice.kernels.stock import LEVELS, Stock
from djservice.kernels.warp import apart

# A small batch is a small grid, and there is nothing to be done about it.
warnings.filterwarnings("ignore", message="Grid size .* under-utilization")


class Room(NamedTuple):
    """What memory is laid out for: particles of the largest event, pairs on the list and in the stock, jets."""

    particles: int
    pairs: int
    stock: int
    jets: int


class Memory(NamedTuple):
    """Memory of events, shape (event, word), or of threads, shape (warp, word, thread); ``bits`` are the floats as integers."""

    floats: Any
    bits: Any
    ids: Any  # uint16
    numbers: Any  # int32 of threads, int64 of events
    flags: Any  # uint8


class Turn(NamedTuple):
    """Trees to be grown, item = event * trees + tree; and written, in their order, the kernel's status and states of each."""

    items: Any
    status: Any
    state_jets: Any  # (len(items), state, jet, 4); states of length 0 if not wanted
    state_scores: Any  # (len(items), state, 1 or 5)


def room_for(particles: int, pairs: int, jets: int) -> Room:
    """For events of so many particles."""
    return Room(particles, pairs, stock_room(particles), jets)


def event_sizes(room: Room) -> tuple[int, int, int]:
    """Float64, uint16 and int64 that an event needs; its flags are not used."""
    slots = room.particles + PAD
    return 12 * slots + 2 * room.stock + 1, 4 * room.stock, LEVELS


def thread_sizes(room: Room) -> tuple[int, int, int, int]:
    """Float64, uint16, int32 and uint8 that a thread needs."""
    slots, pairs, objects = room.particles + PAD, room.pairs + PAD, 2 * room.particles
    longest = max(room.pairs, room.particles) + PAD
    floats = 15 * slots + 3 * pairs + 1 + longest // 8 + 8 + longest // 64 + 1 + objects + 5 + 2 * room.jets
    return floats, 2 * pairs + 2 * slots + objects + room.particles, objects, objects


@jit
def objects_at(floats: Any, at: int, slots: int) -> Objects:
    """Objects in a row of memory, from ``at`` on."""
    return Objects(
        floats[at : at + slots],
        floats[at + slots : at + 2 * slots],
        floats[at + 2 * slots : at + 3 * slots],
        floats[at + 3 * slots : at + 4 * slots],
        floats[at + 4 * slots : at + 5 * slots],
        floats[at + 5 * slots : at + 6 * slots],
        floats[at + 6 * slots : at + 7 * slots],
        floats[at + 7 * slots : at + 8 * slots],
        floats[at + 8 * slots : at + 9 * slots],
        floats[at + 9 * slots : at + 10 * slots],
        floats[at + 10 * slots : at + 11 * slots],
    )


@jit
def stock_at(events: Memory, index: int, room: Room) -> Stock:
    """The stock in the memory of an event; before it are its objects and a row of distances."""
    floats, bits, ids, held = events.floats[index], events.bits[index], events.ids[index], room.stock
    at = 12 * (room.particles + PAD)
    loose, top = at + held, at + 2 * held
    return Stock(
        floats[at:loose],
        ids[:held],
        ids[held : 2 * held],
        events.numbers[index],
        floats[top : top + 1],
        bits[top : top + 1],
        floats[loose:top],
        bits[loose:top],
        ids[2 * held : 3 * held],
        ids[3 * held : 4 * held],
    )


@jit
def options_at(floats: Any, ids: Any, at: int, id_at: int, length: int) -> Options:
    """An option list in a row of memory."""
    return Options(
        floats[at : at + length],
        floats[at + length : at + 2 * length],
        floats[at + 2 * length : at + 3 * length],
        ids[id_at : id_at + length],
        ids[id_at + length : id_at + 2 * length],
    )


@jit
def work_at(events: Memory, index: int, threads: Memory, thread: int, room: Room) -> Work:
    """The work space of a thread for a tree of an event."""
    size = threads.floats.shape[2]
    warp, own = thread // size, thread % size
    floats, bits, ids = (
        apart(threads.floats[warp, :, own]),
        apart(threads.bits[warp, :, own]),
        apart(threads.ids[warp, :, own]),
    )
    numbers, flags = apart(threads.numbers[warp, :, own]), apart(threads.flags[warp, :, own])
    slots, pairs, objects = room.particles + PAD, room.pairs + PAD, 2 * room.particles
    longest = max(room.pairs, room.particles) + PAD
    at = 11 * slots
    beams = at + 3 * pairs
    row = beams + 3 * slots
    cell = row + slots
    sums = cell + 1
    blocks = sums + longest // 8 + 8
    logs = blocks + longest // 64 + 1
    slopes = logs + objects
    jets = slopes + 5
    slot_ids = 2 * pairs + 2 * slots
    scratch = Scratch(
        floats[row:cell],
        bits[row:cell],
        floats[cell:sums],
        bits[cell:sums],
        floats[sums:blocks],
        floats[blocks:logs],
        ids[slot_ids : slot_ids + objects],
        ids[slot_ids + objects : slot_ids + objects + room.particles],
        numbers,
        flags,
        floats[logs:slopes],
        floats[slopes:jets],
        floats[jets : jets + room.jets],
        floats[jets + room.jets : jets + 2 * room.jets],
    )
    return Work(
        objects_at(events.floats[index], 0, slots),
        objects_at(floats, 0, slots),
        stock_at(events, index, room),
        options_at(floats, ids, at, 0, pairs),
        options_at(floats, ids, beams, 2 * pairs, slots),
        scratch,
    )


def prepare_events(power: float, batch: Batch, events: Memory, room: Room) -> None:
    """Kernel: make the events of a batch ready, a thread each."""
    index = cuda.grid(1)
    if index < len(events.floats):
        slots = room.particles + PAD
        objects = objects_at(events.floats[index], 0, slots)
        row, bits = events.floats[index][11 * slots : 12 * slots], events.bits[index][11 * slots : 12 * slots]
        load_event(batch, index, power, objects, stock_at(events, index, room), row, bits)


def grow_trees(
    turn: Turn,
    trees: int,
    first_tree: int,
    iteration: int,
    setting: Setting,
    batch: Batch,
    given: Given,
    results: Results,
    events: Memory,
    threads: Memory,
    room: Room,
) -> None:
    """Kernel: grow the trees of a turn; a thread takes one, then the one as many further on as there are threads.

    Parameters
    ----------
    events
        A row for each event of the batch, made ready.
    threads
        Room for each thread that is to grow trees.
    """
    thread, number = cuda.grid(1), len(threads.floats) * threads.floats.shape[2]
    if thread < number:
        for k in range(thread, len(turn.items), number):
            item = turn.items[k]
            work = work_at(events, item // trees, threads, thread, room)
            jets, scores = turn.state_jets[k], turn.state_scores[k]
            turn.status[k] = grow_item(
                item, trees, first_tree, iteration, setting, batch, work, given, results, 0, jets, scores
            )


def compiled_kernel(function: Any) -> Any:
    """A kernel from a function, kept on disk as long as no kernel source changes."""
    compiled = cuda.jit(cache=True)(function)
    return compiled if keyed_by_sources(compiled) else cuda.jit(function)


prepare_events_kernel = compiled_kernel(prepare_events)
grow_trees_kernel = compiled_kernel(grow_trees)
