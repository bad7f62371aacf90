"""As in_simulator.py, with arrays like CuPy's in the place of NumPy's: what goes on between the kernels, and what comes to the host."""

from __future__ import annotations

from typing import Any

import fake_cupy
import numpy as np
import pytest
from asked import WAYS, some_events
from in_simulator import LOSS, both, same
from on_device import bytes_to_host, fake_gpu

import djservice as dj
from djservice.errors import ClusteringError


@pytest.fixture(autouse=True)
def arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("djservice.clustering.device.simulator", fake_gpu)


@pytest.mark.parametrize(
    "way", ["histories and traces", "states and all scores", "a flip", "all flips", "variable R"]
)
def test_samples_come_to_the_host(way: str) -> None:
    one, other = both(some_events(9, 0, 14), **WAYS[way])
    same(one, other)
    assert isinstance(other.momenta, np.ndarray)


@pytest.mark.parametrize("way", ["states", "states and all scores", "all flips", "deterministic"])
def test_samples_stay(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one portion, and in several whose trees lack room at first."""
    events, how = (
        some_events(9, 14, 0, 12),
        {"radius": 0.8, "rigidity": 1.0, "trees": 3, **WAYS[way], "history": False},
    )
    expected = dj.cluster(events, **how, device="cpu", threads=1)
    for _ in range(2):
        found, crossed = bytes_to_host(
            lambda: dj.cluster(events, **how, device="cuda", on_device=True)
        )
        assert isinstance(found.momenta, fake_cupy.ndarray) and crossed < 200
        pairs = (
            [(expected, found)]
            if expected.states is None
            else [(expected, found), (expected.states, found.states)]
        )
        for one, other in pairs:
            for name in {"momenta", "scores", "numbers", "flips", "tree"} & vars(one).keys():
                if getattr(one, name) is not None:
                    np.testing.assert_array_equal(
                        getattr(other, name).host, getattr(one, name), err_msg=name
                    )
        monkeypatch.setattr("djservice.clustering.device.simulator", lambda: fake_gpu(free=200_000))
        monkeypatch.setattr("djservice.clustering.on_gpu.INITIAL_STATES", 1)
        monkeypatch.setattr("djservice.clustering.on_gpu.pairs_at_first", lambda particles: 10)


def test_no_events_and_events_that_cannot_be_clustered() -> None:
    for how in ({"states": True}, {"flips": "all"}):
        nothing = dj.cluster(
            some_events(), radius=0.8, rigidity=1.0, **how, device="cuda", on_device=True
        )
        assert nothing.jets.shape == (0, 1, 2)
    px = np.array([3.0, 4.0, 3e-18, 3e-18])
    bad = dj.EventBatch.from_arrays(
        pt=px,
        rapidity=[0.0, 1.0, 0.0, 0.0],
        phi=[0.0, 0.0, np.pi / 2, -np.pi / 2],
        mass=[0.0] * 4,
        offsets=[0, 2, 4],
    )
    with pytest.raises(ClusteringError, match=r"arrays, entry 1, tree 0: .* infinite"):
        dj.cluster(bad, radius=0.8, rigidity=np.inf, power=-10.0, device="cuda", on_device=True)


@pytest.mark.parametrize(
    "estimator",
    [dj.StateBaseline(), dj.AlternativePath(all_steps=True), dj.GumbelSoftmax()],
    ids=str,
)
def test_gradients_are_those_of_the_host(estimator: Any) -> None:
    events = some_events(3, 11)
    how: dict[str, Any] = {"radius": 0.8, "trees": 4, "seed": 1, "estimator": estimator}
    one, other = (
        dj.gradient(events, LOSS, **how, device=device, threads=1) for device in ("cpu", "cuda")
    )  # type: ignore[arg-type]
    assert one.value == other.value != 0.0 and (one.error, one.tree_error) == (
        other.error,
        other.tree_error,
    )


def test_a_gradient_brings_sums_to_the_host() -> None:
    events, how = some_events(8, 12), {"radius": 0.8, "seed": 1, "device": "cuda"}
    crossed = [
        bytes_to_host(lambda n=n: dj.gradient(events, LOSS, trees=n, **how))[1] for n in (8, 24)
    ]  # type: ignore[arg-type, misc]
    # The loop over trees that lacked room asks four things at each turn.
    assert abs(crossed[1] - crossed[0]) < 64 < crossed[0] < 1000


@dj.observable(constituents=4, jet=1)
def of_constituents(jets: Any, particles: Any) -> Any:
    return particles.momenta.pt.sum(axis=-1) + jets.mass


def test_constituents_are_followed_where_the_histories_are() -> None:
    events = some_events(9, 0, 14)
    how: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 3, "constituents": True}
    one = dj.cluster(events, **how, device="cpu", threads=1)
    other = dj.cluster(events, **how, device="cuda", on_device=True)
    assert isinstance(other.constituents.trees.history, fake_cupy.ndarray)
    for mine, theirs in zip(one.constituents, other.constituents, strict=True):
        np.testing.assert_array_equal(mine.index, theirs.index)
        np.testing.assert_array_equal(mine.count, theirs.count)
    for mine, theirs in zip(one.constituents.members(), other.constituents.members(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(of_constituents(one.jets), of_constituents(other.jets).host)
    values = [
        dj.gradient(events, of_constituents, radius=0.8, trees=8, device=device, threads=1).value
        for device in ("cpu", "cuda")
    ]
    assert values[0] == values[1] != 0.0
