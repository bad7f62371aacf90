"""What a GPU has to do for a tree, without a GPU: the kernel's PTX for an H100 in a model of one of its multiprocessors.

Counts instructions, requests to the cache and bytes, and prints how many trees a second each of them would leave time for if nothing
else took any: bounds, by a model. Needs gcc, and fetches numba-cuda into an environment of its own if it is not installed.

    python benchmarks/warps.py [THREADS]

THREADS is how many grow a tree together, by default as many as do.
"""

from __future__ import annotations

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
from djservice.clustering.kernels.lanes import team

sys.path += [str(HERE.parent / "tests" / folder) for folder in ("gpu", "deploy")]
import tools
from compilers import kernels_in_ptx
from ptx_as_c import PtxKernel
from warp_model import LANES, Counts, WarpModel

#: Warps of a multiprocessor: 255 registers a thread leave room for 8. Events of each size, of each as many trees as there are teams.
WARPS, EVENTS = 8, 2
#: An H100 (SXM): multiprocessors, clock in Hz, bytes per second of its memory; instructions and bytes a multiprocessor takes per cycle.
PROCESSORS, CLOCK, MEMORY, ISSUED, MOVED = 132, 1.755e9, 3.35e12, 4, 64


def bounds(counts: Counts) -> dict[str, float]:
    """Trees per second if nothing but this took time."""
    cycles = {
        "issue": (counts.issued + counts.wide) / ISSUED,
        "L1": counts.lines,
        "L2": counts.moved / MOVED,
        "memory": (counts.from_memory + counts.to_memory) / (MEMORY / PROCESSORS / CLOCK),
    }
    return {name: PROCESSORS * CLOCK / each for name, each in cycles.items()}


def counted(
    ptx: dict[str, str], sizes: Sequence[int], rigidities: Sequence[float], warps: int = WARPS
) -> Iterator[tuple[int, float, Counts]]:
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
            ptx["prepare_events"], Path(folder), "prepare_events"
        )
        model = WarpModel(ptx["grow_plain"], Path(folder), "grow_plain", warps)
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
            yield size, rigidity, model.counts


def main() -> None:
    """Print the table."""
    team.TEAM = int(sys.argv[1]) if len(sys.argv) > 1 else team.TEAM
    here = all(importlib.util.find_spec(name) for name in ("cupy", "numba_cuda"))
    ptx = kernels_in_ptx(
        Path(sys.executable) if here else tools.program("numba").with_name("python"), team.TEAM
    )
    print("   n alpha   issued  used requests    lines kB memory   trees/s at most by")
    for size, rigidity, counts in counted(ptx, (50, 70, 140, 365), (1.0, 10.0)):
        memory = (counts.from_memory + counts.to_memory) / 1e3
        most = ", ".join(f"{name} {value:.2g}" for name, value in bounds(counts).items())
        print(
            f"{size:4d} {rigidity:5g} {counts.issued:8.0f} {counts.used:5.2f} {counts.requests:8.0f} {counts.lines:8.0f} "
            f"{memory:9.0f}   {most}",
            flush=True,
        )


if __name__ == "__main__":
    main()
