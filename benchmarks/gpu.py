"""A GPU against the processors: the same trees, trees per second, what limits them, and how far from it they are.

Needs the extra cuda12 or cuda13 and nothing but the shipped events. It takes a few minutes, of which the first goes into
compiling. With --simulate it runs to its end in numba's simulator, on tiny events, where its numbers mean nothing. With
--team N each tree has 1, 2 or 4 threads instead of 8.

    python benchmarks/gpu.py [--simulate | --team N]
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from events import overlaid
from numba import cuda as numba_cuda

import djservice as dj
from djservice.clustering import on_gpu
from djservice.clustering.device import Gpu, gpu
from djservice.clustering.kernels import cuda
from djservice.clustering.kernels.lanes import team
from djservice.core.array_module import to_host

#: What numba reads when it is imported.
SIMULATOR = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
SIMULATE = SIMULATOR.items() <= os.environ.items()

SIZES = (5, 6) if SIMULATE else (50, 70, 140, 365)
RIGIDITIES = (1.0, 10.0)
#: Events of each size; trees of each event where CPU and GPU are compared tree by tree; seconds that a measurement may take.
EVENTS, COMPARED, SECONDS = (2, 2, 0.05) if SIMULATE else (200, 10, 3.0)
#: Threads of a multiprocessor that are tried, and the registers that each may have.
THREADS = ((1, 255), (2, 255)) if SIMULATE else ((64, 255), (128, 255), (256, 255), (384, 168), (512, 128), (640, 96))
RADIUS = 0.4


class Machine(NamedTuple):
    """What a GPU can do at best: float64 operations and bytes per second; and its multiprocessors."""

    name: str
    operations: float
    bytes: float
    multiprocessors: int


def machine() -> Machine:
    """The GPU that there is; in the simulator the numbers of an H100 (SXM)."""
    if SIMULATE:
        return Machine("simulated", 132 * 128 * 1.98e9, 3.35e12, 1)
    import cupy

    device = cupy.cuda.Device()
    name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode()
    # By CUDA's numbers: multiprocessors, kHz of their clock, kHz of the memory's, bits of its bus.
    processors, clock, memory_clock, bus = (
        cupy.cuda.runtime.deviceGetAttribute(number, device.id) for number in (16, 13, 36, 37)
    )
    # 64 fused operations a clock where float64 is at half the rate of float32, else 2.
    per_clock = 128 if device.compute_capability in ("60", "70", "80", "90", "100") else 4
    return Machine(name, processors * per_clock * 1e3 * clock, 2e3 * memory_clock * bus / 8, processors)


def shipped(number: int) -> dj.EventBatch:
    """Shipped events; in the simulator a few of their particles."""
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))
    return overlaid(events, 8, number) if SIMULATE else events.select(np.arange(number))


def same_trees(rigidity: float) -> None:
    """How many trees of both are the same, step by step, and what the others do to expectations."""
    events = shipped(EVENTS)
    setting: dict[str, Any] = {"radius": 0.7, "rigidity": rigidity, "trees": COMPARED}
    one = dj.cluster(events, **setting, seed=1, history=True, device="cpu")
    other = dj.cluster(events, **setting, seed=1, history=True, device="cuda")
    assert one.history is not None and other.history is not None
    starts = (events.offsets[:-1, np.newaxis] * COMPARED + np.arange(COMPARED) * events.counts[:, np.newaxis]).ravel()
    differs = np.add.reduceat((one.history != other.history).any(axis=1), starts) > 0
    same = ~differs.reshape(len(events), COMPARED)
    scores = np.abs(other.scores - one.scores)[same] / np.abs(one.scores).max()
    independent = dj.cluster(events, **setting, seed=2, device="cuda")
    mass = [np.nan_to_num(dj.observables.dijet_mass(trees.jets)) for trees in (one, independent)]
    error = np.sqrt(sum(m.var(axis=1, ddof=1).sum() for m in mass) / COMPARED)
    z = (mass[1].mean(axis=1) - mass[0].mean(axis=1)).sum() / error
    print(
        f"alpha {rigidity:3g}: {same.sum()} of {same.size} trees are the same ({same.mean():.5f}); their scores differ by "
        f"{scores.max():.1e} at most; mean dijet mass with other draws: z = {z:+.2f}"
    )


def seconds(work: Callable[[], object]) -> float:
    """Of doing it once."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Kernel:
    """Measures how long the GPU grows trees, which is a part of the time of a call."""

    def __init__(self) -> None:
        self.seconds = 0.0
        on_gpu._Portion._launch = self._timed(on_gpu._Portion._launch)  # type: ignore[method-assign]

    def _timed(self, launch: Callable[..., Any]) -> Callable[..., Any]:
        def timed(portion: Any, *given: Any) -> Any:
            start = time.perf_counter()
            found = launch(portion, *given)
            to_host(found[0])  # waits for the trees
            self.seconds += time.perf_counter() - start
            return found

        return timed


