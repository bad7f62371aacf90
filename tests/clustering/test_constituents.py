"""Constituents of the leading jets, against sets that are merged along the histories one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.clustering import constituents
from djservice.clustering.particle_order import momenta_of
from djservice.errors import InputError

JETS = 3


@pytest.fixture(scope="module")
def events() -> Any:
    """Small events, one of them empty, and one with particles of the same pT."""
    random, counts = np.random.default_rng(3), [7, 0, 12, 9]
    total = sum(counts)
    pt = random.exponential(10.0, total) + 0.5
    pt[-4:] = 3.0
    return dj.EventBatch.from_arrays(
        pt=pt,
        rapidity=random.normal(0.0, 1.0, total),
        phi=random.uniform(-3.0, 3.0, total),
        mass=np.full(total, 0.1),
        offsets=np.cumsum([0, *counts]),
    )


def particles_of(listed: Any, tree: int, jet: int) -> list[int]:
    """The places of a jet's particles in an event."""
    places: list[int] = listed.index[tree, jet][: listed.count[tree, jet]].tolist()
    return places


def merged(events: Any, sample: Any, event: int, tree: int) -> list[set[int]]:
    """The particles of the leading jets of a tree."""
    n = int(events.counts[event])
    objects = {i: {i} for i in range(n)}
    jets = []
    for step, (a, b) in enumerate(sample.history_of(event, tree).tolist()):
        if b < 0:
            jets.append(objects[a])
        else:
            objects[n + step] = objects[a] | objects[b]
    momenta = momenta_of(events)[events.offsets[event] : events.offsets[event + 1]]
    return sorted(jets, key=lambda jet: -np.hypot(*momenta[sorted(jet), :2].sum(axis=0)))[:JETS]


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("rigidity", [1.0, math.inf])
def test_they_are_those_of_the_histories(events: Any, power: float, rigidity: float) -> None:
    trees = 1 if math.isinf(rigidity) else 6
    how: dict[str, Any] = {
        "radius": 0.8, "rigidity": rigidity, "power": power, "trees": trees, "jets": JETS,
    }  # fmt: skip
    sample = dj.cluster(events, history=True, **how)
    momenta = momenta_of(events)
    for event, listed in enumerate(sample.constituents):
        index, count = listed.index, listed.count
        here = momenta[events.offsets[event] : events.offsets[event + 1]]
        for tree in range(trees):
            expected = merged(events, sample, event, tree)
            assert count[tree].tolist() == [*map(len, expected), *[0] * (JETS - len(expected))]
            for jet, particles in enumerate(expected):
                found = index[tree, jet][: count[tree, jet]]
                assert set(found.tolist()) == particles
                pt = events.pt[events.offsets[event] + found]
                assert (np.diff(pt) <= 0.0).all()
                np.testing.assert_allclose(
                    sample.momenta[event, tree, jet], here[found].sum(axis=0), rtol=1e-12
                )
            assert (index[tree] >= 0).sum() == count[tree].sum()
    for alone in ({"constituents": True}, {"constituents": True, "settled_pt": 0.0}):
        other = dj.cluster(events, **how, **alone)
        assert other.history is None
        for one, two in zip(sample.constituents, other.constituents, strict=True):
            np.testing.assert_array_equal(one.index, two.index)
            np.testing.assert_array_equal(one.count, two.count)


def test_parts_of_the_events_and_the_places_of_particles(events: Any) -> None:
    found = dj.cluster(events, radius=0.8, rigidity=1.0, trees=4, constituents=True).constituents
    assert len(found) == len(events)
    index, count = found[1:4].index, found[1:4].count
    assert index.shape[:3] == (3, 4, 2) and (count[0] == 0).all()
    for row, event in enumerate(range(1, 4)):
        alone = found[event]
        np.testing.assert_array_equal(alone.count, count[row])
        np.testing.assert_array_equal(alone.index, index[row, ..., : alone.index.shape[-1]])
    for listed, members in zip(found, found.members(), strict=True):
        for tree, jet in np.ndindex(listed.count.shape):
            inside = np.flatnonzero(members[tree] == jet)
            assert sorted(particles_of(listed, tree, jet)) == inside.tolist()
    assert found[2:2].index.shape[0] == 0
    none = dj.cluster(events.select([]), radius=0.8, rigidity=1.0, constituents=True)
    assert list(none.constituents) == []
    assert len(none.constituents.distinct[0]) == 0


def test_distinct_jets_are_those_of_different_particles(events: Any) -> None:
    found = dj.cluster(
        events, radius=0.8, rigidity=3.0, trees=20, jets=JETS, constituents=True
    ).constituents
    sets = [
        (event, *sorted(particles_of(listed, tree, jet))) if listed.count[tree, jet] else ()
        for event, listed in enumerate(found)
        for tree, jet in np.ndindex(listed.count.shape)
    ]
    first, number = found.distinct
    assert len(first) == len({s for s in sets if s}) < len(sets)
    for slot, members in enumerate(sets):
        assert (number[slot] == -1) == (not members)
        if members:
            assert sets[first[number[slot]]] == members


def test_a_hash_that_does_not_tell_sets_apart_mixes_no_jets(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 20, "constituents": True}
    jets = dj.cluster(events, **how).jets
    expected = SIZE(jets)
    monkeypatch.setattr(constituents, "_random_bits", lambda n: np.zeros((n, 2), np.uint64))
    np.testing.assert_array_equal(SIZE(dj.cluster(events, **how).jets), expected)


@dj.observable(constituents=4)
def SIZE(jets: Any, particles: Any) -> Any:
    return particles.count + 0.1 * jets.pt


def test_constituents_that_were_not_kept_are_refused(events: Any) -> None:
    with pytest.raises(InputError, match="constituents=True or history=True"):
        _ = dj.cluster(events, radius=0.8, rigidity=1.0).constituents
