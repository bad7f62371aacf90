"""What is in a store, and what is none."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_settings import Changes, Do, changed

import djservice as dj
from djservice.config.run import Run
from djservice.errors import StoreError
from djservice.lund_planes.density import SUMS_SHAPE
from djservice.store.columns import HISTORY, SCAN, SPECTRUM_EVENT
from djservice.store.run_store import Store


def test_xarray_opens_every_group_of_a_finished_run_by_name(do: Do) -> None:
    import xarray

    path = do()
    store = Store.read(path)
    dimensions = {
        "history": {"iteration": 6, "parameter": 1},
        "scan": {"radius": 4},
        "spectrum": {
            "radius": 3,
            "event": 40,
            "sum": SUMS_SHAPE[0],
            "x": SUMS_SHAPE[1],
            "y": SUMS_SHAPE[2],
        },
    }
    names = {"history": HISTORY, "scan": SCAN, "spectrum": (*SCAN, *SPECTRUM_EVENT)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for group, sizes in dimensions.items():
            data = xarray.open_zarr(path, group=group, chunks=None)
            assert dict(data.sizes) == sizes
            assert data.attrs["n_complete"] == next(iter(sizes.values()))
            for name in names[group]:
                assert np.array_equal(
                    data[name].values, store.column(group, name), equal_nan=True
                ), name
        tree = xarray.open_datatree(path, engine="zarr", chunks=None)
    assert tree["scan"]["radius"].values.tolist() == [0.4, 0.7, 1.0, 1.2]
    assert tree["history"]["iteration"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_xarray_opens_an_unfinished_run(small_store: Callable[..., Any], tmp_path: Path) -> None:
    import xarray

    with small_store() as store:
        store.write_rows("history", 0, {"radius": [1.0, 0.9]})
        data = xarray.open_zarr(
            tmp_path / "a.zarr", group="history", consolidated=False, chunks=None
        )
    assert data.attrs["n_complete"] == 2
    assert data["radius"].values[:2].tolist() == [1.0, 0.9]
    assert np.isnan(data["radius"].values[2:]).all()


def test_the_copies_of_the_metadata_go_before_they_are_stale(
    small_store: Callable[..., Any], tmp_path: Path
) -> None:
    def copies() -> int:
        return sum(
            "consolidated_metadata" in file.read_text()
            for file in (tmp_path / "a.zarr").rglob("zarr.json")
        )

    with small_store() as store:
        store.consolidate()
    assert copies() == 5
    with small_store(iterations=9):
        assert copies() == 0


def test_attributes_hold_run_versions_inputs_and_status(
    do: Do, tiny: Changes, scheduler: str
) -> None:
    import numba

    do()
    attributes = Store.read(do()).attributes  # of a run that goes on, where nothing is left to do
    expected = Run.from_dict(changed(tiny, {"cluster.scheduler": scheduler}))
    assert Run.from_dict(attributes["run"]) == expected
    assert attributes["versions"]["numba"] == numba.__version__
    assert attributes["versions"]["djservice"] == "0.1.0"
    (file,) = attributes["inputs"]
    assert file["entries"] == 200
    assert file["size"] == os.path.getsize(file["path"])
    assert (attributes["status"], attributes["message"], attributes["events"]) == (
        "finished",
        "",
        40,
    )
    assert attributes["result"]["iterations"] == 6


def test_rows_count_only_once_they_are_complete(small_store: Callable[..., Any]) -> None:
    with small_store() as store:
        store.write_rows("history", 0, {"radius": [1.0, 0.9], "loss": [3.0, 2.0]})
        with pytest.raises(KeyError, match="no such column"):
            store.write_rows("history", 2, {"radius": [0.8], "no such column": [1.0]})
        assert store.n_complete("history") == 2
        assert store.column("history", "radius").tolist() == [1.0, 0.9]
        store.write_rows("history", 2, {"radius": [0.7]})
        assert store.column("history", "radius").tolist() == [1.0, 0.9, 0.7]
        store.rewind("history", 1)
        assert store.column("history", "radius").tolist() == [1.0]


def of_mass(factor: float) -> dj.observables.Observable:
    if factor == 1.0:

        @dj.observable(units="GeV", name="mine")
        def mine(jets: Any) -> Any:
            return jets.mass[..., 0]
    else:

        @dj.observable(units="GeV", name="mine")
        def mine(jets: Any) -> Any:
            return jets.mass[..., 0] * 2.0

    return mine


def test_a_python_observable_is_stored_by_name_and_source(do: Do) -> None:
    path = do({"loss": {"observable": of_mass(1.0), "target": 20.0}})
    observable = Store.read(path).attributes["run"]["loss"][0]["observable"]
    assert observable["title"] == "mine"
    assert "of_mass.<locals>.mine#" in observable["python"]
    do({"loss": {"observable": of_mass(1.0), "target": 20.0}})
    with pytest.raises(
        StoreError,
        match=r"loss\[0\]\.observable\.python is '.*mine#\w+' there and '.*mine#\w+' now",
    ):
        do({"loss": {"observable": of_mass(2.0), "target": 20.0}})


def test_what_is_no_store_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        Store.read(tmp_path / "gone.zarr")
    with pytest.raises(StoreError, match="not the store of a djservice run"):
        Store.read(tmp_path)


def test_a_store_of_another_format_is_not_read(
    small_store: Callable[..., Any], tmp_path: Path
) -> None:
    with small_store() as store:
        store.set(djservice_format=99)
    with pytest.raises(StoreError, match="format 99, expected 5"):
        Store.read(tmp_path / "a.zarr")
