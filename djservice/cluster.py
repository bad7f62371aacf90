"""cluster(batch, ...) -> TreeSample: stochastic generalised-kT clustering of every event, many trees each."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from djservice.batch import EventBatch, Floats
from djservice.errors import ClusteringError, InputError
from djservice.identity import draw_keys
from djservice.kernels.clustering import BAD_HISTORY, LIST_FULL, OK, ZERO_PT, Setting
from djservice.kernels.cpu import cluster_items
from djservice.kernels.options import allocate
from djservice.trees import TRACE_FIELDS, TreeSample

Scale = Literal["minimum", "safe"]


def cluster(
    events: EventBatch,
    *,
    radius: ArrayLike,
    rigidity: float,
    power: float = -1.0,
    trees: int = 1,
    jets: int = 2,
    seed: int = 0,
    stream: str = "sample",
    iteration: int = 0,
    first_tree: int = 0,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    history: bool = False,
    trace: bool = False,
    settled_pt: float | None = None,
    threads: int | None = None,
) -> TreeSample:
    """Sample clusterings of every event.

    Parameters
    ----------
    events
        The particles.
    radius
        R: one number, or one per event.
    rigidity
        alpha > 0; ``math.inf`` is the deterministic algorithm: FastJet's jets, and one tree is enough.
    power
        p: -1 anti-kT, 0 Cambridge/Aachen, 1 kT, or any other number.
    trees
        Trees per event. Tree k is the same however many there are.
    jets
        How many leading jets to return per tree.
    seed, stream, iteration, first_tree
        What the random numbers are keyed by, with the identity of the event; ``first_tree`` is the number of the first.
    scale, asymmetry
        "minimum", the published scale, or "safe", the infrared-safe one with its exponent q > 0.
    history, trace
        Keep every merge, and the numbers of every step: (particles x trees) rows of memory each.
    settled_pt
        Stop a tree as soon as no jet that can still form is both above this pT (GeV) and among the ``jets`` leading
        ones. Leading jets above it are the same as those of the whole tree; the score is that of the steps taken, and
        E[f score] is the same for every f of those jets, for later scores are independent of f with mean 0.
    threads
        Threads to share the (event, tree) pairs; all processors by default. The trees do not depend on it.

    Raises
    ------
    InputError
        If an argument has no meaning.
    ClusteringError
        If, with power < 0, momenta cancel to a sum without pT; the message names the event.

    References
    ----------
    Qanti-kT: arXiv:1304.2394; Qjets: arXiv:1201.1914.
    """
    _check(events, radius, rigidity, power, trees, jets, scale, asymmetry)
    if settled_pt is not None and (history or trace or not settled_pt >= 0):
        raise InputError(f"settled_pt is {settled_pt}, expected 0 GeV or more, and no history or trace.")
    keys = draw_keys(events.key, seed, stream)
    stop = -1.0 if settled_pt is None else float(settled_pt)
    setting = Setting(float(power), float(rigidity), float(asymmetry) if scale == "safe" else 0.0, stop)
    order, particles = _sorted_particles(events, power)
    numbering = iteration, first_tree
    no_replay = np.empty((0, 2), np.int32)
    sample = _grow(events, radius, setting, keys, numbering, trees, jets, particles, no_replay, history, trace, threads)
    if sample.history is not None:
        for event, start, stop in _events(events, trees):
            _relabel(sample.history[start:stop], order[events.offsets[event] : events.offsets[event + 1]])
    return sample


def replay(
    events: EventBatch,
    history: ArrayLike,
    *,
    radius: ArrayLike,
    rigidity: float,
    power: float = -1.0,
    jets: int = 2,
    scale: Scale = "minimum",
    asymmetry: float = 1.0,
    trace: bool = False,
    threads: int | None = None,
) -> TreeSample:
    """Follow given histories and return their log-probability and score with these parameters.

    Parameters
    ----------
    history
        ``TreeSample.history`` of the same events; or, for a batch of one event, shape (tree, n, 2).
    radius, rigidity, power, jets, scale, asymmetry, trace, threads
        As in :func:`cluster`; the rigidity is finite.

    Raises
    ------
    InputError
        If a history does not belong to the events.
    """
    rows = np.array(history, dtype=np.int32).reshape(-1, 2)
    particles_all = len(events.pt)
    trees = len(rows) // particles_all if particles_all else 0
    if trees == 0 or len(rows) != trees * particles_all:
        raise InputError(f"expected a history of {particles_all} rows for each tree, found {len(rows)} rows.")
    _check(events, radius, rigidity, power, trees, jets, scale, asymmetry)
    if math.isinf(rigidity):
        raise InputError("expected a finite rigidity: at infinity a history has probability 0 or 1.")
    setting = Setting(float(power), float(rigidity), float(asymmetry) if scale == "safe" else 0.0, -1.0)
    order, particles = _sorted_particles(events, power)
    for event, start, stop in _events(events, trees):
        own = order[events.offsets[event] : events.offsets[event + 1]]
        rank = np.empty(len(own), np.int32)
        rank[own] = np.arange(len(own), dtype=np.int32)
        _relabel(rows[start:stop], rank)
    return _grow(events, radius, setting, events.key, (0, 0), trees, jets, particles, rows, False, trace, threads)


def radius_per_event(events: EventBatch, radius: ArrayLike) -> Floats:
    """R of each event, shape (event,), from one number or one per event.

    Raises
    ------
    InputError
        If the shape is another, or an R is not positive and finite.
    """
    radii = np.asarray(radius, dtype=np.float64)
    if radii.shape not in ((), (len(events),)):
        raise InputError(f"radius has shape {radii.shape}, expected one number or one per event ({len(events)},).")
    if not (np.isfinite(radii) & (radii > 0)).all():
        at = int(np.flatnonzero(~(np.isfinite(radii) & (radii > 0)).ravel())[0])
        raise InputError(f"radius is {radii.ravel()[at]} (event {at}), expected a positive, finite number.")
    return np.ascontiguousarray(np.broadcast_to(radii, (len(events),)))


def _check(
    events: EventBatch,
    radius: ArrayLike,
    rigidity: float,
    power: float,
    trees: int,
    jets: int,
    scale: str,
    asymmetry: float,
) -> None:
    radius_per_event(events, radius)
    if not rigidity > 0:
        raise InputError(
            f"rigidity is {rigidity}, expected a positive number, or infinity for the deterministic algorithm."
        )
    if not math.isfinite(power):
        raise InputError(f"power is {power}, expected a finite number (-1 for anti-kT).")
    if trees < 1 or jets < 1:
        raise InputError(f"expected at least one tree and one jet, found trees={trees} and jets={jets}.")
    if scale not in ("minimum", "safe"):
        raise InputError(f"scale is {scale!r}, expected 'minimum' or 'safe'.")
    if scale == "safe" and not (math.isfinite(asymmetry) and asymmetry > 0):
        raise InputError(f"asymmetry is {asymmetry}, expected a positive, finite number.")


def _events(events: EventBatch, trees: int) -> Any:
    """(event, first row, last row + 1) of each event in histories and traces."""
    return (
        (event, int(events.offsets[event]) * trees, int(events.offsets[event + 1]) * trees)
        for event in range(len(events))
    )


def _relabel(history: NDArray[np.int32], names: NDArray[np.int32]) -> None:
    """Rename the particles of histories in place; merged objects keep their numbers."""
    particle = (history >= 0) & (history < len(names))
    history[particle] = names[history[particle]]


def _sorted_particles(events: EventBatch, power: float) -> tuple[NDArray[np.int32], Floats]:
    """The particles of each event by falling d_i, as (pt, rapidity, phi, px, py, pz, E), and that order."""
    event = np.repeat(np.arange(len(events)), events.counts)
    rising = events.pt if power <= 0 else -events.pt
    index = np.lexsort((events.mass, events.phi, events.rapidity, rising, event))
    order = (index - np.repeat(events.offsets[:-1], events.counts)).astype(np.int32)
    pt, y, phi, mass = (field[index] for field in (events.pt, events.rapidity, events.phi, events.mass))
    transverse = np.sqrt(pt * pt + mass * mass)
    columns = pt, y, phi, pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(y), transverse * np.cosh(y)
    return order, np.stack(columns, axis=1)


def _grow(
    events: EventBatch,
    radius: ArrayLike,
    setting: Setting,
    keys: NDArray[np.uint64],
    numbering: tuple[int, int],
    trees: int,
    jets: int,
    particles: Floats,
    follow: NDArray[np.int32],
    history: bool,
    trace: bool,
    threads: int | None,
) -> TreeSample:
    """Run the kernel over all (event, tree), shared among threads in stretches."""
    iteration, first_tree = numbering
    items, rows = len(events) * trees, len(particles) * trees
    momenta = np.empty((items, jets, 4))
    numbers = np.empty((items, 4))
    histories = np.empty((rows if history else 0, 2), np.int32)
    traces = np.empty((rows if trace else 0, len(TRACE_FIELDS)))
    radii = radius_per_event(events, radius)
    largest = max(int(events.counts.max(initial=0)), 1)

    def stretch(first: int, last: int) -> None:
        capacity = min(largest * (largest - 1) // 2 + 1, 16 * largest + 256)
        work, jet_pt2 = allocate(largest, capacity), np.empty(jets)
        while True:
            status, first = cluster_items(
                first,
                last,
                trees,
                first_tree,
                iteration,
                setting,
                particles,
                events.offsets,
                radii,
                keys,
                work,
                jet_pt2,
                follow,
                momenta,
                histories,
                traces,
                numbers,
            )
            if status == OK:
                return
            if status != LIST_FULL:
                raise _failure(status, events, first // trees, first % trees)
            capacity *= 2  # never beyond all pairs, which there is always room for in the end
            work = allocate(largest, capacity)

    workers = max(1, min(threads or os.cpu_count() or 1, items))
    cuts = np.linspace(0, items, (8 * workers if workers > 1 else 1) + 1).astype(int)
    if workers == 1:
        stretch(0, items)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(stretch, int(a), int(b)) for a, b in pairwise(cuts)]:
                done.result()
    shape = len(events), trees
    return TreeSample(
        momenta=momenta.reshape(*shape, jets, 4),
        numbers=numbers.reshape(*shape, 4),
        history=histories if history else None,
        trace=traces if trace else None,
        deterministic=math.isinf(setting.rigidity),
        stopped=setting.settled_pt >= 0.0,
        offsets=events.offsets,
    )


def _failure(status: int, events: EventBatch, event: int, tree: int) -> Exception:
    if status == ZERO_PT:
        return ClusteringError(
            f"{events.name(event)}, tree {tree}: two objects add up to pT = 0, where d = pT^(2p) is infinite for p < 0. "
            "Remove the event, or use power >= 0."
        )
    assert status == BAD_HISTORY
    return InputError(f"{events.name(event)}, tree {tree}: the history names an object that is not there at that step.")