def rate(events: dj.EventBatch, rigidity: float, trees: int, kernel: Kernel | None = None, **how: Any) -> float:
    """Trees per second, with as many trees per event as the time allows; of the kernel alone if one is given."""
    while True:
        asked: dict[str, Any] = {"radius": RADIUS, "rigidity": rigidity, "trees": trees, "seed": 3, **how}
        before = 0.0 if kernel is None else kernel.seconds
        took = seconds(lambda asked=asked: dj.cluster(events, **asked))  # type: ignore[misc]
        if took > 0.3 * SECONDS or trees * len(events) > 4_000_000:
            return trees * len(events) / (took if kernel is None else kernel.seconds - before)
        trees = int(trees * min(8.0, SECONDS / took)) + 1


def floor(events: dj.EventBatch, rigidity: float, best: Machine) -> tuple[float, float]:
    """Trees per second if nothing but arithmetic, or nothing but memory, took time.

    Per step: 9 operations for the distance of the new sum to each live object; 27 for the exponential of each option that
    matters and 4 for its sums; and 4 float64 of each object, and 2 of each such option read and one written.
    """
    some = events.select(np.arange(min(len(events), 20)))
    trace = dj.cluster(some, radius=RADIUS, rigidity=rigidity, trees=1, trace=True, device="cpu").trace
    assert trace is not None
    options, live = trace[:, 5].sum(), sum(n * (n + 1) / 2 for n in some.counts.tolist())
    operations = (9 * live + 31 * options) / len(some)
    moved = 8 * (4 * live + 3 * options) / len(some)
    return best.operations / operations, best.bytes / moved


