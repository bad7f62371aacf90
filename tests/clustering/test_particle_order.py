"""The kernel's order of particles: by event, falling d, rapidity, phi and mass."""

from __future__ import annotations

import numpy as np
import pytest

from djservice.clustering.particle_order import sorted_particles
from djservice.events.batch import EventBatch


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_ties_are_ordered_by_the_other_columns(power: float, seed: int) -> None:
    """Columns of few values, and pT that only double precision tells apart."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 80, 6)
    n = int(counts.sum())
    pt = random.choice([0.5, 1.0, 2.0], n) + 1e-12 * random.integers(0, 2, n)
    rapidity, phi, mass = random.integers(0, 3, (3, n)).astype(float)
    events = EventBatch.from_arrays(
        pt=pt, rapidity=rapidity, phi=phi, mass=mass, offsets=np.append(0, np.cumsum(counts))
    )
    order, particles = sorted_particles(events, power)
    rising = -pt if power > 0 else pt
    first, start = np.repeat(events.offsets[:-1], counts), np.repeat(np.arange(6), counts)
    expected = np.lexsort((mass, phi, rapidity, rising, start))
    for column in (pt, rapidity, phi, mass):
        np.testing.assert_array_equal(column[first + order], column[expected])
    np.testing.assert_array_equal(particles[:, 0], pt[expected])
    assert (np.bincount(first + order, minlength=n) == 1).all()
