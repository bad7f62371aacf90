"""Matrices of distances: equal to the library's, continued and mended to the same bits, drawn, told and refused."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.config.distances import Distances
from djservice.core.display import Lines
from djservice.errors import ConfigError, DjserviceError, InputError, StoreError
from djservice.exports.contents import contents_of
from djservice.reports.distances import distances_text
from djservice.runs.distances import distances
from djservice.store.distance_store import DistanceStore, read_distances
from djservice.store.jet_table import JetTable
from djservice.store.verify import verify_store
from djservice.store.written import WrittenGroup

#: Events, and jets of these that pass 20 GeV at R = 0.8 with particles above 2 GeV.
EVENTS = 40


def settings_of(store: Path, scheduler: str) -> dict[str, Any]:
    return {
        "input": {
            "files": "example:ZHllbb_200",
            "pt_min": 2.0,
            "entries": [0, EVENTS],
            "bundle_events": 7,
        },
        "jets": {"radius": 0.8, "pt_min": 25.0},
        "distance": {"radius": 0.8},
        "output": {"store": str(store)},
        "cluster": {"scheduler": scheduler},
    }


@pytest.fixture
def settings(scheduler: str, tmp_path: Path) -> dict[str, Any]:
    return settings_of(tmp_path / "emd.zarr", scheduler)


def matrix_above(store: str) -> list[float]:
    """The distances above the diagonal, row by row."""
    matrix = read_distances(store)["distance"]
    return [float(x) for i, row in enumerate(matrix) for x in row[i + 1 :]]


class Counted(Lines):
    """A watch that keeps its phases and counts the steps of the last one."""

    def phase(self, name: str, total: int, done: int) -> None:
        self.last_phase, self.steps = (name, total, done), 0
        super().phase(name, total, done)

    def step(self, numbers: dict[str, float]) -> None:
        self.steps += 1
        super().step(numbers)


@pytest.fixture(scope="module")
def whole(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the settings, undisturbed. Tests that change it copy it."""
    store = tmp_path_factory.mktemp("whole") / "emd.zarr"
    watch = Counted()
    distances(Distances.from_dict(settings_of(store, scheduler)), watch)
    assert watch.last_phase == ("blocks", 36, 0) and watch.steps == 36  # 8 groups, each pair once
    return store


@pytest.fixture
def copied(whole: Path, settings: dict[str, Any]) -> Path:
    return Path(shutil.copytree(whole, settings["output"]["store"]))


def compute(settings: dict[str, Any], watch: Lines | None = None, **changes: Any) -> Path:
    """The store of the settings with sections changed."""
    merged = {
        k: {**settings.get(k, {}), **v} if isinstance(v, dict) else v for k, v in changes.items()
    }
    path = distances(Distances.from_dict({**settings, **merged}), watch)
    assert isinstance(path, Path)
    return path


def files(store: Path) -> dict[str, bytes]:
    """The files that hold numbers."""
    chunks = [path for path in store.rglob("c/**/*") if path.is_file()]
    assert len(chunks) > 60
    return {str(path.relative_to(store)): path.read_bytes() for path in chunks}


