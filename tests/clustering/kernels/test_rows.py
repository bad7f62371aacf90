"""Rows of pairs, where kernels are Python: there even small events have some."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_rows_of_few_pairs() -> None:
    tests = HERE.parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", HERE / "uncompiled_rows.py"],
        capture_output=True,
        text=True,
        cwd=HERE.parents[2],
        env=os.environ
        | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(map(str, (tests / "gpu", tests / "clustering", tests.parent)))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
