"""Run by test_simulated.py in a process of its own, where numba compiles nothing and simulates CUDA."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import FIELDS, INPUT_WAYS, WAYS, some_events
from distributed import Scheduler, SchedulerPlugin, SpecCluster, Worker

import djservice as dj
from djservice.clustering import on_gpu
from djservice.clustering.device import Gpu, simulator
from djservice.core.display import Lines
from djservice.errors import ClusteringError, DeviceError, StoreError

sys.setswitchinterval(
    1e-4
)  # the simulator polls its threads; in a tenth of this those of Dask wear each other out


def same(one: Any, other: Any) -> None:
    """The same bits."""
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.states is None) == (other.states is None)
    if one.states is not None:
        for name in ("momenta", "scores", "tree"):
            np.testing.assert_array_equal(
                getattr(one.states, name), getattr(other.states, name), err_msg=name
            )


def both(events: Any, **setting: Any) -> tuple[Any, Any]:
    """The trees of the processors' loop and of the simulated GPU's."""
    asked: dict[str, Any] = {"radius": 0.8, "rigidity": 1.0, "trees": 3, "seed": 2, **setting}
    return dj.cluster(events, **asked, device="cpu", threads=1), dj.cluster(
        events, **asked, device="cuda"
    )


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_growing_trees_gives_the_bits_of_the_processors(way: str) -> None:
    one, other = both(some_events(7, 0, 10), trees=2, **WAYS[way])
    same(one, other)
    assert one.momenta.size


def test_flips_and_histories_are_followed() -> None:
    events = some_events(8, 12)
    (first, _), replayed = both(events, flips=True, history=True), []
    same(*both(events, flips=first.flips[:, :, 0]))
    for device in ("cpu", "cuda"):
        replayed.append(
            dj.replay(events, first.history, radius=0.6, rigidity=2.0, trace=True, device=device)
        )  # type: ignore[arg-type]
    same(*replayed)


def test_no_events() -> None:
    same(*both(some_events(), states=True))


def test_trees_that_lack_room_are_grown_again(monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events(20, 11)
    expected, _ = both(events, states=True)
    rooms: list[int] = []
    monkeypatch.setattr("djservice.clustering.on_gpu.INITIAL_STATES", 1)
    monkeypatch.setattr("djservice.clustering.on_gpu.pairs_at_first", lambda particles: 10)
    make = on_gpu.tree_arrays
    monkeypatch.setattr(on_gpu, "tree_arrays", lambda room: rooms.append(room.pairs) or make(room))
    same(both(events, states=True)[1], expected)
    assert max(rooms) >= 80


@pytest.mark.filterwarnings("ignore::djservice.errors.JumpWarning")
@pytest.mark.parametrize("way", INPUT_WAYS)
def test_derivatives_in_particles_have_the_bits_of_the_processors(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums in strands, trees that lack room for their pairs, and events in portions."""
    monkeypatch.setattr("djservice.clustering.particle_cotangents._STRAND", 2)
    asked = {"radius": 0.8, "rigidity": 1.0, "trees": 3, "seed": 2, **INPUT_WAYS[way]}
    objective: Any = MASS if asked.pop("settled_pt", None) is None else LOSS
    events = some_events(7, 0, 10, 3)
    expected = dj.input_gradient(events, objective, **asked, device="cpu", threads=1)
    monkeypatch.setattr("djservice.clustering.on_gpu.pairs_at_first", lambda particles: 10)
    with_memory(monkeypatch, 200_000)
    found = dj.input_gradient(events, objective, **asked, device="cuda")
    for name in ("value", "error", "expectation"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert np.nanmax(np.abs(found.value)) > 0.0  # NaN without an accepted tree


def with_memory(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let the simulated GPU have so many free bytes."""
    small = Gpu(np, threads=4, block=2, free=lambda: free)
    monkeypatch.setattr("djservice.clustering.device.simulator", lambda: small)


def test_a_batch_is_split_to_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    events = some_events(9, 14, 3, 12)
    expected, _ = both(events, history=True, states=True)
    portions: list[int] = []
    prepared = on_gpu._Portion._prepared

    def counting(self: Any, *given: Any) -> Any:
        portions.append(len(self.job.counts))
        return prepared(self, *given)

    monkeypatch.setattr(on_gpu._Portion, "_prepared", counting)
    with_memory(monkeypatch, 200_000)
    same(both(events, history=True, states=True)[1], expected)
    assert sum(portions) == 4 and len(portions) > 1


def test_an_event_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for the half that events and results take, or for a team with its lists."""
    events, needs = (
        some_events(2, 60),
        r"arrays, entry 1: its 60 particles and 3 trees need .* GB .* device='cpu'",
    )
    with_memory(monkeypatch, 100_000)
    with pytest.raises(DeviceError, match=needs):
        both(events)
    with_memory(monkeypatch, 200_000)
    both(events)
    monkeypatch.setattr("djservice.clustering.on_gpu.pairs_at_first", lambda particles: 10_000)
    with pytest.raises(DeviceError, match=needs):
        both(events.select([1]))


def test_an_event_that_cannot_be_clustered_is_named() -> None:
    px = np.array([3.0, 4.0, 3e-18, 3e-18])
    events = dj.EventBatch.from_arrays(
        pt=px,
        rapidity=[0.0, 1.0, 0.0, 0.0],
        phi=[0.0, 0.0, np.pi / 2, -np.pi / 2],
        mass=[0.0] * 4,
        offsets=[0, 2, 4],
    )
    for device in ("cpu", "cuda"):
        with pytest.raises(ClusteringError, match=r"arrays, entry 1, tree 0: .* infinite"):
            dj.cluster(events, radius=0.8, rigidity=math.inf, power=-10.0, device=device, threads=1)  # type: ignore[arg-type]


MASS = dj.observables.dijet_mass
LOSS = dj.SquaredError(MASS, target=50.0, scale=50.0).where(dj.cuts.two_jets(pt_min=5.0))
ESTIMATORS = [
    dj.StateBaseline(), dj.LeaveOneOut(), dj.MeanBaseline(), dj.OptimalBaseline(), dj.Score(), dj.AlternativePath(),
    dj.AlternativePath(all_steps=True), dj.FiniteDifference(), dj.SigmoidRelaxation(), dj.GumbelSoftmax(),
]  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: str(estimator))
def test_every_estimator_has_its_trees_from_the_gpu(estimator: Any) -> None:
    events = some_events(3, 11)
    values = [
        dj.gradient(
            events, LOSS, radius=0.8, trees=4, seed=1, estimator=estimator, device=device, threads=1
        ).value
        for device in ("cpu", "cuda")
    ]
    assert values[0] == values[1] != 0.0


def test_expectations_jets_and_reweighting() -> None:
    events = some_events(8, 12)
    found = []
    for device in ("cpu", "cuda"):
        expected = dj.expectation(events, MASS, radius=0.8, trees=4, device=device)  # type: ignore[arg-type]
        jets = dj.cluster_jets(events, radius=0.8, device=device)  # type: ignore[arg-type]
        weighed = dj.reweight(events, LOSS, radius=0.8, radii=[0.81], trees=4, device=device)  # type: ignore[arg-type]
        found.append((expected.mean.tolist(), jets.tolist(), weighed.fraction.tolist()))
    assert found[0] == found[1]


def test_auto_does_not_take_the_simulator() -> None:
    assert simulator().arrays is np
    dj.cluster(some_events(3), radius=0.8, rigidity=1.0)


def test_a_run_grows_its_trees_on_the_workers_with_gpus(
    tiny_run: Any, scheduler: str, tmp_path: Path
) -> None:
    """To the bits of a run on processors, here where both are simulated; a store is continued by the same kind of device alone."""
    losses = []
    for device in ("cpu", "cuda"):
        settings = tiny_run(tmp_path / f"{device}.zarr")
        settings["input"] |= {"pt_min": 20.0, "entries": [0, 6], "bundle_events": 3}
        settings["optimiser"] |= {"iterations": 2, "batch_events": 4}
        settings["spectrum"]["radii"] = [0.8]
        where = {"workers": 1} if device == "cuda" else {"scheduler": scheduler}
        settings["cluster"] = {"device": device} | where
        said: list[str] = []
        store = dj.Store.read(dj.run(dj.Run.from_dict(settings), watch=Listener(said)).store)
        losses.append([store.column(group, "loss").tolist() for group in ("history", "scan")])
        assert any("trees grow on 1 GPU" in line for line in said) == (device == "cuda")
    assert losses[0] == losses[1] and min(losses[0][0]) > 0.0
    settings["cluster"] = {"device": "auto", "scheduler": scheduler}
    with pytest.raises(StoreError, match=r"cluster\.device"):
        dj.run(dj.Run.from_dict(settings))


class Listener(Lines):
    """Keeps what is said."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def say(self, message: str) -> None:
        self.said.append(message)


class Seen(SchedulerPlugin):
    """Which workers evaluated, and which read."""

    def __init__(self) -> None:
        self.workers: dict[str, set[str]] = {"evaluate": set(), "read": set()}

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, worker: str = "", **more: Any
    ) -> None:
        kind = str(key).partition("-")[0]
        if finish == "memory" and kind in self.workers:
            self.workers[kind].add(worker)


def test_in_a_mixed_cluster_workers_with_gpus_grow_all_trees(tiny_run: Any, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False}
    workers = {
        0: {"cls": Worker, "options": plain | {"resources": {"GPU": 1}}},
        1: {"cls": Worker, "options": plain | {"nthreads": 2}},
    }
    ports = {"port": 0, "dashboard_address": "127.0.0.1:0"}  # 8787 may be another test's
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False, **ports}}
    settings = tiny_run(tmp_path / "mixed.zarr")
    settings["input"] |= {"pt_min": 20.0, "entries": [0, 12], "bundle_events": 2}
    settings["optimiser"] |= {"iterations": 1, "batch_events": 8}
    settings["spectrum"]["radii"] = [0.8]
    with SpecCluster(scheduler=scheduler, workers=workers) as cluster:
        seen = Seen()
        cluster.scheduler.add_plugin(seen)
        settings["cluster"] = {"scheduler": cluster.scheduler_address}  # auto: there is a GPU
        dj.run(dj.Run.from_dict(settings), watch=Listener([]))
        assert seen.workers["evaluate"] == {cluster.workers[0].address}
        assert len(seen.workers["read"]) == 2
