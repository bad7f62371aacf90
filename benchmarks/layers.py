"""What the layers of PyTorch and JAX, variable R and replayed histories cost, relative to `dj.input_gradient`.

CPU time of the process for the gradient of the mean dijet mass in all particles, one thread, the least of several rounds taken
in turn in one run. The layers take the same events, padded. The last two rows are trees without a gradient.

    OMP_NUM_THREADS=1 python benchmarks/layers.py
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import djservice as dj
from djservice.clustering.particle_order import momenta_of
from djservice.errors import JumpWarning

ROUNDS, TREES = 4, 20
SETTING: dict[str, Any] = {"trees": TREES, "seed": 1, "device": "cpu", "threads": 1}
GROWTH: dict[str, Any] = {"radius": 0.6, "rigidity": 1.0, **SETTING}


def padded(events: dj.EventBatch) -> tuple[np.ndarray, np.ndarray]:
    """Momenta, shape (event, particle, 4), and their mask."""
    mask = np.arange(events.counts.max()) < events.counts[:, np.newaxis]
    particles = np.zeros((*mask.shape, 4))
    particles[mask] = momenta_of(events)
    return particles, mask


def mass(jets: Any) -> Any:
    """Dijet mass of jets, an array of either framework."""
    total = jets.sum(-2)
    return ((total[..., 3] ** 2 - (total[..., :3] ** 2).sum(-1)) + 1e-9) ** 0.5


def with_torch(events: dj.EventBatch) -> Callable[[], Any]:
    """The gradient by the layer of PyTorch."""
    import torch

    import djservice.torch

    torch.set_num_threads(1)
    particles, mask = (torch.tensor(array) for array in padded(events))
    particles.requires_grad_()

    def work() -> None:
        particles.grad = None
        djservice.torch.expectation(mass, particles, mask, **GROWTH).sum().backward()

    return work


def with_jax(events: dj.EventBatch) -> Callable[[], Any]:
    """The gradient by the layer of JAX, compiled."""
    import jax

    import djservice.jax

    jax.config.update("jax_enable_x64", True)
    particles, mask = (jax.numpy.asarray(array) for array in padded(events))
    gradient = jax.jit(jax.grad(lambda p: djservice.jax.expectation(mass, p, mask, **GROWTH).sum()))
    return lambda: gradient(particles).block_until_ready()


def works(events: dj.EventBatch) -> dict[str, Callable[[], Any]]:
    """What is compared; the first is the unit."""
    observable = dj.observables.dijet_mass
    by_differences = dj.observables.Observable(observable.function, "dijet mass", "GeV")
    soft = dj.observables.soft_dijet_mass()
    variable = dj.VariableR(20.0, radius_min=0.2, radius_max=1.0)
    history = dj.cluster(events, history=True, **GROWTH).history
    replayed = {name: value for name, value in GROWTH.items() if name not in ("trees", "seed")}
    return {
        "dj.input_gradient": lambda: dj.input_gradient(events, observable, **GROWTH),
        "of a function without slopes": lambda: dj.input_gradient(events, by_differences, **GROWTH),
        "of soft_dijet_mass": lambda: dj.input_gradient(events, soft, **GROWTH),
        "variable R": lambda: dj.input_gradient(
            events, observable, **{**GROWTH, "radius": variable}
        ),
        "djservice.torch": with_torch(events),
        "djservice.jax": with_jax(events),
        "dj.cluster": lambda: dj.cluster(events, **GROWTH),
        "dj.replay": lambda: dj.replay(events, history, **replayed),
    }


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print milliseconds per call and ratios, for one event and for 60."""
    warnings.simplefilter("ignore", JumpWarning)
    schema = dj.schemas.nanoaod(pt_min=1.0)
    events = dj.read("example:ZHllbb_1000", schema=schema, entries=(0, 60))
    columns = []
    for batch in (events.select([0]), events):
        every = works(batch)
        for work in every.values():
            work()  # compiles
        columns.append(
            np.min([[seconds(work) for work in every.values()] for _ in range(ROUNDS)], axis=0)
        )
    print(f"{'ms of CPU per call, and ratios':32s} {'1 event':>14s} {'60 events':>16s}")
    for name, one, many in zip(every, *columns, strict=True):
        ratios = (one / columns[0][0], many / columns[1][0])
        print(f"{name:32s} {1e3 * one:7.2f} {ratios[0]:6.2f} {1e3 * many:9.2f} {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
