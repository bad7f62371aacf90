"""Stores of every task that are made in a second, and what damages their files."""

import asyncio
import io
import itertools
import json
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import DjserviceError
from djservice.evaluation.joint_gradient import JointEvents
from djservice.evaluation.moments import Histogram, Quantity
from djservice.evaluation.reduce import PerEvent
from djservice.fit.joint_fit import JointFit, JointSample
from djservice.fit.model_fit import ModelFit, Sample
from djservice.fit.per_event import PerEventRadii
from djservice.fit.plan import RunPlan
from djservice.fit.radius_fit import RadiusFit, spectrum_radii
from djservice.fit.requests import Request
from djservice.fit.weights_fit import WeightSample, WeightsFit
from djservice.store.columns import StoreColumns
from djservice.store.run_store import Store

KEYS = np.arange(12, dtype=np.uint64) * np.uint64(2**60)
LABELS = np.arange(12) % 2
#: The requests at which the store of a run is copied as that of a running one: their stream and number.
REQUESTS = {
    "global": ("train-2", "scan-1", "newton-1", "spectrum-1"),
    "per-event": ("per-event-choose-0",),
    "radius-model": ("model-0", "model-2"),
    "particle-weights": ("weights-0", "weights-2"),
    "joint": ("joint-0", "joint-2", "error-joint-2"),
    "objective": ("spectrum-1", "held-back-0"),
    "robust": ("scan-2", "newton-0"),
}
#: Sections of runs that share their task with others. An objective stands in the place of a loss.
SECTIONS = {
    "objective": {"objective": {"kind": "mutual_information", "bins": [4, 2], "held_back": 0.3}},
    "robust": {"robust": {"augmentations": ["split"]}},
}
Content = dict[str, Any]
Damage = Callable[[Path, random.Random], None]
Act = Callable[[Request], object]
#: Seed of the sample of damages in the long tests, or "all": every file of every store, which takes most of a day.
SAMPLE = os.environ.get("DAMAGE_SAMPLE", "1")


class Stopped(DjserviceError):
    """The end of a run that is stopped by the test."""


def settings(task: str, iterations: int = 5) -> Run:
    model = {"iterations": 3, "features": ["leading_pt"], "batch_events": 4}
    sections = SECTIONS.get(task, {})
    return Run.from_dict(
        {
            "task": "global" if sections else task,
            "input": {"files": "a"}
            | ({"truth": "GenPart:higgs"} if "objective" in sections else {}),
            **({} if "objective" in sections else {"loss": {"target": 125.0}}),
            **sections,
            "optimiser": {"iterations": iterations, "batch_events": 4},
            "scan": {"radii": [0.5, 0.7, 0.9, 1.1]},
            "spectrum": {"radii": [0.65]},
            "radius_model": model,
            "particle_weights": model | {"features": ["log_pt"]},
            "joint": {
                "network": {"name": "moment_efn", "particle_layers": [2], "jet_layers": [2]},
                "classes": [1.0, 0.0],
                "held_back": 0.5,
                "iterations": 3,
                "batch_events": 4,
            },
            "output": {"store": "s.zarr"},
        }
    )


def numbers(request: Request, key: int) -> Any:
    """Numbers that look drawn, and are a function of the request."""
    radius = request.radius
    at = radius if isinstance(radius, float) else float(np.sum(getattr(radius, "theta", radius)))
    if request.network is not None:
        at += float(request.network.theta.sum())
    seed = [int(abs(at) * 1e12), request.iteration, len(request.stream), key]
    return np.random.default_rng(seed).normal(0.0, 0.05, 40)


def answer(request: Request, parameters: int) -> Any:
    """Moments and results per event as the bundles would give them."""
    drawn = numbers(request, 0)
    loss = Quantity(0.1 + drawn[0] ** 2, 0.01, 0.01)
    if isinstance(request.radius, float):
        loss = Quantity((request.radius - 0.7) ** 2 + 0.1 * abs(drawn[0]), 0.01, 0.01)
    gradients = [Quantity(value, 0.02, 0.01) for value in drawn[1 : 1 + parameters]]
    if request.stream in ("scan", "newton"):  # so that there are several Newton steps
        slope = 2.0 * (request.radius - 0.7)
        gradients[0] = Quantity(slope + drawn[1] / 10.0, 0.002, 0.001)
    bins = np.abs(numbers(request, 6)[:8].reshape(2, 4))
    moments = SimpleNamespace(
        layout=SimpleNamespace(versions=2),
        loss_along=lambda factors: Quantity(loss.value + 0.1 * factors[-1], 0.01, 0.01),
        gradient_along=lambda factors: Quantity(gradients[0].value + factors[-1], 0.02, 0.01),
        histogram=lambda: Histogram(bins, bins / 10.0, np.arange(4)),
        bootstrap_error=lambda: 0.1 + drawn[5],
        rescaled=lambda _: moments,
        loss=lambda: loss,
        gradient=lambda: gradients[0],
        gradients=lambda: gradients,
        mean=lambda: Quantity(120.0 + drawn[2], 0.1, 0.1),
        sd=lambda: Quantity(30.0 + drawn[3], 0.1, 0.1),
        acceptance=0.9 + drawn[4] / 10,
        trees=40,
        events=12,
        state_share=6.0,
    )
    events = 12 if request.subset is None else int(np.sum(request.subset.of(KEYS)))
    columns = [numbers(request, key)[:events] for key in (1, 2, 3, 4, 5, 7)]
    accepted = np.arange(events)
    return moments, PerEvent(columns[0], columns[1], accepted, *columns[2:])


