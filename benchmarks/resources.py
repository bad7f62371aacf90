"""Compile time, start from numba's cache, memory and thread scaling of the kernel.

python benchmarks/resources.py
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from events import classes

import djservice as dj

FIRST_CALL = """
import time
start = time.perf_counter()
import djservice as dj
event = dj.EventBatch.from_arrays(pt=[3.0, 2.0], rapidity=[0.0, 1.0], phi=[0.0, 1.0], mass=[0.0, 0.0], offsets=[0, 2])
middle = time.perf_counter()
import djservice.clustering.kernels.cpu
loaded = time.perf_counter()
dj.cluster(event, radius=0.4, rigidity=1.0, threads=1)
print(middle - start, loaded - middle, time.perf_counter() - loaded)
"""


def first_call(cache: str) -> list[float]:
    """Seconds of importing the package, the kernels, and the first call, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Print the numbers."""
    with tempfile.TemporaryDirectory() as cache:
        print("seconds for: import of djservice, of the kernels, first call")
        print("  without a cache  {:.2f} {:.2f} {:.2f}".format(*first_call(cache)))
        print(
            "  with numba's     {:.2f} {:.2f} {:.2f}".format(
                *np.min([first_call(cache) for _ in range(3)], axis=0)
            )
        )

    for name, events in classes().items():
        trees = 20 if name == "ZH full" else 200
        ratios = []
        for _ in range(5):
            walls = []
            for threads in (1, 2):
                start = time.perf_counter()
                dj.cluster(events, radius=0.4, rigidity=1.0, trees=trees, threads=threads)
                walls.append(time.perf_counter() - start)
            ratios.append(walls[0] / walls[1])
        print(
            f"two threads against one, wall, {name}: {np.median(ratios):.2f} (of {min(ratios):.2f} to {max(ratios):.2f})"
        )

    event = classes()["ZH pT > 1 GeV"].select([0])
    sizes = []
    for _ in range(10):
        for seed in range(10):
            dj.cluster(event, radius=0.4, rigidity=1.0, trees=10_000, seed=seed, threads=1)
        with open("/proc/self/statm") as file:
            sizes.append(int(file.read().split()[1]) * resource.getpagesize() / 1e6)
    print(
        "resident MB after each 100,000 of 1,000,000 trees:",
        " ".join(f"{size:.1f}" for size in sizes),
    )


if __name__ == "__main__":
    main()
