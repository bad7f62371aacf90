"""The CUDA loops over (event, tree), with the source of the CPU.

A team of threads loads an event, and a team grows a tree. The pseudojets and close pairs of an
event are shared by its trees. The lists and pseudojets of a tree are in the memory of its team,
which grows one tree after the other. The threads of a team share the lanes
(:mod:`djservice.clustering.kernels.lanes.team`), so sums have the order that they have on the CPU.
"""

from __future__ import annotations

import functools
import warnings
from importlib.util import find_spec
from typing import Any, NamedTuple

from numba import config, cuda

from djservice.clustering.kernels.candidates import Candidates, Parts, Scratch, Workspace
from djservice.clustering.kernels.close_pairs import ClosePairs
from djservice.clustering.kernels.code_cache import compiled
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results, grow_item, load_event
from djservice.clustering.kernels.jit import jit
from djservice.clustering.kernels.lanes.team import empty_view, opaque_view, size
from djservice.clustering.kernels.object_slopes import ObjectSlopes
from djservice.clustering.kernels.pseudojets import Pseudojets
from djservice.clustering.kernels.steps import OK
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import Bounds

# Imported for their effects: a type is registered, loops are kept rolled, and a line is said.
if not config.ENABLE_CUDASIM and find_spec("numba_cuda"):
    from djservice.clustering.kernels import cuda_compilation  # noqa: F401
if not config.ENABLE_CUDASIM:
    from djservice.clustering.kernels.lanes import cuda_model, rolled  # noqa: F401

# A small batch makes a small grid, which cannot be avoided.
warnings.filterwarnings("ignore", message="Grid size .* under-utilization")


#: Registers of a thread. A multiprocessor then has room for 384 threads.
REGISTERS = 168


class Memory(NamedTuple):
    """Memory of events, shape (event, word), or of teams, shape (team, word)."""

    floats: Any
    ids: Any  # uint16
    numbers: Any  # int32 of teams, int64 of events
    flags: Any  # uint8


class Launch(NamedTuple):
    """The trees of one launch, item = event * trees + tree, and its output.

    A team grows the trees from an entry of ``items`` up to that of ``ends``: one tree, or with the
    score in the particles all that are added to the same sums. ``status`` is the kernel's status of
    the last of them, and its item is then in ``items``. The states of each follow in ``state_jets``
    and ``state_scores``.
    """

    items: Any
    ends: Any
    status: Any
    state_jets: Any  # (len(items), state, jet, 4), with no states if not wanted
    state_scores: Any  # (len(items), state, 1 or 5)


@jit
def pseudojets_of(floats: Any, bounds: Any) -> Pseudojets:
    """The pseudojets of an event or a tree, whose arrays come first in memory."""
    return Pseudojets(
        opaque_view(floats[bounds[0] : bounds[1]]),
        opaque_view(floats[bounds[2] : bounds[3]]),
        opaque_view(floats[bounds[4] : bounds[5]]),
        opaque_view(floats[bounds[6] : bounds[7]]),
        opaque_view(floats[bounds[8] : bounds[9]]),
        opaque_view(floats[bounds[10] : bounds[11]]),
        opaque_view(floats[bounds[12] : bounds[13]]),
        opaque_view(floats[bounds[14] : bounds[15]]),
        opaque_view(floats[bounds[16] : bounds[17]]),
        opaque_view(floats[bounds[18] : bounds[19]]),
        opaque_view(floats[bounds[20] : bounds[21]]),
        opaque_view(floats[bounds[22] : bounds[23]]),
        opaque_view(floats[bounds[24] : bounds[25]]),
        opaque_view(floats[bounds[26] : bounds[27]]),
    )


@jit
def close_pairs_of(events: Memory, index: int, bounds: Any) -> ClosePairs:
    """The close pairs of an event."""
    floats, ids, numbers = events.floats[index], events.ids[index], events.numbers[index]
    return ClosePairs(
        opaque_view(floats[bounds[28] : bounds[29]]),
        opaque_view(ids[bounds[30] : bounds[31]]),
        opaque_view(ids[bounds[32] : bounds[33]]),
        opaque_view(numbers[bounds[34] : bounds[35]]),
        opaque_view(floats[bounds[36] : bounds[37]]),
        opaque_view(floats[bounds[38] : bounds[39]]),
        opaque_view(ids[bounds[40] : bounds[41]]),
        opaque_view(ids[bounds[42] : bounds[43]]),
    )


