"""The benchmark that is to work at the first try where a GPU is at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_it_runs_to_its_end_in_the_simulator() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
    done = subprocess.run([sys.executable, script, "--simulate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert sum("'trees': 4, 'the same': 4" in line for line in lines) == 2
    table = lines.index(next(line for line in lines if line.startswith("whole trees per second")))
    numbers = [[float(word) for word in line.split()] for line in lines[table + 2 : table + 6]]
    assert [row[:2] for row in numbers] == [[5, 1], [5, 10], [6, 1], [6, 10]]
    assert all(number > 0 for row in numbers for number in row) and {
        len(row) for row in numbers
    } == {8}
    assert sum("trees alone" in line for line in lines) == 2
    assert (
        sum("not there" in line for line in lines) == 3 and "a whole run: left out" in done.stdout
    )
    results = json.loads(Path(lines[-1].split()[-1]).read_text())
    assert {
        "environment",
        "throughput",
        "gradients",
        "kernels",
        "run",
        "sanitizer",
        "variants",
        "profile",
    } <= results.keys()
