"""Which device is taken, and what is said where there is none."""

from __future__ import annotations

import logging
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from distributed import LocalCluster

import djservice as dj
from djservice.clustering import device
from djservice.errors import DeviceError, InputError

EVENT = dj.EventBatch.from_arrays(
    pt=[2.0, 1.0], rapidity=[0.0, 1.0], phi=[0.0, 1.0], mass=[0.0, 0.0], offsets=[0, 2]
)


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CuPy is not installed unless a test says so, and what was found out of the modules is forgotten before and afterwards."""
    monkeypatch.setitem(sys.modules, "cupy", None)
    caches = (device._gpu_problem, device._warn_once, device._first_gpu)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    """A module of this name, as if it were installed."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, made)


def cupy(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    """CuPy, with a GPU of 10 multiprocessors or without a driver; and numba-cuda."""
    gpu = SimpleNamespace(mem_info=(1000, 2000), attributes={"MultiProcessorCount": 10})
    pool = SimpleNamespace(free_bytes=lambda: 500)
    cuda = SimpleNamespace(is_available=lambda: available, Device=lambda: gpu)
    module(monkeypatch, "cupy", cuda=cuda, get_default_memory_pool=lambda: pool)
    module(monkeypatch, "numba_cuda")


def test_without_cupy_auto_is_the_processors_and_says_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert device.gpu("auto") is None
    assert not caplog.records


def test_without_a_driver_auto_is_the_processors_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cupy(monkeypatch, available=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert dj.cluster(EVENT, radius=0.4, rigidity=1.0).n_jets[0, 0] > 0
    (record,) = caplog.records
    assert "trees grow on the processors: CuPy finds no GPU" in record.getMessage()


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy(monkeypatch, available=True)
    found = device.gpu("auto")
    assert found is not None and found is device.gpu("cuda")
    assert (found.threads, found.free()) == (3840, 1500)
    assert device.gpu("cpu") is None


@pytest.mark.parametrize("installed", [True, False])
def test_cuda_without_a_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if installed:
        cupy(monkeypatch, available=False)
    why = "CuPy finds no GPU" if installed else "cupy is not installed"
    with pytest.raises(DeviceError, match=f"device is 'cuda', but {why}.*device='cpu'"):
        dj.cluster(EVENT, radius=0.4, rigidity=1.0, device="cuda")


def test_another_device_is_refused() -> None:
    with pytest.raises(InputError, match="device is 'tpu', expected 'auto', 'cpu' or 'cuda'"):
        dj.cluster(EVENT, radius=0.4, rigidity=1.0, device="tpu")  # type: ignore[arg-type]


def test_a_run_on_cuda_without_a_gpu_ends_before_a_cluster_starts(tiny: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="device is 'cuda', but cupy is not installed"):
        dj.run(dj.Run.from_dict({**tiny, "cluster": {"device": "cuda"}}))


def test_a_run_on_cuda_where_no_worker_announces_a_gpu(
    tiny: dict[str, Any], scheduler: str
) -> None:
    with pytest.raises(
        DeviceError,
        match=r"no worker announces a GPU\. Start workers with `dask cuda worker ADDRESS",
    ):
        dj.run(dj.Run.from_dict({**tiny, "cluster": {"scheduler": scheduler, "device": "cuda"}}))


def test_a_worker_that_announces_a_gpu_that_it_does_not_have(tiny: dict[str, Any]) -> None:
    own: dict[str, Any] = {"protocol": "tcp", "host": "127.0.0.1", "dashboard_address": None}
    own["scheduler_kwargs"] = {"dashboard_address": "127.0.0.1:0"}
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, resources={"GPU": 1}, **own
    ) as local:
        settings = {**tiny, "cluster": {"scheduler": local.scheduler_address}}
        with pytest.raises(
            DeviceError,
            match=r"the worker tcp://.* announces GPU=1, but on it .*cupy is not installed",
        ):
            dj.run(dj.Run.from_dict(settings))
