"""The GPU's code on the processors, in numba's simulator of CUDA. Nothing here needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(HERE)}


def test_the_kernels_in_the_simulator() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            HERE / "in_simulator.py",
            HERE / "in_simulator_on_device.py",
        ],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env=os.environ | SIMULATOR,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