def occupancy(best: Machine) -> None:
    """Registers, and the warps that they leave room for: 65,536 registers and 64 warps to a multiprocessor."""
    if SIMULATE:
        print("registers, occupancy: not in the simulator")
        return
    for name, kernel in (("grow_trees", cuda.grow_trees_kernel), ("prepare_events", cuda.prepare_events_kernel)):
        for signature, registers in kernel.get_regs_per_thread().items():
            local, shared = kernel.get_local_mem_per_thread(signature), kernel.get_shared_mem_per_block(signature)
            warps = min(64, 65536 // (-(-registers * 32 // 256) * 256))
            print(
                f"{name}: {registers} registers a thread, {local} bytes of local memory, {shared} of shared memory a block: "
                f"{warps} of 64 warps, {warps * 32 * best.multiprocessors} threads at once"
            )


@contextmanager
def gpu_with(**changes: Any) -> Iterator[Gpu]:
    """Lets dj.cluster take the GPU with another setting of it."""
    found, module = gpu("cuda"), sys.modules["djservice.clustering.cluster"]
    assert found is not None
    changed = replace(found, **changes)
    module.gpu = lambda device: changed if device == "cuda" else None  # type: ignore[attr-defined]
    try:
        yield changed
    finally:
        module.gpu = gpu  # type: ignore[attr-defined]


def by_threads(events: dj.EventBatch, best: Machine, kernel: Kernel) -> None:
    """More threads hide each other's latencies, and have fewer registers and smaller shares of the caches."""
    for threads, registers in THREADS:
        if registers < 255:
            on_gpu.grow_trees_kernel = numba_cuda.jit(max_registers=registers)(cuda.grow_trees)
        dj.cluster(events.select([0]), radius=RADIUS, rigidity=1.0, device="cuda")  # compiles, which is not to be timed
        with gpu_with(threads=threads * best.multiprocessors) as other:
            found = rate(events, 1.0, max(1, other.threads // len(events)), kernel, device="cuda")
        print(f"{threads:4d} threads a multiprocessor, {registers} registers each: {found:.3g} trees/s", flush=True)
    on_gpu.grow_trees_kernel = cuda.grow_trees_kernel


def gradients(events: dj.EventBatch, trees: int) -> None:
    """Trees per second of a whole evaluation, from which sums come back; and of its trees, left on the GPU."""
    loss = dj.SquaredError(dj.observables.dijet_mass, target=125.0).where(dj.cuts.two_jets(pt_min=1.0))
    trees = max(trees, 8)
    for estimator in (dj.StateBaseline(), dj.LeaveOneOut()):
        how: dict[str, Any] = {"radius": RADIUS, "rigidity": 1.0, "trees": trees, "device": "cuda"}

        def whole(how: dict[str, Any] = how, estimator: Any = estimator) -> None:
            dj.gradient(events, loss, estimator=estimator, **how)

        def alone(how: dict[str, Any] = how, estimator: Any = estimator) -> None:
            found = dj.cluster(events, **how, states=estimator.follows, settled_pt=1.0, on_device=True)
            to_host(found.numbers[0])  # waits for them

        whole()  # compiles
        rates = [len(events) * trees / seconds(work) for work in (whole, alone)]
        print(f"{estimator.name}: {rates[0]:.3g} trees/s, without observable, loss and sums {rates[1]:.3g}")


def main() -> None:
    """Print the tables."""
    if SIMULATE:
        sys.setswitchinterval(1e-5)  # the simulator polls its threads
    best, began = machine(), time.perf_counter()
    print(f"{best.name}, against {os.cpu_count()} cores of {platform.processor() or platform.machine()}")
    first = overlaid(shipped(EVENTS), SIZES[0], 1)
    took = seconds(lambda: dj.cluster(first, radius=RADIUS, rigidity=1.0, device="cuda"))
    print(f"first call, with compiling if there is no cache: {took:.1f} s")
    dj.cluster(first, radius=RADIUS, rigidity=1.0, device="cpu")
    print(f"\nthe same {COMPARED} trees of {EVENTS} events, step by step")
    for rigidity in RIGIDITIES:
        same_trees(rigidity)
    print("\nthe compiled kernels")
    occupancy(best)

    kernel = Kernel()
    filled = (4 if SIMULATE else 256 * best.multiprocessors) // EVENTS + 1
    names = ("n", "alpha", "1 core", "all cores", "GPU call", "kernel", "/1 core", "floor: op", "bytes")
    print(f"\nwhole trees per second, R = {RADIUS}\n" + " ".join(f"{name:>9s}" for name in names))
    for size in SIZES:
        events = overlaid(shipped(EVENTS), size, EVENTS)
        for rigidity in RIGIDITIES:
            one = rate(events, rigidity, 1, threads=1, device="cpu")
            every = rate(events, rigidity, 1, device="cpu")
            call = rate(events, rigidity, filled, device="cuda")
            alone = rate(events, rigidity, filled, kernel, device="cuda")
            numbers = (one, every, call, alone, alone / one, *floor(events, rigidity, best))
            print(f"{size:9d} {rigidity:9g} " + " ".join(f"{number:9.3g}" for number in numbers), flush=True)

    for size in SIZES[1:3]:
        print(f"\nn = {size}, alpha = 1, the kernel by the number of threads")
        by_threads(overlaid(shipped(EVENTS), size, EVENTS), best, kernel)
    size = SIZES[1]
    print(f"\nn = {size}, alpha = 1, a gradient")
    gradients(overlaid(shipped(EVENTS), size, EVENTS), filled)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    if "--simulate" in sys.argv[1:] and not SIMULATE:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | SIMULATOR)
    if "--team" in sys.argv[1:]:
        team.TEAM = int(sys.argv[sys.argv.index("--team") + 1])
        on_gpu.grow_trees_kernel = cuda.grow_trees_kernel = numba_cuda.jit(cuda.grow_trees)  # not those on disk
        on_gpu.prepare_events_kernel = cuda.prepare_events_kernel = numba_cuda.jit(cuda.prepare_events)
    main()