def run_store(path: Path | str, task: str, iterations: int = 5, act: Act = lambda _: None) -> None:
    """Do or continue a run without a cluster; the act comes before each request is answered."""
    run, watch = settings(task, iterations), Lines(io.StringIO())

    async def evaluate(request: Request) -> Any:
        act(request)
        if request.in_weights is not None and request.weights is not None:
            return answer(request, 1 + len(request.weights.theta))
        theta = getattr(request.radius, "theta", None)
        return answer(request, 1 if theta is None else len(theta))

    async def joint(request: Request) -> Any:
        """As many gradients as parameters, and a probability of each event in place of its mean."""
        assert request.network is not None
        act(request)
        asked_at = replace(request, per_event=False)
        drawn = numbers(asked_at, 10)
        slopes = [Quantity(x, 0.02, 0.01) for x in np.resize(drawn, 1 + len(request.network.theta))]
        sums = answer(asked_at, 1)[0]
        sums.gradients = lambda: slopes
        sums.slopes, sums.total = np.array([slope.value for slope in slopes[1:]]), np.ones(3)
        events = len(KEYS) if request.subset is None else int(np.sum(request.subset.of(KEYS)))
        probability = 0.5 + numbers(request, 11)[:events]
        return sums, JointEvents(probability, probability, probability)

    async def slopes(request: Request) -> Any:
        return (await evaluate(request))[0]

    async def profile(request: Request) -> Any:
        return numbers(request, 9)[:24].reshape(1, 8, 3)

    async def fit_events(radius: float, done: int) -> AsyncIterator[PerEventRadii]:
        for first in range(0, 12, 6):
            if first >= done:
                radii = radius + np.arange(first, first + 6) / 100
                left = np.arange(6) == 2
                yield PerEventRadii(radii, left, np.stack([radii] * 3, axis=1), ~left)

    features = np.random.default_rng(1).normal(size=(12, 1))
    model: ModelFit | WeightsFit | JointFit | None = None
    if task == "joint":
        model = JointFit(RunPlan(run), JointSample(joint, KEYS, np.ones(12), LABELS), watch)
    if task == "particle-weights":
        every = (KEYS, np.ones(12), np.full(12, 125.0))
        model = WeightsFit(RunPlan(run), WeightSample(evaluate, slopes, profile, *every), watch)
    if task == "radius-model":
        sample = Sample(evaluate, KEYS, np.ones(12), np.full(12, 125.0), features)
        model = ModelFit(RunPlan(run), sample, {}, watch)
    shape = StoreColumns(
        iterations,
        run.scan.radii,
        len(spectrum_radii(run, np.nan)),
        KEYS,
        np.linspace(0.5, 1.5, 12),
        starts=run.per_event.starts if task == "per-event" else (),
        model=None if model is None else model.shape,
        histogram=(2, 4) if run.objective is not None else None,
        versions=1 + len(run.robust.augmentations),
    )
    facts = {"run": run.to_dict(), "observable": {"name": "mass", "units": "GeV"}, "inputs": []}
    with Store.open(path, facts, run.numbers, shape) as store:
        fit_model = None if model is None else model.run_to_completion
        fit = RadiusFit(run, KEYS, evaluate, store, watch, fit_events, fit_model)
        asyncio.run(fit.run_to_completion())


def content(path: Path | str) -> Content:
    """Everything that a store says, but times, and its name, which is that of its first settings."""
    store = Store.read(path)
    found: Content = {"attributes": repr({**store.attributes, "of": None})}
    for group in store.groups:
        attributes = store.group(group).attributes
        found[f"{group} attributes"] = repr(
            {**attributes, "arrays": [*attributes["arrays"]], "of": None}
        )
        for name in store.attribute(group, "arrays"):
            if name != "seconds":
                found[f"{group}/{name}"] = store.array(group, name).tobytes()
    return found


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def delete(path: Path, _: random.Random) -> None:
    path.unlink()


def truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])


def empty(path: Path, _: random.Random) -> None:
    """As a power cut leaves a file whose bytes had not reached the disk."""
    path.write_bytes(bytes(path.stat().st_size))


def nest(path: Path, _: random.Random) -> None:
    path.write_text('{"attributes":' * 100_000)


def pipe(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, _: random.Random) -> None:
    path.unlink()
    (path / "x").mkdir(parents=True)


def circle(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def enlarge(path: Path, _: random.Random) -> None:
    """A file with a hole of 40 GB."""
    os.truncate(path, 40 * 2**30)


def bury(path: Path, _: random.Random) -> None:
    """A file in the place of the folder."""
    shutil.rmtree(path.parent)
    path.parent.write_text("x")


DAMAGES: tuple[Damage, ...] = (flip, delete, truncate)
#: What stands in the place of a file. Each is tried on files of each kind.
REPLACED = (empty, nest, pipe, folder, circle, enlarge, bury)


def files_of(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def cases(path: Path) -> list[tuple[str, Damage]]:
    """Files of a store with what is done to them: all and everything."""
    return [(file, damage) for file in files_of(path) for damage in DAMAGES]


def kind_of(path: Path, file: str) -> str:
    """Root, group, array or chunk."""
    if not file.endswith("zarr.json"):
        return "chunk"
    return "root" if file == "zarr.json" else json.loads((path / file).read_text())["node_type"]


def sample(path: Path, chance: random.Random) -> list[tuple[str, Damage]]:
    """Every kind of damage to a file of each kind, never one file twice while there are others."""
    kinds: dict[str, list[str]] = {}
    for file in files_of(path):
        kinds.setdefault(kind_of(path, file), []).append(file)
    chosen = []
    for _, files in sorted(kinds.items()):
        chance.shuffle(files)
        chosen += list(zip(itertools.cycle(files), DAMAGES, strict=False))
    return chosen
