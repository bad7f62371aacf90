"""How fast a GPU's kernel is with other numbers of threads to a tree, and of registers to a thread.

    python benchmarks/gpu_variants.py [--events FILE.npz] [--simulate]

Each variant is compiled by a process of its own, all at once, and then measured, one after the
other. benchmarks/gpu.py, which does this too, says where events come from.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu import Kernel, compile_one, events_of, option, rate
from gpu_tools import SIMULATE, SIMULATOR

from djservice.clustering import device
from djservice.clustering.kernels import cuda
from djservice.clustering.kernels.lanes import team

#: Threads to a tree and registers to a thread; those of djservice are first.
VARIANTS = ((1, 168),) if SIMULATE else ((32, 168), (32, 128), (32, 200), (16, 168), (8, 168))
SIZES = (6,) if SIMULATE else (70, 140, 365)
#: Registers of a multiprocessor. A warp gets them 256 at a time.
REGISTERS, AT_A_TIME = 65_536, 256


def threads_of(registers: int) -> int:
    """The threads for which a multiprocessor has registers, in blocks of 64."""
    warps = REGISTERS // (-(-registers * 32 // AT_A_TIME) * AT_A_TIME)
    return min(warps, 64) // 2 * 64


def become(threads: int, registers: int) -> device.Gpu:
    """Let this process grow trees so; returns its GPU."""
    own = device.gpu("cuda")
    assert own is not None
    per_thread = own.threads / threads_of(cuda.REGISTERS)
    team.TEAM, cuda.REGISTERS = threads, registers
    changed = own if SIMULATE else replace(own, threads=int(per_thread * threads_of(registers)))
    module: Any = importlib.import_module("djservice.clustering.cluster")
    module.gpu = lambda name: changed if name == "cuda" else None
    return changed


def rates(own: device.Gpu) -> list[float]:
    """Trees per second of the kernel, at alpha = 1, for each size."""
    batches, kernel = events_of(option("--events")), Kernel()
    found = []
    for size in SIZES:
        events = batches[str(size)]
        trees = 4 * own.threads // team.TEAM // len(events) + 1
        found.append(rate(events, 1.0, trees, kernel, device="cuda"))
    return found


def main() -> None:
    """Compile and measure all variants; the last line has the rates."""
    device.gpu("cuda")  # an error before anything starts
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for variant in VARIANTS:
            name = ",".join(map(str, variant))
            cache = Path(folder) / name
            cache.mkdir(mode=0o700)
            command = [sys.executable, __file__, *sys.argv[1:], "--variant", name]
            commands.append((name, command, os.environ | {"NUMBA_CACHE_DIR": str(cache)}))
        compiling = [
            subprocess.Popen([*command, "--compile", "plain"], env=environment)
            for _, command, environment in commands
        ]
        failed = [process.wait() for process in compiling]
        if any(failed):
            sys.exit("a variant was not compiled")
        print("threads,registers " + " ".join(f"{f'n = {size}':>10s}" for size in SIZES))
        for name, command, environment in commands:
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            results[name] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name:>17s} " + " ".join(f"{each:10.3g}" for each in results[name]), flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    if "--help" in sys.argv[1:]:
        sys.exit(__doc__)
    if "--simulate" in sys.argv[1:] and not SIMULATE:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | SIMULATOR)
    if variant := option("--variant"):
        threads, registers = map(int, variant.split(","))
        own = become(threads, registers)
        if way := option("--compile"):
            compile_one(way)
        else:
            print(json.dumps(rates(own)))
    else:
        main()
