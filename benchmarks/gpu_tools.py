"""The machine of a GPU benchmark, and what NVIDIA's tools say of a program on it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from djservice.clustering.kernels import cuda
from djservice.clustering.kernels.lanes import team

#: What numba reads when it is imported.
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
SIMULATE = SIMULATOR.items() <= os.environ.items()
#: Seconds that another program may take.
LONGEST = 80
#: What Nsight Compute is asked for, and which of its lines are shown.
SECTIONS = (
    "SpeedOfLight",
    "WarpStateStats",
    "SchedulerStats",
    "MemoryWorkloadAnalysis",
    "Occupancy",
)
SHOWN = (
    "Duration",
    "Achieved Occupancy",
    "Issued Warp Per Scheduler",
    "Warp Cycles Per Issued",
    "Avg. Active Threads",
    "L1/TEX Hit Rate",
    "L2 Hit Rate",
    "DRAM Throughput",
    "being stalled",
)


def environment() -> dict[str, Any]:
    """The machine and its packages."""
    import numba

    found = {
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }
    found |= {
        "processor": processor(),
        "cores": os.cpu_count(),
        "team": team.TEAM,
        "registers": cuda.REGISTERS,
    }
    if SIMULATE:
        return found | {"gpu": "simulated"}
    import cupy
    import numba_cuda

    found |= {"cupy": cupy.__version__, "numba-cuda": numba_cuda.__version__}
    if shutil.which("nvidia-smi"):
        asked = "--query-gpu=name,driver_version,clocks.max.sm,memory.total"
        found["gpu"] = output("nvidia-smi", asked, "--format=csv,noheader").strip()
    return found


def processor() -> str:
    """The name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def output(*command: str) -> str:
    """What a command prints, its errors too."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired as end:
        return f"{end.stdout or b''!r}, stopped after {LONGEST} s"
    return done.stdout + done.stderr


def tool(name: str, *options: str, size: int) -> str:
    """What a tool of NVIDIA says of a call that grows few trees; or that it is not there."""
    if SIMULATE or shutil.which(name) is None:
        return f"{name}: not there"
    return output(name, *options, sys.executable, sys.argv[0], "--one", str(size), *sys.argv[1:])


def variants() -> dict[str, list[float]]:
    """Trees per second with other numbers of threads and registers, from a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("gpu_variants.py")), *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True)
    print(
        "\nthe kernel at alpha = 1\n"
        + (done.stdout if done.returncode == 0 else done.stderr[-2000:])
    )
    return {} if done.returncode else dict(json.loads(done.stdout.splitlines()[-1]))


def profile(sizes: tuple[int, ...]) -> dict[str, list[str]]:
    """What limits the kernel, by Nsight Compute."""
    options = [word for section in SECTIONS for word in ("--section", section)]
    options += ["--clock-control", "none", "-k", "regex:grow_trees", "-c", "1"]
    reports = {}
    for size in sizes:
        report = tool("ncu", *options, size=size)
        reports[str(size)] = [
            " ".join(line.split()) for line in report.splitlines() if any(w in line for w in SHOWN)
        ]
        print(
            f"\nn = {size}, alpha = 1, by Nsight Compute\n"
            + "\n".join(reports[str(size)] or [report[-300:]])
        )
    return reports


def sanitizer(size: int) -> dict[str, str]:
    """What compute-sanitizer says, in a line for each of its tools."""
    reports = {}
    for check in ("memcheck", "racecheck"):
        report = tool("compute-sanitizer", "--tool", check, "--report-api-errors", "no", size=size)
        said = [line for line in report.splitlines() if "SUMMARY" in line or "not there" in line]
        reports[check] = said[-1].strip("= ") if said else report[-300:]
        print(f"{check}: {reports[check]}")
    return reports
