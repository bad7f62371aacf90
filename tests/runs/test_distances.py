"""Matrices of distances: equal to the library's, continued and mended to the same bits, drawn, told and refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import xarray as xr
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.config.distances import Distances
from djservice.core.display import Lines
from djservice.errors import ConfigError, DjserviceError, InputError, StoreError
from djservice.on_dask import distances as on_dask
from djservice.reports.distances import summarise
from djservice.runs.distances import distances
from djservice.store.distance_store import DistanceStore, read_distances
from djservice.store.verify import verify_store
from djservice.store.written import WrittenGroup

#: Events, and jets of these that pass 20 GeV at R = 0.8 with particles above 2 GeV.
EVENTS = 40


@pytest.fixture
def settings(scheduler: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "input": {"files": "example:ZHllbb_200", "pt_min": 2.0, "entries": [0, EVENTS], "bundle_events": 7},
        "jets": {"radius": 0.8, "pt_min": 25.0},
        "distance": {"radius": 0.8},
        "output": {"store": str(tmp_path / "emd.zarr")},
        "cluster": {"scheduler": scheduler},
    }  # fmt: skip


def compute(settings: dict[str, Any], **changes: Any) -> Path:
    """The store of the settings with sections changed."""
    merged = {
        k: {**settings.get(k, {}), **v} if isinstance(v, dict) else v for k, v in changes.items()
    }
    path = distances(Distances.from_dict({**settings, **merged}))
    assert isinstance(path, Path)
    return path


def files(store: Path) -> dict[str, bytes]:
    """The files that hold numbers."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("*") if "/c/" in str(p)}


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


def test_a_matrix_is_the_librarys(settings: dict[str, Any], points: Any) -> None:
    store = compute(settings)
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
    assert verify_store(store) == 5


def test_the_bits_do_not_depend_on_bundles(settings: dict[str, Any], tmp_path: Path) -> None:
    first = compute(settings)
    other = compute(
        settings, input={"bundle_events": 40}, output={"store": str(tmp_path / "o.zarr")}
    )
    assert files(first) == files(other)


def test_events_and_spectra(settings: dict[str, Any], points: Any, tmp_path: Path) -> None:
    _, whole = points
    of_events = compute(settings, jets=None, distance={"norm": False, "beta": 2.0, "radius": 1.0})
    matrix = read_distances(of_events)["distance"]
    expected = dj.emd(whole[3], whole[5], radius=1.0, beta=2.0)
    assert len(matrix) == len(whole) and matrix[3, 5] == pytest.approx(expected, rel=1e-9)
    text, _ = summarise(of_events)
    assert "EMD, R = 1, beta = 2" in text and " GeV" in text
    place = {"store": str(tmp_path / "spectral.zarr")}
    spectral = compute(settings, distance={"kind": "spectral"}, jets={"number": 2}, output=place)
    store = read_distances(spectral)
    assert set(store["place"]) == {0, 1}
    assert (np.diff(store["place"])[np.diff(store["key"].astype(float)) == 0] == 1).all()
    assert "spectral EMD" in summarise(spectral)[0]


class Killed(BaseException):
    """Stops a process as kill -9 does: nothing is caught or cleaned up."""


@pytest.mark.parametrize("call", [1, 2, 5])
def test_what_a_kill_leaves_is_continued_to_the_same_bits(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    whole = compute(settings, output={"store": str(tmp_path / "whole.zarr")})
    rows, calls, original = [], [0], WrittenGroup.update

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
    store = tmp_path / "emd.zarr"
    size = read_distances(store).stripe
    partial = read_distances(store)
    assert partial.n_complete == (call - 1) * size
    if call > 1:
        assert np.isnan(partial["distance"]).any()
        np.testing.assert_array_equal(partial["distance"], partial["distance"].T)
    with pytest.raises(DjserviceError, match=r"rows are done. Run the same command again"):
        summarise(store)
    block_of = on_dask.block_of
    monkeypatch.setattr(on_dask, "block_of", lambda *a: (rows.append(1), block_of(*a))[1])
    assert compute(settings) == store
    groups = math.ceil(len(read_distances(store)["key"]) / size)
    left = groups - call + 1
    assert len(rows) == left * (left + 1) // 2  # each block once, and none that is there
    assert files(store) == files(whole)


def test_what_is_damaged_is_computed_again(settings: dict[str, Any]) -> None:
    store = compute(settings)
    before = files(store)
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
    assert files(store) == before and verify_store(store) == 5


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


def test_other_distances_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    store = compute(settings)
    before = files(store)
    for change, key in (
        ({"distance": {"beta": 2.0}}, "distance"),
        ({"jets": {"radius": 0.7}}, "jets"),
        ({"input": {"entries": [0, 39]}}, "input"),
        ({"input": {"files": "example:ZHllbb_1000"}}, "inputs"),
    ):
        with pytest.raises(StoreError, match=f"store of other distances: {key}.* differ. Choose"):
            compute(settings, **change)
    (tmp_path / "file.zarr").write_text("mine")
    with pytest.raises(StoreError, match="no distances here"):
        compute(settings, output={"store": str(tmp_path / "file.zarr")})
    assert (tmp_path / "file.zarr").read_text() == "mine"
    assert files(store) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jets": {"radus": 1.0}}, r"unknown key jets.radus \(did you mean 'radius'"),
        ({"loss": []}, "unknown key loss"),
        ({"distance": {"kind": "emdd"}}, r"distance.kind: .*'emd' or 'spectral'"),
        ({"distance": {"beta": 0}}, "distance.beta: .*greater than 0"),
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

    with pytest.raises(InputError, match=r"0 jets have no distances.*Lower jets.pt_min"):
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
    assert checked.exit_code == 0 and "whole: 5 arrays" in checked.output
    wrong = CliRunner().invoke(main, ["emd", str(config), "--set", "distance.bta=1"])
    assert wrong.exit_code == 2 and "unknown key distance.bta (did you mean 'beta'" in wrong.output
    missing = CliRunner().invoke(main, ["emd", str(tmp_path / "none.yaml")])
    assert missing.exit_code == 2 and "docs/guides/emd.md" in missing.output
    shown = CliRunner().invoke(main, ["emd", "--help"])
    assert "djservice emd my_emd.yaml --set jets=null" in shown.output


def test_progress_counts_blocks(settings: dict[str, Any]) -> None:
    phases: list[tuple[str, int, int]] = []
    steps = [0]

    class Counted(Lines):
        def phase(self, name: str, total: int, done: int) -> None:
            phases.append((name, total, done))
            steps[0] = 0

        def step(self, numbers: dict[str, float]) -> None:
            steps[0] += 1

    distances(Distances.from_dict(settings), Counted())
    name, total, done = phases[-1]
    assert (name, done) == ("distances", 0) and steps[0] == total
    assert total in {k * (k + 1) // 2 for k in range(2, 10)}
