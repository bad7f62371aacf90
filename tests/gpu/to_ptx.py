"""Prints kernels as PTX for an H100, one after the other; needs numba-cuda and no GPU.

    python to_ptx.py THREADS [--lines] NAME ...

THREADS grow a tree together. With --lines each instruction has its line of Python.
"""

import sys
from types import SimpleNamespace
from typing import Any

import numba.cuda.dispatcher
from numba import cuda
from numba.cuda import types

from djservice.clustering.kernels import cuda as kernels
from djservice.clustering.kernels import cuda_constituents as of_jets
from djservice.clustering.kernels import lanes
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.leading_constituents import Histories, Summary, Work
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import Room, bounds_of

team.TEAM = int(sys.argv[1])
OLD, NEW = (7, 5), (9, 0)  # compute capabilities
# Without a driver there is no current device, which called functions are compiled for.
numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=NEW)
real, whole = types.float64, types.int64


def tuple_of(kind, *members):
    alike = len(set(members)) == 1
    return (
        types.NamedUniTuple(members[0], len(members), kind)
        if alike
        else types.NamedTuple(members, kind)
    )


def arrays(kind, *members):
    return tuple_of(kind, *(types.Array(dtype, ndim, "C") for dtype, ndim in members))


def memory(numbers, ndim):
    return arrays(
        kernels.Memory, *((dtype, ndim) for dtype in (real, types.uint16, numbers, types.uint8))
    )


batch = arrays(EventArrays, (real, 2), (whole, 1), (real, 2), (types.uint64, 1), (types.uint16, 1))
given = arrays(Imposed, (types.int32, 2), (real, 2))
results = arrays(Results, (real, 3), (types.int32, 2), *[(real, 2)] * 5)
turn = arrays(kernels.Launch, (whole, 1), (whole, 1), (types.int32, 1), (real, 4), (real, 3))
cotangents = arrays(Cotangents, (real, 3), (real, 3), (real, 1), (whole, 1), (real, 3), (real, 3))
setting = tuple_of(
    Setting, real, real, real, real, types.boolean, whole, types.boolean, types.boolean
)
room = bounds_of(Room(1, 1, 1))
room = types.NamedTuple([types.UniTuple(whole, len(part)) for part in room], kernels.Bounds)
events, teams = memory(whole, 2), memory(types.int32, 2)
able = kernels.Features(*(True for _ in kernels.Features._fields))
able = able._replace(large=False, slopes=False)
of_particles = kernels.Features(
    stops=True, replay=True, safe=True, sharp=True, wide=True, slopes=True
)
of_trees = (
    turn,
    whole,
    whole,
    whole,
    setting,
    batch,
    given,
    results,
    cotangents,
    events,
    teams,
    room,
)
small, index = types.int32, types.Array(types.int32, 2, "C")
histories = arrays(Histories, (whole, 1), (small, 2), (whole, 1), (real, 2), (small, 2))
work = arrays(Work, (small, 2), (real, 3), (small, 2))
summary = arrays(Summary, (small, 2), (real, 3), (types.uint64, 3))
codes, chosen, member = (
    types.Array(*of, "C") for of in ((types.uint64, 2), (whole, 1), (small, 1))
)
of_constituents = (whole, histories, work)


def smallest(numbers, result):
    """Kernel: the smallest of 32 numbers."""
    result[0] = lanes.smallest_natural(lanes.load(numbers, 0))


pair_of_arrays = (types.Array(real, 1, "C"), types.Array(real, 1, "C"))
#: Those of trees: with all features but the score in the particles; with this and those that go with it; with those of a run by
#: default; and with none. The first two are there for large events too. The others make events ready, and follow constituents.
KERNELS = {
    "prepare_events": (kernels.prepare_events, (real, batch, events, room)),
    "grow_trees": (kernels.grow_trees(able), of_trees),
    "grow_slopes": (kernels.grow_trees(of_particles), of_trees),
    "grow_trees_large": (kernels.grow_trees(able._replace(large=True)), of_trees),
    "grow_slopes_large": (kernels.grow_trees(of_particles._replace(large=True)), of_trees),
    "grow_usual": (kernels.grow_trees(kernels.Features(states=True, stops=True)), of_trees),
    "grow_plain": (kernels.grow_trees(kernels.Features()), of_trees),
    "summarise_jets": (of_jets.summarise_on_gpu, (*of_constituents, codes, summary)),
    "list_constituents": (of_jets.constituents_on_gpu, (*of_constituents, chosen, index)),
    "list_members": (of_jets.members_on_gpu, (*of_constituents, member)),
    "smallest": (smallest, pair_of_arrays),
    "smallest_before_ampere": (smallest, pair_of_arrays),
}


def note_lines() -> None:
    """Let functions that kernels call have their lines too."""
    dispatcher: Any = numba.cuda.dispatcher.CUDADispatcher
    compile_device = dispatcher.compile_device

    def with_lines(self, *given):
        self.targetoptions["lineinfo"] = True
        return compile_device(self, *given)

    dispatcher.compile_device = with_lines


lines = sys.argv[2] == "--lines"
if lines:
    note_lines()
for name in sys.argv[2 + lines :]:
    kernel, arguments = KERNELS[name]
    ptx, _ = cuda.compile(
        kernel, types.void(*arguments), cc=OLD if "before" in name else NEW, device=False, abi="numba",
        output="ptx", lineinfo=lines,
    )  # fmt: skip
    print(ptx)
