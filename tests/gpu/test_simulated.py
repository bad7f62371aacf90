"""The GPU's code on the processors: in numba's simulator of CUDA, and compiled to PTX. Nothing here needs a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_kernels_in_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", HERE / "in_simulator.py"],
        capture_output=True,
        text=True,
        cwd=HERE.parents[1],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
