"""Events so large that their slots are in order of rapidity, and scans skip tiles out of reach."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import Floats, Setting, event_of, to_batch, walk
from drawn_events import random_event
from steps import assert_step, assert_sums, spread_steps
from test_fastjet import as_momenta, assert_same_jets, fastjet_jets

from djservice.clustering.cluster import cluster, replay
from djservice.clustering.kernels.grow import EventArrays, load_event
from djservice.clustering.kernels.jit import entry
from djservice.clustering.kernels.lanes import fill, store, width
from djservice.clustering.kernels.pseudojets import CHUNK, LARGE, STRETCH, row_distances
from djservice.clustering.kernels.tiles import bound_tiles, close_up, empty_slot, tile_bounds
from djservice.clustering.kernels.workspace import allocate
from djservice.clustering.particle_order import slots_of, sorted_particles

SETTINGS = (
    Setting(0.4, 1.0, -1.0),
    Setting(1.0, 0.1, -1.0),
    Setting(0.4, 30.0, -1.0),
    Setting(0.4, 1e6, -1.0),
    Setting(0.7, 1.0, 1.0),
    Setting(0.7, 10.0, 0.0),
    Setting(0.4, 3.0, -1.0, 1.0),
    Setting((20.0, 0.2, 1.0), 2.0, -1.0),
)


def forward_event(n: int, seed: int) -> Floats:
    """A third of the particles have the same rapidity, and some lie far forward."""
    event = random_event(n, seed)
    event[: n // 3, 1] = 0.25
    event[-20:, 1] += 5.0
    return event


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_every_step_is_what_brute_force_finds(setting: Setting) -> None:
    for n, make in ((520, random_event), (900, random_event), (600, forward_event)):
        batch = to_batch([make(n, seed=n)])
        trees = cluster(batch, **setting.arguments, trees=1, seed=n, history=True, trace=True)
        steps = spread_steps(n, wanted=9, seed=n)
        assert_sums(trees, 0)
        for t, step, drawn in walk(event_of(batch, 0), trees.history_of(0, 0), setting, steps):
            assert_step(trees.trace_of(0, 0)[t], step, drawn, f"n = {n}, {setting}, step {t}")


def test_a_sum_is_found_where_it_lies_and_not_where_its_parts_lay() -> None:
    """Two hard particles make a sum between them, among soft ones that then merge in pairs."""
    n, setting, random = 600, Setting(0.4, 30.0, -1.0), np.random.default_rng(7)
    event = np.zeros((n, 4))
    event[:, 0] = random.uniform(0.5, 1.0, n)
    event[:, 1], event[:, 2] = random.uniform(-2.5, 2.5, n), random.uniform(-3.0, 3.0, n)
    hardest, hard, near = np.split(np.arange(146), (64, 66))
    event[hardest, 0], event[hardest, 1] = 50.0, random.uniform(-4.0, -3.0, 64)
    event[hard] = [[20.0, -2.0, 0.0, 0.0], [21.0, 2.0, 0.0, 0.0]]
    event[near, 1:3] = random.normal(0.0, 0.05, (80, 2))
    history = [hard.tolist(), *near.reshape(-1, 2).tolist()]
    history += [[ident, -1] for ident in (*hardest, *range(146, n + len(history)))]
    followed = replay(to_batch([event]), history, **setting.arguments, trace=True)
    trace = followed.trace_of(0, 0)
    for t, step, _ in walk(event, history, setting, set(range(0, 41, 4))):
        assert trace["minimum"][t] == pytest.approx(step.minimum, rel=1e-9), t
        assert trace["norm"][t] == pytest.approx(step.norm, rel=1e-9), t
        assert trace["options"][t] == step.kept.sum(), t


@pytest.mark.parametrize("power", [-1, 0, 1])
def test_all_jets_are_fastjets(power: int) -> None:
    batch = to_batch([random_event(n, seed=n) for n in (LARGE, 1500)])
    trees = cluster(batch, radius=0.4, rigidity=np.inf, power=float(power), jets=1500)
    for i, theirs in enumerate(fastjet_jets(batch, power, 0.4)):
        assert_same_jets(as_momenta(trees.jets[i, 0]), theirs, f"event {i}, p = {power}")


@pytest.mark.parametrize("spread", [1.0, 1e-5, 1e3])
def test_slots_are_in_order_of_rapidity_behind_the_hardest(spread: float) -> None:
    batch = to_batch([random_event(n, seed=n) for n in (30, 700, LARGE - 1, 600)])
    _, particles = sorted_particles(batch, -1.0)
    particles[:, 1] *= spread
    slots = slots_of(particles, batch.offsets)
    for i, n in enumerate(batch.counts):
        own = slice(batch.offsets[i], batch.offsets[i + 1])
        assert sorted(slots[own]) == list(range(n))
        if n < LARGE:
            assert (slots[own] == np.arange(n)).all()
        else:
            at = np.argsort(slots[own])
            assert set(at[:STRETCH]) == set(range(n - STRETCH, n))
            assert (np.diff(particles[own, 1][at[STRETCH:]]) >= 0).all()


@entry
def load_first(batch, work):
    load_event(batch, 0, -1.0, work.origin, work.close_pairs, work.scratch.row)


@entry
def empty_slots(work, slots):
    for slot in slots:
        empty_slot(work.origin, slot)


@entry
def closed_up(work, m):
    count = close_up(work.origin, m, work.scratch.slot)
    bound_tiles(work.origin, count)
    return count


@entry
def bounds_and_distances(work, m, slot, bounds):
    """Bounds of the tiles of an object, and its distances in the row."""
    y, d = fill(work.origin.y[slot]), fill(work.origin.d[slot])
    for begin in range(0, m, CHUNK):
        store(bounds, begin // STRETCH, tile_bounds(work.origin, begin, y, d))
    row_distances(work.scratch.row, work.origin, m, slot)
    return width()


def test_no_distance_is_below_the_bound_of_its_tile() -> None:
    n, random = 800, np.random.default_rng(3)
    batch = to_batch([forward_event(n, seed=4)])
    _, particles = sorted_particles(batch, -1.0)
    work, bounds = allocate(n, 400, 1), np.empty(n)
    origin, slot_of = work.origin, work.scratch.slot
    slots = slots_of(particles, batch.offsets)
    load_first(EventArrays(particles, batch.offsets, np.ones((1, 3)), batch.key, slots), work)
    m, tight = n, 0
    while m > 10:
        for slot in range(0, m, 7):
            bounds_and_distances(work, m, slot, bounds)
            for tile in range(-(-m // STRETCH)):
                distances = work.scratch.row[:m][tile * STRETCH : (tile + 1) * STRETCH]
                assert distances.min() >= bounds[tile]
                tight += bounds[tile] > 0.5 * distances.min() > 0.0
        empty_slots(work, random.choice(m, m // 3, replace=False))
        left = sorted(origin.ident[:m][origin.ident[:m] >= 0])
        m = closed_up(work, m)
        assert sorted(origin.ident[:m]) == left
        assert (slot_of[origin.ident[:m].astype(int)] == np.arange(m)).all()
    assert tight > 100  # the bounds say something
