"""The kernels compiled to PTX for an H100, and CuPy as fake_cupy.py has it: in an environment that has numba-cuda and CuPy.

No GPU is needed: what the simulator and the fake cannot see, types and unsupported instructions and what CuPy's functions
take, is seen here. An installed extra (cuda12, cuda13) is used where there is one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fake_cupy
import tools

Fetched = Callable[..., Path]

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

#: Prints the arguments of CuPy's functions and methods, and which names are its ufuncs.
ARGUMENTS = """
import inspect, json, re, sys
import cupy

functions, methods, ufuncs = json.loads(sys.argv[1])

def of_method(name):
    first = getattr(cupy.ndarray, name).__doc__.splitlines()[0]  # compiled: its signature is the first line
    return [part.split("=")[0].split()[-1].strip("*") for part in re.search(r"\\((.*)\\)", first)[1].split(", ")[1:]]

print(json.dumps([
    {name: list(inspect.signature(getattr(cupy, name)).parameters) for name in functions},
    {name: of_method(name) for name in methods},
    [name for name in ufuncs if isinstance(getattr(cupy, name), cupy.ufunc)],
    [hasattr(cupy.ndarray, "__cuda_array_interface__"), cupy.ndarray.__module__],
]))
"""


def run(code: str, fetched: Fetched, *arguments: str) -> str:
    """What code prints where CuPy and numba-cuda are installed: here, or in an environment of the tools."""
    here = all(importlib.util.find_spec(name) for name in ("cupy", "numba_cuda"))
    python = sys.executable if here else fetched(tools.program, "numba").with_name("python")
    without = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    without["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, env=without)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def test_cupy_has_what_its_fake_has(fetched: Fetched) -> None:
    asked = [list(fake_cupy.FUNCTIONS), list(fake_cupy.METHODS), fake_cupy.UFUNCS.split()]
    functions, methods, ufuncs, of_class = json.loads(run(ARGUMENTS, fetched, json.dumps(asked)))
    assert {name: " ".join(names) for name, names in functions.items()} == fake_cupy.FUNCTIONS
    assert {name: " ".join(names) for name, names in methods.items()} == fake_cupy.METHODS
    assert ufuncs == fake_cupy.UFUNCS.split()
    assert of_class == [True, "cupy"]


def test_the_kernels_compile_to_ptx(fetched: Fetched) -> None:
    ptx = run(COMPILE, fetched)
    kernels = re.findall(r"\.visible \.entry (\w+)\(", ptx)
    for name, kernel in zip(("prepare_events", "grow_trees", "grow_in_blocks"), kernels, strict=True):
        assert name in kernel
    assert ptx.count("fma.rn.f64") > 100  # lanes are numbers side by side, fused where the source says so
    assert "vprintf" not in ptx and ".extern .func" not in ptx