@jit
def without_tiles(pseudojets: Pseudojets) -> Pseudojets:
    """The pseudojets with no bounds of tiles, as a constant for the compiler."""
    return Pseudojets(
        pseudojets.y,
        pseudojets.phi,
        pseudojets.d,
        pseudojets.beam,
        pseudojets.pt2,
        pseudojets.px,
        pseudojets.py,
        pseudojets.pz,
        pseudojets.e,
        pseudojets.lower,
        pseudojets.ident,
        empty_view(pseudojets.tile_low),
        empty_view(pseudojets.tile_high),
        empty_view(pseudojets.tile_d),
    )


@jit
def workspace_of(
    events: Memory, index: int, teams: Memory, team: int, bounds: Bounds, large: bool
) -> Workspace:
    """The work space of a team for a tree of an event."""
    origin = pseudojets_of(events.floats[index], bounds.event)
    pseudojets = pseudojets_of(teams.floats[team], bounds.tree)
    if not large and size() > 1:
        origin, pseudojets = without_tiles(origin), without_tiles(pseudojets)
    floats, ids, limits = teams.floats[team], teams.ids[team], bounds.tree
    pairs = Candidates(
        opaque_view(floats[limits[28] : limits[29]]),
        opaque_view(floats[limits[30] : limits[31]]),
        opaque_view(floats[limits[32] : limits[33]]),
        opaque_view(ids[limits[34] : limits[35]]),
        opaque_view(ids[limits[36] : limits[37]]),
    )
    beams = Candidates(
        opaque_view(floats[limits[38] : limits[39]]),
        opaque_view(floats[limits[40] : limits[41]]),
        opaque_view(floats[limits[42] : limits[43]]),
        opaque_view(ids[limits[44] : limits[45]]),
        opaque_view(ids[limits[46] : limits[47]]),
    )
    parts = Parts(
        opaque_view(teams.numbers[team][limits[48] : limits[49]]),
        opaque_view(teams.numbers[team][limits[50] : limits[51]]),
        opaque_view(teams.numbers[team][limits[52] : limits[53]]),
        opaque_view(floats[limits[54] : limits[55]]),
        opaque_view(floats[limits[56] : limits[57]]),
    )
    scratch = Scratch(
        opaque_view(floats[limits[58] : limits[59]]),
        opaque_view(floats[limits[60] : limits[61]]),
        opaque_view(floats[limits[62] : limits[63]]),
        opaque_view(ids[limits[64] : limits[65]]),
        opaque_view(ids[limits[66] : limits[67]]),
        opaque_view(teams.numbers[team][limits[68] : limits[69]]),
        opaque_view(teams.flags[team][limits[70] : limits[71]]),
        opaque_view(floats[limits[72] : limits[73]]),
        opaque_view(floats[limits[74] : limits[75]]),
        opaque_view(floats[limits[76] : limits[77]]),
        opaque_view(floats[limits[78] : limits[79]]),
        opaque_view(teams.numbers[team][limits[80] : limits[81]]),
    )
    return Workspace(
        origin,
        pseudojets,
        close_pairs_of(events, index, bounds.event),
        pairs,
        beams,
        parts,
        scratch,
    )


@jit
def slopes_of(teams: Memory, team: int, limits: Any) -> ObjectSlopes:
    """The slopes of a team, for the score in the particles."""
    floats, numbers = teams.floats[team], teams.numbers[team]
    return ObjectSlopes(
        opaque_view(floats[limits[82] : limits[83]]),
        opaque_view(floats[limits[84] : limits[85]]),
        opaque_view(floats[limits[86] : limits[87]]),
        opaque_view(floats[limits[88] : limits[89]]),
        opaque_view(floats[limits[90] : limits[91]]),
        opaque_view(numbers[limits[92] : limits[93]]),
        opaque_view(numbers[limits[94] : limits[95]]),
        opaque_view(floats[limits[96] : limits[97]]),
    )


def prepare_events(power: float, batch: EventArrays, events: Memory, bounds: Bounds) -> None:
    """CUDA kernel: load the events of a batch, a team for each."""
    index = cuda.grid(1) // size()
    if index < len(events.floats):
        limits = bounds.event
        pseudojets, close_pairs = (
            pseudojets_of(events.floats[index], limits),
            close_pairs_of(events, index, limits),
        )
        load_event(
            batch,
            index,
            power,
            pseudojets,
            close_pairs,
            events.floats[index][limits[44] : limits[45]],
        )


