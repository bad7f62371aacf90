"""What a GPU has to do for a tree, without a GPU: a kernel for an H100 in a model of one of its multiprocessors.

Counts the instructions that a warp executes, what they are for, requests to the cache and bytes, and prints how many trees a second
each of them would leave time for if nothing else took any: bounds, by a model. Needs gcc, and fetches numba-cuda and NVIDIA's
disassembler into folders of their own if they are not installed.

    python benchmarks/warps.py [--functions] [--team N] [--registers N]
    python benchmarks/warps.py --functions --sizes 70          # one size, and which functions its instructions are of

--team N lets 8, 16 or 32 threads grow a tree instead of 32, and --registers N gives each so many.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from events import HERE, overlaid

import djservice as dj
from djservice.clustering import on_gpu
from djservice.clustering.device import Gpu
from djservice.clustering.kernels.cuda import REGISTERS
from djservice.clustering.kernels.lanes import team
from djservice.clustering.kernels.pseudojets import LARGE

sys.path += [str(HERE.parent / "tests" / folder) for folder in ("gpu", "deploy")]
import tools
from compilers import kernels_in_ptx
from machine_code import MachineCode, without_lines
from ptx_as_c import PtxKernel
from warp_model import LANES, Counts, WarpModel

#: Warps of a multiprocessor. Events of each size, of each as many trees as there are teams.
WARPS, EVENTS = 8, 2
#: An H100 (SXM): multiprocessors, clock in Hz, bytes per second of its memory; instructions and bytes a multiprocessor takes per cycle.
PROCESSORS, CLOCK, MEMORY, ISSUED, MOVED = 132, 1.755e9, 3.35e12, 4, 64
#: Functions that are listed; how often a tree executes what counts as in use.
LISTED, OFTEN = 30, 5.0


def bounds(counts: Counts, instructions: float) -> dict[str, float]:
    """Trees per second if nothing but this took time."""
    cycles = {
        "issue": instructions / ISSUED,
        "L1": counts.lines,
        "L2": counts.moved / MOVED,
        "memory": (counts.from_memory + counts.to_memory) / (MEMORY / PROCESSORS / CLOCK),
    }
    return {name: PROCESSORS * CLOCK / each for name, each in cycles.items()}


def counted(
    ptx: dict[str, str], sizes: Sequence[int], rigidities: Sequence[float], warps: int = WARPS
) -> Iterator[tuple[int, float, WarpModel]]:
    """Of trees of events of each size at each rigidity; they are compared with the processors'.

    From then on djservice takes the model for its GPU.
    """
    shipped = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))
    threads = warps * LANES
    gpu = Gpu(np, threads=threads, block=threads, free=lambda: 2**36)
    module: Any = importlib.import_module(
        "djservice.clustering.cluster"
    )  # the name is that of a function too
    module.gpu = lambda device: gpu if device == "cuda" else None
    kernels: Any = on_gpu
    with tempfile.TemporaryDirectory() as folder:
        kernels.grow_trees_kernel = lambda features: model
        kernels.prepare_events_kernel = PtxKernel(
            without_lines(ptx["prepare_events"]), Path(folder), "prepare_events"
        )
        model = WarpModel(without_lines(ptx["grow_plain"]), Path(folder), "grow_plain", warps)
        for size, rigidity in itertools.product(sizes, rigidities):
            how: dict[str, Any] = {
                "radius": 0.4,
                "rigidity": rigidity,
                "trees": threads // team.TEAM,
                "seed": 3,
            }
            found, wanted = (
                dj.cluster(overlaid(shipped, size, EVENTS), **how, device=device)
                for device in ("cuda", "cpu")
            )
            np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-9, atol=1e-9)
            assert model.counts is not None
            yield size, rigidity, model


def report(code: MachineCode, size: int, rigidity: float, model: WarpModel) -> str:
    """What a tree takes: a line of the table, and what its instructions are for."""
    counts = model.counts
    assert counts is not None
    kinds = code.counts(model.executed)
    total, memory = sum(kinds.values()), (counts.from_memory + counts.to_memory) / 1e3
    most = ", ".join(f"{name} {value:.2g}" for name, value in bounds(counts, total).items())
    shares = ", ".join(f"{name} {100 * each / total:.0f} %" for name, each in kinds.most_common(6))
    return (
        f"{size:4d} {rigidity:5g} {total:12.0f} {counts.used:5.2f} {code.in_use(model.executed, OFTEN) / 1e3:6.0f} "
        f"{counts.requests:8.0f} {counts.lines:8.0f} {memory:9.0f}   {most}\n           {shares}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--team", type=int, choices=(8, 16, 32), default=team.TEAM)
    parser.add_argument("--registers", type=int, default=REGISTERS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 70, 140, 365])
    asked = parser.parse_args()
    if max(asked.sizes) >= LARGE:
        parser.error(f"sizes are below {LARGE}: larger events have a kernel of their own")
    team.TEAM = asked.team
    here = all(importlib.util.find_spec(name) for name in ("cupy", "numba_cuda"))
    python = Path(sys.executable) if here else tools.program("numba").with_name("python")
    names = ("prepare_events", "grow_plain")
    ptx = kernels_in_ptx(python, names, team.TEAM, lines=asked.functions)
    with tempfile.TemporaryDirectory() as folder:
        code = MachineCode(ptx["grow_plain"], Path(folder), asked.registers)
    print(f"{code.size / 1e3:.0f} kB of instructions, {code.stack} bytes of registers in memory")
    print("   n alpha instructions  used kB used requests    lines kB memory   trees/s at most by")
    for size, rigidity, model in counted(ptx, asked.sizes, (1.0, 10.0)):
        print(report(code, size, rigidity, model), flush=True)
        if asked.functions:
            functions = code.functions(model.executed)
            total = sum(functions.values())
            for name, each in functions.most_common(LISTED):
                print(f"{100 * each / total:12.1f} % {name}")


if __name__ == "__main__":
    main()
