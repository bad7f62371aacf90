"""The CUDA loops over (event, tree): a team of threads makes an event ready, and a team grows a tree, by the source of the CPU.

The particles' objects and the stock of an event are shared by its trees; the lists and objects of a tree are in memory of the team
that grows it, and a team takes one tree after the other. Its threads share the lanes (:mod:`djservice.clustering.kernels.lanes.team`), so sums have the
order that they have on the CPU.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

from numba import config, cuda

from djservice.clustering.kernels.candidates import PAD, Options, Scratch, Work, stock_room
from djservice.clustering.kernels.close_pairs import LEVELS, Stock
from djservice.clustering.kernels.grow import Batch, Given, Results, grow_item, load_event
from djservice.clustering.kernels.jit import jit, keyed_by_sources
from djservice.clustering.kernels.lanes.team import placed, size, without
from djservice.clustering.kernels.pseudojets import Objects
from djservice.clustering.kernels.tree import Setting

if (
    not config.ENABLE_CUDASIM
):  # what these are imported for is their effect: a type is made known, and loops stay rolled
    from djservice.clustering.kernels.lanes import cuda_model, rolled  # noqa: F401

# A small batch is a small grid, and there is nothing to be done about it.
warnings.filterwarnings("ignore", message="Grid size .* under-utilization")


#: Registers of a thread: with as many a multiprocessor has room for 384 threads.
REGISTERS = 168


class Room(NamedTuple):
    """What memory is laid out for: particles of the largest event, pairs on the list and in the stock, jets."""

    particles: int
    pairs: int
    stock: int
    jets: int


class Memory(NamedTuple):
    """Memory of events, shape (event, word), or of teams, shape (team, word)."""

    floats: Any
    ids: Any  # uint16
    numbers: Any  # int32 of teams, int64 of events
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


def team_sizes(room: Room) -> tuple[int, int, int, int]:
    """Float64, uint16, int32 and uint8 that a team needs."""
    slots, pairs, objects = room.particles + PAD, room.pairs + PAD, 2 * room.particles
    longest = max(room.pairs, room.particles) + PAD
    floats = (
        15 * slots + 3 * pairs + longest // 8 + 8 + longest // 64 + 1 + objects + 5 + 2 * room.jets
    )
    return floats, 2 * pairs + 2 * slots + objects + room.particles, objects, objects


@jit
def objects_at(floats: Any, at: int, slots: int) -> Objects:
    """Objects in a row of memory, from ``at`` on."""
    return Objects(
        placed(floats[at : at + slots]),
        placed(floats[at + slots : at + 2 * slots]),
        placed(floats[at + 2 * slots : at + 3 * slots]),
        placed(floats[at + 3 * slots : at + 4 * slots]),
        placed(floats[at + 4 * slots : at + 5 * slots]),
        placed(floats[at + 5 * slots : at + 6 * slots]),
        placed(floats[at + 6 * slots : at + 7 * slots]),
        placed(floats[at + 7 * slots : at + 8 * slots]),
        placed(floats[at + 8 * slots : at + 9 * slots]),
        placed(floats[at + 9 * slots : at + 10 * slots]),
        placed(floats[at + 10 * slots : at + 11 * slots]),
    )


@jit
def stock_at(events: Memory, index: int, room: Room) -> Stock:
    """The stock in the memory of an event; before it are its objects and a row of distances."""
    floats, ids, held = events.floats[index], events.ids[index], room.stock
    at = 12 * (room.particles + PAD)
    loose, top = at + held, at + 2 * held
    return Stock(
        placed(floats[at:loose]),
        placed(ids[:held]),
        placed(ids[held : 2 * held]),
        placed(events.numbers[index]),
        placed(floats[top : top + 1]),
        placed(floats[loose:top]),
        placed(ids[2 * held : 3 * held]),
        placed(ids[3 * held : 4 * held]),
    )


@jit
def options_at(floats: Any, ids: Any, at: int, id_at: int, length: int) -> Options:
    """An option list in a row of memory."""
    return Options(
        placed(floats[at : at + length]),
        placed(floats[at + length : at + 2 * length]),
        placed(floats[at + 2 * length : at + 3 * length]),
        placed(ids[id_at : id_at + length]),
        placed(ids[id_at + length : id_at + 2 * length]),
    )


@jit
def work_at(events: Memory, index: int, teams: Memory, team: int, room: Room) -> Work:
    """The work space of a team for a tree of an event."""
    floats, ids = teams.floats[team], teams.ids[team]
    slots, pairs, objects = room.particles + PAD, room.pairs + PAD, 2 * room.particles
    longest = max(room.pairs, room.particles) + PAD
    at = 11 * slots
    beams = at + 3 * pairs
    row = beams + 3 * slots
    sums = row + slots
    blocks = sums + longest // 8 + 8
    logs = blocks + longest // 64 + 1
    slopes = logs + objects
    jets = slopes + 5
    slot_ids = 2 * pairs + 2 * slots
    scratch = Scratch(
        placed(floats[row:sums]),
        placed(floats[sums:blocks]),
        placed(floats[blocks:logs]),
        placed(ids[slot_ids : slot_ids + objects]),
        placed(ids[slot_ids + objects : slot_ids + objects + room.particles]),
        placed(teams.numbers[team]),
        placed(teams.flags[team]),
        placed(floats[logs:slopes]),
        placed(floats[slopes:jets]),
        placed(floats[jets : jets + room.jets]),
        placed(floats[jets + room.jets : jets + 2 * room.jets]),
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
    """Kernel: make the events of a batch ready, a team each."""
    index = cuda.grid(1) // size()
    if index < len(events.floats):
        slots = room.particles + PAD
        objects = objects_at(events.floats[index], 0, slots)
        load_event(
            batch,
            index,
            power,
            objects,
            stock_at(events, index, room),
            events.floats[index][11 * slots : 12 * slots],
        )


class Features(NamedTuple):
    """What a kernel of trees is able to do; what it need not, it is compiled without.

    A GPU runs it the faster, the more of its instructions fit into its caches and the fewer registers it takes.
    """

    states: bool = False
    stops: bool = False
    records: bool = False  # histories and traces
    flips: bool = False  # those that are found, and those to be taken
    replay: bool = False
    safe: bool = False
    sharp: bool = False
    wide: bool = False


def features_of(setting: Setting, given: Given, results: Results, states: bool) -> Features:
    """What the trees of a job ask for."""
    return Features(
        states=states,
        stops=setting.stops,
        records=len(results.history) + len(results.trace) > 0,
        flips=len(results.flips) + len(results.all_flips) + len(given.forced) > 0,
        replay=len(given.replay) > 0,
        safe=setting.asymmetry > 0.0,
        sharp=setting.sharp,
        wide=setting.wide,
    )


def grow_trees(features: Features) -> Any:
    """The kernel that grows trees with these features, to be compiled."""
    with_states, with_stops, with_records, with_flips, with_replay, safe, sharp, wide = features

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
        teams: Memory,
        room: Room,
    ) -> None:
        # A team takes a tree, then the one as many further on as there are teams. ``events`` has a row for each event, made ready,
        # ``teams`` one for each team. What is known to be absent is said once more, for the compiler.
        setting = Setting(
            setting.power,
            setting.rigidity,
            setting.asymmetry if safe else 0.0,
            setting.settled_pt,
            setting.stops and with_stops,
            setting.main,
            setting.sharp and sharp,
            setting.wide and wide,
        )
        given = Given(
            given.replay if with_replay else without(given.replay),
            given.forced if with_flips else without(given.forced),
        )
        results = Results(
            results.jets,
            results.history if with_records else without(results.history),
            results.trace if with_records else without(results.trace),
            results.scores,
            results.numbers,
            results.flips if with_flips else without(results.flips),
            results.all_flips if with_flips else without(results.all_flips),
        )
        team, number = cuda.grid(1) // size(), len(teams.floats)
        if team < number:
            for k in range(team, len(turn.items), number):
                item = turn.items[k]
                work = work_at(events, item // trees, teams, team, room)
                jets, scores = turn.state_jets[k], turn.state_scores[k]
                turn.status[k] = grow_item(
                    item,
                    trees,
                    first_tree,
                    iteration,
                    setting,
                    batch,
                    work,
                    given,
                    results,
                    0,
                    jets if with_states else without(jets),
                    scores if with_states else without(scores),
                )

    # A name of its own, and so a file of its own on disk: processes that compile at once do not overwrite each other's.
    able = "_".join(name for name, is_able in features._asdict().items() if is_able)
    grow_trees.__name__ = grow_trees.__qualname__ = f"grow_trees_{able}" if able else "grow_trees"
    return grow_trees


def compiled_kernel(function: Any) -> Any:
    """A kernel from a function, kept on disk as long as no kernel source changes."""
    options = {} if config.ENABLE_CUDASIM else {"max_registers": REGISTERS}
    compiled = cuda.jit(cache=True, **options)(function)
    return compiled if keyed_by_sources(compiled) else cuda.jit(**options)(function)


@functools.cache
def grow_trees_kernel(features: Features) -> Any:
    """The compiled kernel that grows trees with these features."""
    return compiled_kernel(grow_trees(features))


prepare_events_kernel = compiled_kernel(prepare_events)
