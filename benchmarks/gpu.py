"""A GPU against the processors beside it: the same trees, trees per second, what limits them.

One command measures everything and takes about five minutes, a third of it for compiling. What a
machine lacks is left out by name: the package uproot (--events), those of a whole run, Nsight
Compute (ncu), compute-sanitizer. With --simulate it runs to its end in numba's simulator, on tiny
events, where its numbers mean nothing.

    python benchmarks/gpu.py [--events FILE.npz] [--output FOLDER] [--simulate]
    python benchmarks/gpu.py --write-events FILE.npz [LARGE.root]

The second form, on a machine that reads ROOT files, writes the events that the first needs; those of
LARGE.root become its largest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from events import overlaid
from gpu_tools import SIMULATE, SIMULATOR, environment, output, profile, sanitizer, variants

import djservice as dj
from djservice.clustering import on_gpu
from djservice.clustering.device import gpu
from djservice.clustering.kernels import cuda
from djservice.clustering.kernels.lanes import team
from djservice.core.array_module import to_host

SIZES = (5, 6) if SIMULATE else (50, 70, 140, 365, 1800)
RIGIDITIES = (1.0, 10.0)
#: Events of each size; trees of each event that are compared one by one; seconds for a measurement.
EVENTS, COMPARED, SECONDS = (2, 2, 0.05) if SIMULATE else (200, 10, 0.6)
RADIUS = 0.4
COLUMNS = ("pt", "rapidity", "phi", "mass")
LOSS = dj.SquaredError(dj.observables.dijet_mass, target=125.0).where(dj.cuts.two_jets(pt_min=1.0))
#: Every kernel that is measured, by a call that needs it: compiled at once, in a process for each.
COMPILED: dict[str, dict[str, Any]] = {
    "cpu": {"device": "cpu"},
    "plain": {"device": "cuda"},
    "histories": {"device": "cuda", "history": True},
    "states": {"device": "cuda", "states": True, "settled_pt": 1.0},
    "stopping": {"device": "cuda", "settled_pt": 1.0},
}


def write_events(path: str, large: str | None) -> None:
    """Events of every size, as arrays that need no package to be read."""
    shipped = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5))
    batches = {"real": shipped} | {
        str(size): overlaid(shipped, size, EVENTS) for size in SIZES[:-1]
    }
    batches[str(SIZES[-1])] = overlaid(dj.read(large) if large else shipped, SIZES[-1], 20)
    columns = {
        f"{name} {field}": getattr(batch, field)
        for name, batch in batches.items()
        for field in COLUMNS
    }
    offsets = {f"{name} offsets": batch.offsets for name, batch in batches.items()}
    np.savez_compressed(path, **columns, **offsets)


def events_of(path: str | None) -> dict[str, dj.EventBatch]:
    """The events by size, and the real ones; in the simulator a few of their particles."""
    if path is None:
        path = str(Path(tempfile.mkdtemp()) / "events.npz")
        write_events(path, None)
    arrays = np.load(path)
    return {
        name: dj.EventBatch.from_arrays(
            **{field: arrays[f"{name} {field}"] for field in (*COLUMNS, "offsets")}
        )
        for name in (word.removesuffix(" pt") for word in arrays.files if word.endswith(" pt"))
    }


def compile_all() -> float:
    """Compile the kernels, each in a process of its own, into numba's cache; returns the seconds."""

    def compiling() -> None:
        command = [sys.executable, __file__, "--compile"]
        processes = [
            subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in COMPILED
        ]
        failed = [name for name, process in zip(COMPILED, processes, strict=True) if process.wait()]
        if failed:
            sys.exit(f"not compiled: {', '.join(failed)}")

    return 0.0 if SIMULATE else seconds(compiling)


