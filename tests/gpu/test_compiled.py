"""The kernels compiled to PTX for an H100, where numba-cuda and NVIDIA's compiler are installed (extras cuda12, cuda13).

No GPU is needed: what the simulator cannot see, types and unsupported instructions, is seen here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

COMPILE = """
from types import SimpleNamespace
import numba.cuda.dispatcher
from numba import cuda
from numba.cuda import types
from djservice.kernels import cuda as kernels, cuda_shared
from djservice.kernels.clustering import Setting
from djservice.kernels.items import Batch, Given, Results

# Without a driver there is no current device, which called functions are compiled for.
numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
real, whole = types.float64, types.int64

def tuple_of(kind, *members):
    alike = len(set(members)) == 1
    return types.NamedUniTuple(members[0], len(members), kind) if alike else types.NamedTuple(members, kind)

def arrays(kind, *members):
    return tuple_of(kind, *(types.Array(dtype, ndim, "C") for dtype, ndim in members))

def memory(numbers):
    return arrays(kernels.Memory, (real, 2), (whole, 2), (types.uint16, 2), (numbers, 2), (types.uint8, 2))

batch = arrays(Batch, (real, 2), (whole, 1), (real, 2), (types.uint64, 1))
given = arrays(Given, (types.int32, 2), (real, 2))
results = arrays(Results, (real, 3), (types.int32, 2), *[(real, 2)] * 5)
turn = arrays(kernels.Turn, (whole, 1), (types.int32, 1), (real, 4), (real, 3))
setting = tuple_of(Setting, real, real, real, real, types.boolean, whole)
room = tuple_of(kernels.Room, *[whole] * 4)
events, threads = memory(whole), memory(types.int32)
for kernel, arguments in (
    (kernels.prepare_events, (real, batch, events, room)),
    (kernels.grow_trees, (turn, whole, whole, whole, setting, batch, given, results, events, threads, room)),
    (cuda_shared.grow_in_blocks, (turn, whole, whole, whole, setting, batch, results)),
):
    ptx, _ = cuda.compile(kernel, types.void(*arguments), cc=(9, 0), device=False, abi="numba", output="ptx")
    print(ptx)
"""


def test_the_kernels_compile_to_ptx() -> None:
    pytest.importorskip("numba_cuda", reason="needs numba-cuda, which no test but this one does")
    without = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, env=without)
    assert done.returncode == 0, done.stderr[-5000:]
    kernels = re.findall(r"\.visible \.entry (\w+)\(", done.stdout)
    for name, kernel in zip(("prepare_events", "grow_trees", "grow_in_blocks"), kernels, strict=True):
        assert name in kernel
    assert done.stdout.count("fma.rn.f64") > 100  # lanes are numbers side by side, fused where the source says so
    assert "vprintf" not in done.stdout and ".extern .func" not in done.stdout
