"""Every array of every kind of store says its units and what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import djservice as dj
from djservice.config.run import TASK_SECTIONS
from djservice.input.cache import save_cached
from djservice.input.cutflow import Cutflow
from djservice.reprocessing.apply import _write
from djservice.runs.grid import scan
from djservice.shapes.forms import named_shape
from djservice.shapes.table import lengths_of
from djservice.store.archive import Archive
from djservice.store.columns import MODELS, ModelColumns, StoreColumns, create_groups
from djservice.store.distance_store import open_distances
from djservice.store.jet_table import JetTable
from djservice.store.local_folder import LocalFolder
from djservice.store.meanings import IDENTITY
from djservice.store.shape_store import open_shapes

KEYS, ONES = np.arange(3, dtype=np.uint64), np.ones(3)
COLUMNS = {name: KEYS.astype(kind) for name, kind in IDENTITY.items()}


def run_store(model: str, path: Path) -> zarr.Group:
    columns = ModelColumns(model, ("a", "b"), 5, {"held_back": (KEYS, ONES, ONES)})
    shape = StoreColumns(
        5, [0.4], 2, KEYS, ONES, starts=(0.4, 1.0), model=columns, histogram=(2, 3), units="GeV", identity=COLUMNS
    )  # fmt: skip
    LocalFolder(str(path)).create(lambda root: create_groups(root, shape))
    return zarr.open_group(path, mode="r")


def jet_table() -> JetTable:
    place = np.zeros(3, np.int64)
    identity = (COLUMNS[name] for name in ("run", "luminosityBlock", "event", "entry"))
    return JetTable(KEYS, *identity, place, ONES, place)


def shapes(path: Path) -> zarr.Group:
    with open_shapes(path, jet_table(), 2, lengths_of(named_shape("disk+uniform", 2)), {}, {}):
        return zarr.open_group(path, mode="r")


def distances(path: Path) -> zarr.Group:
    with open_distances(path, jet_table(), 2, {"distance": {"norm": False}}, {}):
        return zarr.open_group(path, mode="r")


def applied(path: Path) -> zarr.Group:
    columns = {"key": KEYS, "weight": ONES, **COLUMNS, "left": ONES > 0, "radius": ONES}
    columns |= {"event_mean": ONES, "event_error": ONES, "event_accepted": KEYS.astype(np.int64)}
    _write(path, columns, {}, "GeV")
    return zarr.open_group(path, mode="r")


def cache(path: Path) -> zarr.Group:
    batch = dj.EventBatch.from_arrays(
        pt=ONES, eta=ONES, phi=ONES, mass=ONES, offsets=[0, 3], columns={"charge": ONES}
    )
    save_cached(str(path), "a", batch, Cutflow())
    return Archive(path / "a.zarr.zip").group("r")


KINDS: dict[str, Callable[[Path], Any]] = {
    **{model: lambda path, model=model: run_store(model, path) for model in MODELS},  # type: ignore[misc]
    "distances": distances,
    "shapes": shapes,
    "applied": applied,
    "cache": cache,
}


def check(root: zarr.Group) -> None:
    arrays = {
        name: member for name, member in root.members(max_depth=None) if hasattr(member, "shape")
    }
    assert arrays
    for name, array in arrays.items():
        assert set(array.attrs) == {"units", "long_name"}, name
        assert array.attrs["long_name"] and array.attrs["units"], name


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_have_units_and_a_long_name(kind: str, tmp_path: Path) -> None:
    check(KINDS[kind](tmp_path / "made"))


def test_arrays_of_a_scan_and_of_a_finished_run_have_them_too(
    tiny: dict[str, Any], finished_run: Path, scheduler: str, tmp_path: Path
) -> None:
    run = dj.Run.from_dict(tiny | {"cluster": {"scheduler": scheduler}})
    check(zarr.open_group(scan(run, tmp_path / "scan", radii=(0.4,), trees=4), mode="r"))
    group = zarr.open_group(finished_run, path="spectrum", mode="r")
    assert group["event_mean"].attrs["units"] == "GeV"
    assert (
        group["event"][:3].tolist() == dj.read("example:ZHllbb_200", entries=(0, 3)).event.tolist()
    )


def test_every_kind_of_model_is_tried() -> None:
    assert set(MODELS) == set(TASK_SECTIONS) - {"per_event"}