def compile_one(way: str) -> None:
    """Compile the kernel of a name, by a call that needs it."""
    tiny = dj.EventBatch.from_arrays(
        **{name: [1.0, 2.0] for name in COLUMNS[:3]}, mass=[0.0, 0.0], offsets=[0, 2]
    )
    dj.cluster(tiny, radius=RADIUS, rigidity=1.0, **COMPILED[way])


def same_trees(events: dj.EventBatch, rigidity: float) -> dict[str, Any]:
    """How many trees are those of the processors, and what the others do to expectations."""
    how: dict[str, Any] = {"radius": 0.7, "rigidity": rigidity, "trees": COMPARED}
    one, other, again = (
        dj.cluster(events, **how, seed=1, history=True, device=device)
        for device in ("cpu", "cuda", "cuda")
    )
    assert one.history is not None and other.history is not None and again.history is not None
    starts = (
        events.offsets[:-1, np.newaxis] * COMPARED
        + np.arange(COMPARED) * events.counts[:, np.newaxis]
    ).ravel()
    differs = np.add.reduceat((one.history != other.history).any(axis=1), starts) > 0
    same = ~differs.reshape(len(events), COMPARED)
    independent = dj.cluster(events, **how, seed=2, device="cuda")
    mass = [pair_mass(trees.momenta) for trees in (one, independent)]
    error = np.sqrt(sum(m.var(axis=1, ddof=1).sum() for m in mass) / COMPARED)
    return {
        "trees": int(same.size),
        "the same": int(same.sum()),
        "scores differ by": float(
            np.abs(other.scores - one.scores)[same].max() / np.abs(one.scores).max()
        ),
        "z of the mass with other draws": float(
            (mass[1].mean(axis=1) - mass[0].mean(axis=1)).sum() / error
        ),
        "same bits twice": all(
            np.array_equal(a, b)
            for a, b in (
                (other.scores, again.scores),
                (other.momenta, again.momenta),
                (other.history, again.history),
            )
        ),
    }


def pair_mass(momenta: Any) -> Any:
    """Mass of both leading jets; 0 where there are none."""
    px, py, pz, e = np.moveaxis(np.nan_to_num(momenta).sum(axis=2), -1, 0)
    return np.sqrt(np.maximum(e * e - px * px - py * py - pz * pz, 0.0))


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
            result = launch(portion, *given)
            to_host(result[0])  # waits for the trees
            self.seconds += time.perf_counter() - start
            return result

        return timed


def rate(
    events: dj.EventBatch, rigidity: float, trees: int, kernel: Kernel | None = None, **how: Any
) -> float:
    """Trees per second, with as many trees of each event as the time allows; of the kernel if given."""
    while True:
        asked: dict[str, Any] = {
            "radius": RADIUS,
            "rigidity": rigidity,
            "trees": trees,
            "seed": 3,
            **how,
        }
        before = 0.0 if kernel is None else kernel.seconds
        took = seconds(lambda asked=asked: dj.cluster(events, **asked))  # type: ignore[misc]
        if took > 0.4 * SECONDS or trees * len(events) > 2_000_000:
            return trees * len(events) / (took if kernel is None else kernel.seconds - before)
        trees = int(trees * min(8.0, SECONDS / took)) + 1


