"""Prints kernels as PTX for an H100, one after the other, for teams of so many threads; needs numba-cuda and no GPU.

That which makes events ready; that of trees with all features but the score in the particles; with this and those that go with it;
with those of a run by default; and with none. Then those of constituents.
"""

import sys
from types import SimpleNamespace

import numba.cuda.dispatcher
from numba import cuda
from numba.cuda import types

from djservice.clustering.kernels import cuda as kernels
from djservice.clustering.kernels import cuda_constituents as of_jets
from djservice.clustering.kernels.grow import EventArrays, Imposed, Results
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.leading_constituents import Histories, Summary, Work
from djservice.clustering.kernels.sweep import Cotangents
from djservice.clustering.kernels.tree import Setting
from djservice.clustering.kernels.workspace import Room, bounds_of

team.TEAM = int(sys.argv[1])
# Without a driver there is no current device, which called functions are compiled for.
numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
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
able = kernels.Features(*(True for _ in kernels.Features._fields))._replace(slopes=False)
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
for kernel, arguments in (
    (kernels.prepare_events, (real, batch, events, room)),
    (kernels.grow_trees(able), of_trees),
    (kernels.grow_trees(of_particles), of_trees),
    (kernels.grow_trees(kernels.Features(states=True, stops=True)), of_trees),
    (kernels.grow_trees(kernels.Features()), of_trees),
    (of_jets.summarise_on_gpu, (*of_constituents, codes, summary)),
    (of_jets.constituents_on_gpu, (*of_constituents, chosen, index)),
    (of_jets.members_on_gpu, (*of_constituents, member)),
):
    ptx, _ = cuda.compile(
        kernel, types.void(*arguments), cc=(9, 0), device=False, abi="numba", output="ptx"
    )
    print(ptx)
