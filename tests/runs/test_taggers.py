"""Runs, scans and comparisons with a network in ONNX, to the numbers of the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from distributed import Client
from small_networks import write_model, write_preprocessing

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputWarning, StoreError
from djservice.fit.build import build_loss
from djservice.input.cutflow import reading_text
from djservice.runs.grid import compare, scan

WEIGHTS = [[0.1, 0.0], [0.01, 0.02]]


@pytest.fixture
def settings(tiny: dict[str, Any], scheduler: str, tmp_path: Path) -> dict[str, Any]:
    """A run whose loss is a network's score; a column is missing in its files."""
    files = {
        "model": str(write_model(tmp_path / "sums.onnx", WEIGHTS)),
        "preprocess": str(write_preprocessing(tmp_path / "pre.json")),
    }
    loss = {"observable": {"name": "onnx", **files, "output": "a - b", "jet": 1}, "target": 1.0}
    return tiny | {
        "input": tiny["input"] | {"columns": {"charge": "nowhere"}},
        "loss": loss | {"cuts": [{"name": "two_jets", "pt_min": 20.0}]},
        "cluster": {"scheduler": scheduler},
    }


def test_a_run_is_continued_only_with_the_same_network(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["task"] = "per-event"
    settings["per_event"] = {
        "iterations": 2,
        "trees": 4,
        "choose_trees": 8,
        "accepted": 2,
        "score_trees": 4,
    }
    settings["optimiser"] = {"iterations": 2, "batch_events": 16, "trees": 4}
    done = dj.run(Run.from_dict(settings))
    assert done.radius != 1.0
    reading = json.loads((tmp_path / "tiny.zarr/zarr.json").read_text())["attributes"]["reading"]
    assert reading["absent"] == {"charge": 40}
    assert "charge is in no branch of 40 entries and counts as its default" in reading_text(reading)
    moved = tmp_path / "moved.onnx"
    moved.write_bytes((tmp_path / "sums.onnx").read_bytes())
    settings["loss"]["observable"]["model"] = str(moved)
    assert dj.run(Run.from_dict(settings)).radius == done.radius
    write_model(moved, [[0.1, 0.0], [0.01, 0.03]])
    with pytest.raises(StoreError, match=r"loss\[0\]\.observable\.files"):
        dj.run(Run.from_dict(settings))


def test_a_network_is_sent_to_a_worker_once(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not with each task, of which there are many."""
    model = tmp_path / "sums.onnx"
    write_model(model, WEIGHTS, doc="x" * 300_000)
    sizes: dict[str, int] = {}
    submit = Client.submit

    def noting(self: Client, *arguments: Any, key: str, **how: Any) -> Any:
        sizes[key] = len(cloudpickle.dumps(arguments))
        return submit(self, *arguments, key=key, **how)

    monkeypatch.setattr(Client, "submit", noting)
    dj.run(Run.from_dict(settings))
    large = [key.split("-")[0] for key, size in sizes.items() if size > 100_000]
    assert large == ["setup"] and len(sizes) > 10


def test_a_scan_is_the_librarys_own(settings: dict[str, Any], tmp_path: Path) -> None:
    import xarray as xr

    run = Run.from_dict(settings)
    store = scan(run, tmp_path / "scan.zarr", rigidities=(1.0,), radii=(0.7,), trees=5)
    grid = xr.open_zarr(store, consolidated=False)
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 40))
    with pytest.warns(InputWarning, match="reads charge"):
        expected = dj.gradient(events, build_loss(run), radius=0.7, trees=5, seed=run.seed)
    cell = float(grid["loss"].values[0, 0, 0, 0])
    assert cell == pytest.approx(expected.loss.value, abs=5 * expected.loss.error)
    write_model(tmp_path / "sums.onnx", [[0.2, 0.0], [0.01, 0.02]])
    with pytest.raises(StoreError, match=r"loss\[0\]\.observable\.files"):
        scan(run, tmp_path / "scan.zarr", rigidities=(1.0,), radii=(0.7,), trees=5)


def test_estimators_are_compared(settings: dict[str, Any], tmp_path: Path) -> None:
    import xarray as xr

    store = compare(
        Run.from_dict(settings), tmp_path / "compare.zarr",
        [dj.LeaveOneOut(), dj.FiniteDifference()], rigidities=(1.0,), radii=(0.7,), repetitions=2, trees=4,
    )  # fmt: skip
    assert np.isfinite(xr.open_zarr(store, consolidated=False)["gradient"].values).all()


def test_coffea_has_the_librarys_numbers(settings: dict[str, Any]) -> None:
    loss = build_loss(Run.from_dict(settings))
    how: dict[str, Any] = {"radius": 0.7, "trees": 4, "seed": 3}
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    class Schema(NanoAODSchema):
        warn_missing_crossrefs = False

    chunk = NanoEventsFactory.from_root(
        {dj.examples.path("ZHllbb_200"): "Events"}, entry_stop=20, schemaclass=Schema, mode="virtual",
        metadata={"dataset": "ZH", "filename": "x", "entrystart": 0, "entrystop": 20},
    ).events()  # fmt: skip
    processor = dj.RadiusProcessor(loss, pt_min=2.0, columns={"charge": "nowhere"}, **how)
    with pytest.warns(InputWarning, match="charge is in no branch"):
        result = processor.postprocess(processor.process(chunk))["all"]
    events = dj.read(
        "example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 20), dataset="ZH"
    )
    with pytest.warns(InputWarning, match="reads charge"):
        expected = dj.gradient(events, loss, **how)
    assert result.gradient.value == pytest.approx(expected.value, rel=1e-12) != 0.0