def throughput(batches: dict[str, dj.EventBatch], filled: int) -> list[dict[str, float]]:
    """Whole trees per second of one core, of all of them and of the GPU, by size and rigidity."""
    kernel, rows = Kernel(), []
    names = ("n", "alpha", "1 core", "all cores", "GPU call", "kernel", "/1 core", "/all cores")
    print(f"\nwhole trees per second, R = {RADIUS}\n" + " ".join(f"{name:>10s}" for name in names))
    for size in SIZES:
        events = batches[str(size)]
        some = events.select(np.arange(max(2, min(len(events), 20_000 // size))))  # for one core
        for rigidity in RIGIDITIES:
            one = rate(some, rigidity, 1, threads=1, device="cpu")
            every = rate(events, rigidity, 1, device="cpu")
            start = filled // len(events) + 1
            call = rate(events, rigidity, start, device="cuda")
            alone = rate(events, rigidity, start, kernel, device="cuda")
            numbers = (size, rigidity, one, every, call, alone, alone / one, alone / every)
            rows.append(dict(zip(names, numbers, strict=True)))
            print(" ".join(f"{number:10.3g}" for number in numbers), flush=True)
    return rows


def compiled() -> list[str]:
    """Registers and stack of the kernels, and the warps that these leave room for."""
    if SIMULATE:
        print("registers: not in the simulator")
        return []
    able = [cuda.Features(), cuda.Features(records=True), cuda.Features(states=True, stops=True)]
    kernels = {"prepare": cuda.prepare_events_kernel} | {
        str(f): cuda.grow_trees_kernel(f) for f in able
    }
    lines = []
    for name, kernel in kernels.items():
        stacks = kernel.get_local_mem_per_thread()
        for signature, registers in kernel.get_regs_per_thread().items():
            warps, stack = min(64, 65536 // (-(-registers * 32 // 256) * 256)), stacks[signature]
            lines.append(
                f"{registers} registers, {stack} bytes of stack, room for {warps} of 64 warps: {name}"
            )
    print("\n" + "\n".join(lines), flush=True)
    return lines


def gradients(events: dj.EventBatch, trees: int) -> list[dict[str, Any]]:
    """Trees per second of a whole gradient; and of its trees alone, left on the GPU."""
    print(f"\nn = {SIZES[1]}, alpha = 1, a gradient")
    rows = []
    for estimator in (dj.StateBaseline(), dj.LeaveOneOut()):
        how: dict[str, Any] = {
            "radius": RADIUS,
            "rigidity": 1.0,
            "trees": max(trees, 8),
            "device": "cuda",
        }

        def whole(how: dict[str, Any] = how, estimator: Any = estimator) -> None:
            dj.gradient(events, LOSS, estimator=estimator, **how)

        def alone(how: dict[str, Any] = how, estimator: Any = estimator) -> None:
            sample = dj.cluster(
                events, **how, states=estimator.uses_states, settled_pt=1.0, on_device=True
            )
            to_host(sample.numbers[0])  # waits for them

        def one_core(estimator: Any = estimator) -> None:
            some = {"radius": RADIUS, "rigidity": 1.0, "trees": 8, "device": "cpu", "threads": 1}
            dj.gradient(events, LOSS, estimator=estimator, **some)

        whole()  # compiles what CuPy does
        one_core()
        rates = [
            len(events) * how["trees"] / min(seconds(work), seconds(work))
            for work in (whole, alone)
        ]
        core = len(events) * 8 / seconds(one_core)
        rows.append(
            {
                "estimator": estimator.name,
                "whole": rates[0],
                "trees alone": rates[1],
                "1 core": core,
            }
        )
        print(
            f"{estimator.name}: {rates[0]:.3g} trees/s, {rates[0] / core:.0f} times one core ({core:.3g}); "
            f"trees alone {rates[1]:.3g}"
        )
    return rows


def whole_run(trees: int) -> dict[str, Any]:
    """A run with a worker for the GPU, and with the processors: seconds and R, each in a process of its own."""
    lacking = [
        name
        for name in ("zarr", "uproot", "distributed", "dask_cuda", "pydantic")
        if not find_spec(name)
    ]
    if SIMULATE or lacking:
        print(f"a whole run: left out, for lack of {', '.join(lacking) or 'a GPU'}")
        return {"left out": lacking}
    results = {}
    for device in ("cuda", "cpu"):
        said = output(sys.executable, __file__, "--run", device, "--trees", str(trees))
        results[device] = said.strip().splitlines()[-1] if said.strip() else "nothing"
        print(f"a run on {device}: {results[device]}", flush=True)
    return results


def run_once(device: str, trees: int) -> None:
    """20 iterations over the shipped events, and what they took."""
    squared = {"kind": "squared_error", "observable": "dijet_mass", "target": 125.0, "scale": 125.0}
    cuts = [{"name": "two_jets", "pt_min": 20.0}, {"name": "mass_below", "maximum": 250.0}]
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "input": {"files": "example:ZHllbb_1000", "pt_min": 0.5},
            "radius": {"start": 1.0, "minimum": 0.1, "maximum": 2.0},
            "loss": {**squared, "cuts": cuts},
            "optimiser": {"kind": "adam", "learning_rate": 0.05, "iterations": 20, "trees": trees},
            "cluster": {"device": device},
            "seed": 1,
            "output": {"store": f"{folder}/run.zarr"},
        }
        fit, start = None, time.perf_counter()
        for store in ("compiles", "run"):  # the second time is what counts
            config["output"] = {"store": f"{folder}/{store}.zarr"}
            start = time.perf_counter()
            fit = dj.run(dj.Run.from_dict(config))
        assert fit is not None
        took = time.perf_counter() - start
        print(
            f"20 iterations, 1,000 events, {trees} trees of each: {took:.1f} s, R = {fit.radius:.4f}"
        )


def few_trees(events: dj.EventBatch) -> None:
    """A call for the tools."""
    dj.cluster(
        events.select(np.arange(min(len(events), 20))),
        radius=RADIUS,
        rigidity=1.0,
        trees=80,
        device="cuda",
    )


def main() -> None:
    """Measure, print, and write ``gpu.json``."""
    if SIMULATE:
        sys.setswitchinterval(1e-5)  # the simulator polls its threads
    began, results = time.perf_counter(), {"environment": environment()}
    batches, there = events_of(option("--events")), gpu("cuda")
    assert there is not None
    real, middle = batches["real"], batches[str(SIZES[1])]
    if SIMULATE:
        real = overlaid(real, 8, EVENTS)
    filled = 4 * there.threads // team.TEAM
    print(json.dumps(results["environment"], indent=1))
    results["compiling"] = compile_all()
    print(f"compiling {len(COMPILED)} kernels at once: {results['compiling']:.0f} s", flush=True)
    print(f"\nthe same {COMPARED} trees of {len(real)} events, step by step")
    for rigidity in RIGIDITIES:
        results[f"same trees, alpha {rigidity:g}"] = same = same_trees(real, rigidity)
        print(f"alpha {rigidity:g}: {same}", flush=True)
    parts: dict[str, Callable[[], Any]] = {
        "throughput": lambda: throughput(batches, filled),
        "gradients": lambda: gradients(middle, 5 * filled // len(middle) + 1),
        "kernels": compiled,
        "run": lambda: whole_run(50),
        "variants": variants,
        "sanitizer": lambda: sanitizer(SIZES[0]),
        "profile": lambda: profile(SIZES[1:4:2]),
    }
    folder = Path(option("--output") or tempfile.mkdtemp())
    for name, part in parts.items():
        results[name] = part()
        results["seconds"] = time.perf_counter() - began
        (folder / "gpu.json").write_text(json.dumps(results, indent=1))
    print(f"\n{results['seconds']:.0f} s; all numbers are in {folder / 'gpu.json'}")


def option(name: str) -> str | None:
    """What follows a word of the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv[1:] else None


if __name__ == "__main__":
    if "--help" in sys.argv[1:]:
        sys.exit(__doc__)
    if "--simulate" in sys.argv[1:] and not SIMULATE:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | SIMULATOR)
    if path := option("--write-events"):
        rest = sys.argv[sys.argv.index(path) + 1 :]
        write_events(path, rest[0] if rest else None)
    elif way := option("--compile"):
        compile_one(way)
    elif device := option("--run"):
        run_once(device, int(option("--trees") or 100))
    elif size := option("--one"):
        few_trees(events_of(option("--events"))[size])
    else:
        main()
