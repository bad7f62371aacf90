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

from djservice.clustering.kernels.candidates import Options, Scratch, Work
from djservice.clustering.kernels.close_pairs import Stock
from djservice.clustering.kernels.grow import Batch, Given, Results, grow_item, load_event
from djservice.clustering.kernels.jit import jit, keyed_by_sources
from djservice.clustering.kernels.lanes.team import placed, size, without
from djservice.clustering.kernels.pseudojets import Objects
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import Bounds

if (
    not config.ENABLE_CUDASIM
):  # what these are imported for is their effect: a type is made known, and loops stay rolled
    from djservice.clustering.kernels.lanes import cuda_model, rolled  # noqa: F401

# A small batch is a small grid, and there is nothing to be done about it.
warnings.filterwarnings("ignore", message="Grid size .* under-utilization")


#: Registers of a thread: with as many a multiprocessor has room for 384 threads.
REGISTERS = 168


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


@jit
def pseudojets_at(floats: Any, bounds: Any) -> Objects:
    """The pseudojets of an event or a tree, whose arrays come first."""
    return Objects(
        placed(floats[bounds[0] : bounds[1]]),
        placed(floats[bounds[2] : bounds[3]]),
        placed(floats[bounds[4] : bounds[5]]),
        placed(floats[bounds[6] : bounds[7]]),
        placed(floats[bounds[8] : bounds[9]]),
        placed(floats[bounds[10] : bounds[11]]),
        placed(floats[bounds[12] : bounds[13]]),
        placed(floats[bounds[14] : bounds[15]]),
        placed(floats[bounds[16] : bounds[17]]),
        placed(floats[bounds[18] : bounds[19]]),
        placed(floats[bounds[20] : bounds[21]]),
    )


@jit
def stock_at(events: Memory, index: int, bounds: Any) -> Stock:
    """The closest pairs of an event."""
    floats, ids, numbers = events.floats[index], events.ids[index], events.numbers[index]
    return Stock(
        placed(floats[bounds[22] : bounds[23]]),
        placed(ids[bounds[24] : bounds[25]]),
        placed(ids[bounds[26] : bounds[27]]),
        placed(numbers[bounds[28] : bounds[29]]),
        placed(floats[bounds[30] : bounds[31]]),
        placed(floats[bounds[32] : bounds[33]]),
        placed(ids[bounds[34] : bounds[35]]),
        placed(ids[bounds[36] : bounds[37]]),
    )


@jit
def work_at(events: Memory, index: int, teams: Memory, team: int, bounds: Bounds) -> Work:
    """The work space of a team for a tree of an event."""
    floats, ids, at = teams.floats[team], teams.ids[team], bounds.tree
    pairs = Options(
        placed(floats[at[22] : at[23]]),
        placed(floats[at[24] : at[25]]),
        placed(floats[at[26] : at[27]]),
        placed(ids[at[28] : at[29]]),
        placed(ids[at[30] : at[31]]),
    )
    beams = Options(
        placed(floats[at[32] : at[33]]),
        placed(floats[at[34] : at[35]]),
        placed(floats[at[36] : at[37]]),
        placed(ids[at[38] : at[39]]),
        placed(ids[at[40] : at[41]]),
    )
    scratch = Scratch(
        placed(floats[at[42] : at[43]]),
        placed(floats[at[44] : at[45]]),
        placed(floats[at[46] : at[47]]),
        placed(ids[at[48] : at[49]]),
        placed(ids[at[50] : at[51]]),
        placed(teams.numbers[team][at[52] : at[53]]),
        placed(teams.flags[team][at[54] : at[55]]),
        placed(floats[at[56] : at[57]]),
        placed(floats[at[58] : at[59]]),
        placed(floats[at[60] : at[61]]),
        placed(floats[at[62] : at[63]]),
    )
    return Work(
        pseudojets_at(events.floats[index], bounds.event),
        pseudojets_at(floats, at),
        stock_at(events, index, bounds.event),
        pairs,
        beams,
        scratch,
    )


def prepare_events(power: float, batch: Batch, events: Memory, bounds: Bounds) -> None:
    """Kernel: make the events of a batch ready, a team each."""
    index = cuda.grid(1) // size()
    if index < len(events.floats):
        at = bounds.event
        objects, stock = pseudojets_at(events.floats[index], at), stock_at(events, index, at)
        load_event(batch, index, power, objects, stock, events.floats[index][at[38] : at[39]])


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
        bounds: Bounds,
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
                work = work_at(events, item // trees, teams, team, bounds)
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