@pytest.fixture
def points() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The leading jets and the events of the settings, by the library."""
    events = dj.read(
        "example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, EVENTS)
    )
    rows = np.column_stack([events.pt, events.rapidity, events.phi])
    whole = np.split(rows, events.offsets[1:-1])
    jets = dj.cluster_jets(events, radius=0.8, pt_min=25.0, jets=1).constituents
    leading = [whole[i][ak.to_numpy(jets[i, 0])] for i in range(EVENTS) if len(jets[i])]
    return leading, [x for x in whole if len(x)]


def test_a_matrix_is_the_librarys(whole: Path, points: Any) -> None:
    import xarray as xr

    store = whole
    leading, _ = points
    assert 20 < len(leading) < EVENTS  # some events have none
    found = xr.open_zarr(store, consolidated=False)
    assert dict(found.sizes) == {"jet": len(leading), "other": len(leading)}
    matrix = found.distance.values
    np.testing.assert_array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0.0).all()
    expected = [dj.emd(leading[0], x, radius=0.8, norm=True, centre=True) for x in leading]
    np.testing.assert_allclose(matrix[0], expected, rtol=1e-9, atol=1e-12)
    assert matrix[-2, -3] == pytest.approx(
        dj.emd(leading[-2], leading[-3], radius=0.8, norm=True, centre=True), rel=1e-9
    )
    np.testing.assert_allclose(found.pt.values, [x[:, 0].sum() for x in leading], rtol=1e-12)
    assert found.particles.values.tolist() == list(map(len, leading))
    assert found.attrs["facts"]["without jets"] == EVENTS - len(leading)
    assert "POT" in found.attrs["versions"]
    assert verify_store(store) == 9


def test_the_bits_do_not_depend_on_bundles(settings: dict[str, Any], whole: Path) -> None:
    assert files(compute(settings, input={"bundle_events": 40})) == files(whole)


def test_events_and_spectra(settings: dict[str, Any], points: Any, tmp_path: Path) -> None:
    _, whole = points
    of_events = compute(settings, jets=None, distance={"norm": False, "beta": 2.0, "radius": 1.0})
    matrix = read_distances(of_events)["distance"]
    expected = dj.emd(whole[3], whole[5], radius=1.0, beta=2.0)
    assert len(matrix) == len(whole) and matrix[3, 5] == pytest.approx(expected, rel=1e-9)
    text = distances_text(of_events)
    assert "EMD, R = 1, beta = 2" in text and " GeV" in text
    place = {"store": str(tmp_path / "spectral.zarr")}
    spectral = compute(settings, distance={"kind": "spectral"}, jets={"number": 2}, output=place)
    store = read_distances(spectral)
    assert set(store["place"]) == {0, 1}
    assert (np.diff(store["place"])[np.diff(store["key"].astype(float)) == 0] == 1).all()
    assert "spectral EMD" in distances_text(spectral)


class Killed(BaseException):
    """Stops a process as kill -9 does: nothing is caught or cleaned up."""


@pytest.mark.parametrize("call", [1, 4])
def test_what_a_kill_leaves_is_continued_to_the_same_bits(
    settings: dict[str, Any], whole: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    calls, original = [0], WrittenGroup.update

    def update(self: Any, **changes: Any) -> None:
        if "n_complete" in changes:  # rows are written, and not counted yet
            calls[0] += 1
            if calls[0] == call:
                raise Killed
        original(self, **changes)

    monkeypatch.setattr(WrittenGroup, "update", update)
    with pytest.raises(Killed):
        compute(settings)
    monkeypatch.undo()
    store = Path(settings["output"]["store"])
    partial = read_distances(store)
    assert partial.n_complete == (call - 1) * partial.stripe
    matrix = partial["distance"]
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.isnan(matrix).sum() == (len(matrix) - partial.n_complete) ** 2
    with pytest.raises(DjserviceError, match=r"rows are done. Run the same command again"):
        distances_text(store)
    watch, left = Counted(), 9 - call
    assert compute(settings, watch) == store
    assert watch.steps == left * (left + 1) // 2  # each block once, and none that is there
    assert files(store) == files(whole)


@pytest.mark.long
def test_kill_minus_nine(settings: dict[str, Any], whole: Path, tmp_path: Path) -> None:
    """Processes of their own, killed whenever a further stripe is there, until one is faster."""
    config, kills = tmp_path / "emd.yaml", 0
    config.write_text(yaml.safe_dump({**settings, "cluster": {"workers": 2}}))
    command = [Path(sys.executable).parent / "djservice", "emd", config]
    store = Path(settings["output"]["store"])
    while kills < 8:
        done = read_distances(store).n_complete if store.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            if store.exists() and read_distances(store).n_complete > done:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        if process.wait(timeout=300) == 0:
            break
        kills += 1
    assert kills > 0 and compute(settings) == store
    assert files(store) == files(whole) and verify_store(store) == 9


def test_what_is_damaged_is_computed_again(settings: dict[str, Any], copied: Path) -> None:
    store, before = copied, files(copied)
    chunk = store / "distance/c/2/1"
    damaged = bytearray(chunk.read_bytes())
    damaged[-9] ^= 1
    chunk.write_bytes(damaged)
    (store / "key/c/0").unlink()
    with pytest.raises(DjserviceError, match=r"distance.*c/2/1") as error:
        verify_store(store)
    assert "key/c/0" in str(error.value)
    with pytest.raises(DjserviceError, match="c/2/1"):
        read_distances(store)["distance"]
    compute(settings)
    assert files(store) == before and verify_store(store) == 9


def test_a_stripe_is_not_mirrored_from_damaged_rows(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, stripes = DistanceStore.write, []

    def spoiled(self: Any, right: Any) -> None:
        stripes.append(right)
        if len(stripes) == 3:
            (store / "distance/c/0/2").unlink()
        write(self, right)

    store = Path(settings["output"]["store"])
    monkeypatch.setattr(DistanceStore, "write", spoiled)
    with pytest.raises(DjserviceError, match=r"distance, rows 0 to .*c/0/2 is missing"):
        compute(settings)


def test_other_distances_are_refused(
    settings: dict[str, Any], copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(copied)
    for change, key in (
        ({"distance": {"beta": 2.0}}, "distance"),
        ({"jets": {"radius": 0.7}}, "jets"),
        ({"input": {"entries": [0, 39]}}, "input"),
        ({"input": {"files": "example:ZHllbb_1000"}}, "inputs"),
    ):
        with pytest.raises(StoreError, match=f"store of other distances: {key}.* differ. Choose"):
            compute(settings, **change)
    with monkeypatch.context() as patch:  # as after a range that could not be read
        patch.setattr(JetTable, "digest", "of other jets")
        with pytest.raises(StoreError, match="store of other distances: sample differ"):
            compute(settings)
    (tmp_path / "file.zarr").write_text("mine")
    with pytest.raises(StoreError, match="no distances here"):
        compute(settings, output={"store": str(tmp_path / "file.zarr")})
    assert (tmp_path / "file.zarr").read_text() == "mine"
    assert files(copied) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jets": {"radus": 1.0}}, r"unknown key jets.radus \(did you mean 'radius'"),
        ({"loss": []}, "unknown key loss"),
        ({"distance": {"kind": "emdd"}}, r"distance.kind: expected 'emd' or 'spectral'"),
        ({"distance": {"beta": 0}}, "distance.beta: expected more than 0"),
        ({"distance": {"radius": math.nan}}, "distance.radius"),
        ({"distance": {"norm": 1.5}}, "distance.norm"),
        ({"distance": {"kind": "spectral", "norm": False}}, "distance: norm: spectra are compared"),
        ({"jets": {"number": 0}}, "jets.number"),
        ({"cluster": {"device": "cuda", "scheduler": None}}, "computed on processors"),
        ({"output": {}}, "missing key output.store"),
    ],
)
def test_configurations_without_meaning(
    settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    section, content = next(iter(change.items()))
    merged = {**settings.get(section, {}), **content} if content else content
    with pytest.raises(ConfigError, match=message):
        Distances.from_dict({**settings, section: merged})


def test_too_few_and_too_many_jets(settings: dict[str, Any]) -> None:
    import dask

    with pytest.raises(InputError, match=r"0 jets: distances need 2 or more.*Lower jets.pt_min"):
        compute(settings, jets={"pt_min": 1e5})
    with (
        dask.config.set({"djservice.limits.distances": 10}),
        pytest.raises(ConfigError, match=r"at most 10, found .*djservice\.limits\.distances"),
    ):
        compute(settings)
    assert not Path(settings["output"]["store"]).exists()


def test_on_the_command_line(settings: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "emd.yaml"
    config.write_text(yaml.safe_dump(settings))
    done = CliRunner().invoke(main, ["emd", str(config), "--set", "jets.pt_min=30"])
    assert done.exit_code == 0, done.output
    store = settings["output"]["store"]
    for text in ("closest pair:", "correlation dimension at Q =", f"wrote {store}", " s left"):
        assert text in done.output, done.output
    assert (tmp_path / "emd.png").stat().st_size > 5000 and (tmp_path / "emd.svg").exists()
    checked = CliRunner().invoke(main, ["check", store])
    again = CliRunner().invoke(main, ["show", store])
    assert (again.exit_code, again.stdout) == (0, done.stdout[: done.stdout.index("wrote ")])
    drawn = CliRunner().invoke(main, ["report", store])
    assert (drawn.exit_code, drawn.stdout.count("wrote ")) == (0, 2)
    pairs = contents_of(store).tables["pairs"]
    assert pairs["distance"].values.tolist() == matrix_above(store)
    hepdata = CliRunner().invoke(main, ["export", store, "--to", "hepdata"])
    assert (hepdata.exit_code, "Choose another format" in hepdata.stderr) == (1, True)
    assert checked.exit_code == 0 and "whole: 9 arrays" in checked.output
    wrong = CliRunner().invoke(main, ["emd", str(config), "--set", "distance.bta=1"])
    assert wrong.exit_code == 2 and "unknown key distance.bta (did you mean 'beta'" in wrong.output
    missing = CliRunner().invoke(main, ["emd", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 2 and "docs/guides/emd.md" in missing.output
    shown = CliRunner().invoke(main, ["emd", "--help"])
    assert "djservice emd my_emd.yaml --set jets=null" in shown.output