class Features(NamedTuple):
    """The features of a kernel that grows trees.

    A kernel is compiled without the features that it does not need. A GPU runs a kernel faster if
    more of its instructions fit into the caches and it takes fewer registers. A kernel with more
    features than a job needs grows the same trees, except for ``slopes``: it writes them in any
    case, so its teams need memory for them.
    """

    states: bool = False
    stops: bool = False
    records: bool = False  # histories and traces
    flips: bool = False  # flips to find, and flips to take
    replay: bool = False
    safe: bool = False
    sharp: bool = False
    wide: bool = False
    large: bool = False  # events of LARGE particles
    slopes: bool = False  # the score in the particles


def features_of(
    setting: Setting, imposed: Imposed, results: Results, states: bool, large: bool, slopes: bool
) -> Features:
    """The features that the trees of a job need, with states, large events, or slopes."""
    return Features(
        states=states,
        stops=setting.stops,
        records=len(results.history) + len(results.trace) > 0,
        flips=len(results.flips) + len(results.all_flips) + len(imposed.forced) > 0,
        replay=len(imposed.replay) > 0,
        safe=setting.asymmetry > 0.0,
        sharp=setting.sharp,
        wide=setting.wide,
        large=large,
        slopes=slopes,
    )


def grow_trees(features: Features) -> Any:
    """A function that grows trees with these features, to be compiled."""
    with_states, with_stops, with_records, with_flips, with_replay = features[:5]
    safe, sharp, wide, large, with_slopes = features[5:]

    def grow_trees(
        launch: Launch,
        trees: int,
        first_tree: int,
        iteration: int,
        setting: Setting,
        batch: EventArrays,
        imposed: Imposed,
        results: Results,
        cotangents: Cotangents,
        events: Memory,
        teams: Memory,
        bounds: Bounds,
    ) -> None:
        # Team j grows trees j, j + n_teams, j + 2 n_teams ... ``events`` has a row for each event,
        # which is loaded, and ``teams`` one for each team. Features that are absent become
        # constants, for the compiler.
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
        imposed = Imposed(
            imposed.replay if with_replay else empty_view(imposed.replay),
            imposed.forced if with_flips else empty_view(imposed.forced),
        )
        results = Results(
            results.jets,
            results.history if with_records else empty_view(results.history),
            results.trace if with_records else empty_view(results.trace),
            results.scores,
            results.numbers,
            results.flips if with_flips else empty_view(results.flips),
            results.all_flips if with_flips else empty_view(results.all_flips),
        )
        team, n_teams = cuda.grid(1) // size(), len(teams.floats)
        if team < n_teams:
            for k in range(team, len(launch.items), n_teams):
                item = launch.items[k]
                workspace = workspace_of(events, item // trees, teams, team, bounds, large)
                slopes = slopes_of(teams, team, bounds.tree) if with_slopes else None
                jets, scores = launch.state_jets[k], launch.state_scores[k]
                end, status = launch.ends[k] if with_slopes else item + 1, OK
                while item < end and status == OK:
                    status = grow_item(
                        item,
                        trees,
                        first_tree,
                        iteration,
                        setting,
                        batch,
                        workspace,
                        slopes,
                        imposed,
                        results,
                        0,
                        jets if with_states else empty_view(jets),
                        scores if with_states else empty_view(scores),
                        cotangents if with_slopes else None,
                    )
                    if status == OK:
                        item += 1
                launch.status[k] = status
                if with_slopes:
                    launch.items[k] = item

    # Each kernel has its own name, and so its own file on disk: processes that compile different
    # kernels at the same time do not overwrite each other's files.
    suffix = "_".join(name for name, enabled in features._asdict().items() if enabled)
    grow_trees.__name__ = grow_trees.__qualname__ = (
        f"grow_trees_{suffix}" if suffix else "grow_trees"
    )
    return grow_trees


def compiled_kernel(function: Any) -> Any:
    """A compiled kernel, kept on disk as long as no kernel source changes."""
    if config.ENABLE_CUDASIM:  # nothing is compiled
        return cuda.jit(function)
    return compiled(cuda.jit, function, max_registers=REGISTERS)


@functools.cache
def grow_trees_kernel(features: Features) -> Any:
    """The compiled kernel that grows trees with these features."""
    return compiled_kernel(grow_trees(features))


prepare_events_kernel = compiled_kernel(prepare_events)
