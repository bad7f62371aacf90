"""What Dask workers run: pure functions of a bundle of events, each a few lines over the library."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, replace

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from djservice.batch import EventBatch
from djservice.estimators import Estimator
from djservice.evaluate import PerEvent, Sampling, evaluate
from djservice.identity import Keys, mix, text_key
from djservice.losses import Loss
from djservice.moments import Moments
from djservice.per_event import Descents, PerEventRadii, fit_per_event


@dataclass(frozen=True)
class Work:
    """What stays the same through a run: what is evaluated, and how trees are grown."""

    loss: Loss
    estimator: Estimator
    sampling: Sampling


@dataclass(frozen=True)
class Window:
    """A batch: the events whose rank in an epoch lies between two bounds, both included.

    Ranks are hashes of (seed, epoch, identity), so every bundle finds its own share without a list of events.
    """

    seed: int
    epoch: int
    low: int
    high: int


@dataclass(frozen=True)
class Request:
    """One evaluation: a radius (or one per event), trees per event, the random stream, and which events (None: all)."""

    radius: float | NDArray[np.float64]
    trees: int
    stream: str
    iteration: int = 0
    window: Window | None = None
    per_event: bool = False
    #: Instead of those of the run.
    estimator: Estimator | None = None
    rigidity: float | None = None


Answer = tuple[Moments, PerEvent | None]


def ranks(keys: Keys, seed: int, epoch: int) -> Keys:
    """The order in which an epoch goes through the events: a bijection of their keys."""
    return mix(mix(mix(text_key("batch"), seed), epoch), keys)


@functools.lru_cache(maxsize=8)
def unpickled(work: bytes) -> Work:
    """The work of a run, unpickled once per worker and not once per task."""
    found: Work = cloudpickle.loads(work)
    return found


def evaluate_bundle(bundle: EventBatch, pickled_work: bytes, request: Request) -> Answer:
    """Sums of one bundle, and its results per event where asked for; one thread, for Dask runs several tasks at once."""
    events, work = bundle, unpickled(pickled_work)
    if request.window is not None:
        window = request.window
        rank = ranks(bundle.key, window.seed, window.epoch)
        events = bundle.select((rank >= np.uint64(window.low)) & (rank <= np.uint64(window.high)))
    sampling = work.sampling if request.rigidity is None else replace(work.sampling, rigidity=request.rigidity)
    moments, per_event = evaluate(
        events,
        work.loss,
        request.estimator or work.estimator,
        sampling,
        radius=request.radius,
        trees=request.trees,
        stream=request.stream,
        iteration=request.iteration,
        threads=1,
    )
    return moments, per_event if request.per_event else None


def evaluate_timed(bundle: EventBatch, pickled_work: bytes, request: Request) -> tuple[Moments, float]:
    """Sums of one bundle, and the CPU seconds that they took."""
    began = time.thread_time()
    moments, _ = evaluate_bundle(bundle, pickled_work, request)
    return moments, time.thread_time() - began


def fit_bundle(bundle: EventBatch, pickled_work: bytes, descents: Descents, global_radius: float) -> PerEventRadii:
    """The radius of least loss of each event of a bundle."""
    work = unpickled(pickled_work)
    return fit_per_event(
        bundle, work.loss, work.estimator, work.sampling, descents, global_radius=global_radius, threads=1
    )


@dataclass(frozen=True)
class BundleSummary:
    """What the driver knows of a bundle: identities of its events, and how many particles they have."""

    keys: Keys
    counts: NDArray[np.int64]
    nbytes: int


def summarise(bundle: EventBatch) -> BundleSummary:
    """The summary of a bundle."""
    return BundleSummary(bundle.key, bundle.counts, bundle.nbytes)


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache, by clustering a small event."""
    event = EventBatch.from_arrays(
        pt=[3.0, 2.0, 1.0], rapidity=[0.0, 0.1, 2.0], phi=[0.0, 0.1, 2.0], mass=[0.0] * 3, offsets=[0, 3]
    )
    from djservice.cluster import cluster

    cluster(event, radius=0.4, rigidity=1.0, threads=1)
