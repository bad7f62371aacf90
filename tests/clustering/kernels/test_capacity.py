"""Lists and close pairs that are too short say so, and write nothing beyond their end."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import Setting, event_of, shipped_events, to_batch, walk

from djservice.clustering.cluster import cluster
from djservice.clustering.kernels.candidates import PAD
from djservice.clustering.kernels.grow import EventArrays, load_event
from djservice.clustering.kernels.jit import entry
from djservice.clustering.kernels.pseudojets import LARGE, copy_pseudojets
from djservice.clustering.kernels.refill import append_new, append_row
from djservice.clustering.kernels.workspace import allocate
from djservice.clustering.particle_order import slots_of

CANARY = 7e77


@entry
def append_both(work, n, count):
    """All pairs of the last particle, with room for fewer, by either way."""
    copy_pseudojets(work.origin, work.pseudojets, n)
    for j in range(n):
        work.scratch.slot[j] = j
    row = append_row(work.pseudojets, n, n - 1, 1e300, work.pairs, count, work.scratch, 0.0)
    new, _ = append_new(work.pseudojets, n, n - 1, 1e300, work.pairs, count, work.scratch, 0.0)
    return row, new


@pytest.mark.parametrize("room", [10, 62, 63, 64, 200])
def test_a_row_that_does_not_fit_is_refused(room: int) -> None:
    n = 64
    random = np.random.default_rng(1)
    particles = np.ones((n, 7))
    particles[:, 1:3] = random.uniform(-1, 1, (n, 2))
    work = allocate(n, room, 1)
    load(particles, work)
    work.origin.lower[:n] = 0.0  # as if no pair were among the close pairs
    work.pairs.q[:] = CANARY
    row, new = append_both(work, n, 0)
    end = len(work.pairs.q) - PAD
    assert end == room
    assert (work.pairs.q[end:] == CANARY).all()
    assert (row, new) == ((63, 63) if room >= 64 else (-1, -1))


@entry
def load_first(batch, work):
    load_event(batch, 0, -1.0, work.origin, work.close_pairs, work.scratch.row)


def load(particles, work):
    """The particles of one event with R = 1."""
    offsets, reaches, keys = (
        np.array([0, len(particles)]),
        np.array([[0.0, 1.0, 1.0]]),
        np.zeros(1, np.uint64),
    )
    batch = EventArrays(particles, offsets, reaches, keys, slots_of(particles, offsets))
    load_first(batch, work)


@pytest.mark.parametrize("n", [120, 700])
def test_a_stock_whose_edge_was_guessed_too_high_is_filled_again(n: int) -> None:
    """Near each other are just the particles that the guess does not look at.

    In the large event, the 150 hardest of them lie on a spiral around the others, so that all the
    others are within reach.
    """
    random = np.random.default_rng(2)
    looked_at = np.arange(n) % (1 + n // (32 if n < LARGE else 16)) == 0
    event = np.zeros((n, 4))
    event[:, 0] = np.linspace(1.0, 2.0, n)
    event[:, 1:3] = random.normal(0, 1e-4, (n, 2))
    if n >= LARGE:
        turn = np.arange(150)
        radius, angle = 0.5 * 0.95**turn, 2.4 * turn
        event[-150:, 1], event[-150:, 2] = radius * np.cos(angle), radius * np.sin(angle)
    event[looked_at, 1] = random.uniform(-4, 4, looked_at.sum())
    event[looked_at, 2] = random.uniform(-3, 3, looked_at.sum())
    particles = np.concatenate([event[:, :3], np.ones((n, 4))], axis=1)  # by falling d
    work = allocate(n, 400, 1)
    load(particles, work)
    held = int(work.close_pairs.ends[-1])
    assert held <= len(work.close_pairs.q) - 64
    q, owner, other = (
        work.close_pairs.q[:held],
        work.close_pairs.owner[:held],
        work.close_pairs.other[:held],
    )
    assert (q < work.close_pairs.top[0]).all() and (owner > other).all()
    assert len({*zip(owner.tolist(), other.tolist(), strict=True)}) == held
    # Every pair is among the close pairs, or not below the bound of its owner.
    order = np.argsort(work.origin.ident[:n])  # by id
    y, phi, d = (array[:n][order] for array in (work.origin.y, work.origin.phi, work.origin.d))
    i, j = np.tril_indices(n, -1)
    dphi = np.abs(phi[i] - phi[j])
    dphi = np.minimum(dphi, 2 * np.pi - dphi)
    distance = np.minimum(d[i], d[j]) * ((y[i] - y[j]) ** 2 + dphi**2)
    lower = work.origin.lower[:n][order][i]
    bound = np.minimum(work.close_pairs.top[0], lower)
    assert (distance < bound * (1 - 1e-12)).sum() <= held <= (distance < bound * (1 + 1e-12)).sum()
    assert (distance[distance >= bound] >= lower[distance >= bound] * (1 - 1e-12)).all()

    setting = Setting(0.4, 1.0, -1.0)
    trees = cluster(to_batch([event]), **setting.arguments, trees=1, history=True, trace=True)
    for t, step, drawn in walk(event, trees.history_of(0, 0), setting, {0, 1, 40, 100, n - 3}):
        assert trees.trace_of(0, 0)[t]["probability"] == pytest.approx(
            step.probability[drawn], rel=1e-6
        )


def test_a_list_that_has_to_grow_gives_the_same_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    event = shipped_events().select([int(shipped_events().counts.argmax())])
    roomy = cluster(event, radius=0.6, rigidity=0.3, trees=3, history=True, threads=1)
    monkeypatch.setattr("djservice.clustering.on_cpu.pairs_at_first", lambda particles: 100)
    tight = cluster(event, radius=0.6, rigidity=0.3, trees=3, history=True, threads=1)
    np.testing.assert_array_equal(tight.history, roomy.history)
    assert len(event_of(event, 0)) == event.counts[0]


@pytest.mark.parametrize("n", [60, 100, 150, 700])
def test_trees_do_not_depend_on_the_room_that_a_larger_event_needs(n: int) -> None:
    """The last level is guessed from a few particles, which lie apart here, so it has to be lowered."""
    random, stride = np.random.default_rng(1), 1 + n // (32 if n < LARGE else 16)
    apart = np.arange(n) % stride == 0
    lumpy, other = np.ones((n, 4)), np.ones((1500, 4))
    lumpy[:, 0] = np.linspace(1.0, 3.0, n)  # rising, so that anti-kT's order is that of the rows
    lumpy[:, 1:3] = np.where(
        apart[:, np.newaxis], random.uniform(-3.0, 3.0, (n, 2)), random.normal(0.0, 0.05, (n, 2))
    )
    other[:, 1:3] = random.uniform(-3.0, 3.0, (1500, 2))
    lumpy[:, 3] = other[:, 3] = 0.0
    alone, beside = (
        cluster(to_batch(events), radius=0.8, rigidity=1.0, trees=20, seed=4)
        for events in ([lumpy], [lumpy, other])
    )
    np.testing.assert_array_equal(alone.momenta[0], beside.momenta[0])
    np.testing.assert_array_equal(alone.scores[0], beside.scores[0])
