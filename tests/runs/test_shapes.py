"""Fitted shapes of many jets: equal to the library's, continued and mended to the same bits, drawn and refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.core.display import Lines
from djservice.errors import ConfigError, DjserviceError, InputError, StoreError
from djservice.exports.contents import contents_of
from djservice.reports.shapes import shapes_text
from djservice.shapes.forms import named_shape
from djservice.store.shape_store import read_shapes
from djservice.store.verify import verify_store
from djservice.store.written import WrittenGroup

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
        "shape": {"kind": "ring"},
        "output": {"store": str(store)},
        "cluster": {"scheduler": scheduler},
    }


@pytest.fixture
def settings(scheduler: str, tmp_path: Path) -> dict[str, Any]:
    return settings_of(tmp_path / "shapes.zarr", scheduler)


@pytest.fixture(scope="module")
def whole(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the settings, undisturbed. Tests that change it copy it."""
    path = tmp_path_factory.mktemp("whole") / "shapes.zarr"
    return Path(dj.fit_shapes(settings_of(path, scheduler), watch=Lines()))


@pytest.fixture
def copied(whole: Path, settings: dict[str, Any]) -> Path:
    return Path(shutil.copytree(whole, settings["output"]["store"]))


def compute(settings: dict[str, Any], **changes: Any) -> Path:
    """The store of the settings with sections changed."""
    merged = {
        k: {**settings.get(k, {}), **v} if isinstance(v, dict) else v for k, v in changes.items()
    }
    return Path(dj.fit_shapes({**settings, **merged}, watch=Lines()))


def files(store: Path) -> dict[str, bytes]:
    """The files that hold numbers."""
    chunks = [path for path in store.rglob("c/**/*") if path.is_file()]
    assert len(chunks) >= 19
    return {str(path.relative_to(store)): path.read_bytes() for path in chunks}


def events_of() -> tuple[ak.Array, list[ak.Array]]:
    """The events of the settings as records of particles, and the leading jets, by the library."""
    events = dj.read(
        "example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, EVENTS)
    )
    names = ("pt", "rapidity", "phi", "mass")
    flat = ak.zip({name: getattr(events, name) for name in names})
    records = ak.unflatten(flat, np.diff(events.offsets))
    jets = dj.cluster_jets(events, radius=0.8, pt_min=25.0, jets=1).constituents
    return records, [records[i][jets[i, 0]] for i in range(EVENTS) if len(jets[i])]


def test_fits_are_the_librarys(whole: Path) -> None:
    import xarray as xr

    _, leading = events_of()
    assert 20 < len(leading) < EVENTS  # some events have none
    found = xr.open_zarr(whole, consolidated=False)
    assert dict(found.sizes) == {"jet": len(leading), "prong": 1, "part": 1}
    expected = [dj.shapes.fit(jet, dj.shapes.Ring()) for jet in leading]
    for name, values in {
        "value": [fit.value for fit in expected],
        "prong_radius": [fit.radii for fit in expected],
        "centre_phi": [fit.centres[:, 1] for fit in expected],
        "part_weight": [fit.weights for fit in expected],
        "prong_pt": [fit.jets.pt for fit in expected],
        "prong_mass": [fit.jets.mass for fit in expected],
        "pt": [ak.sum(jet.pt) for jet in leading],
    }.items():
        np.testing.assert_allclose(found[name].values, values, rtol=1e-9, atol=1e-9, err_msg=name)
    assert found.attrs["facts"]["without jets"] == EVENTS - len(leading)
    assert "POT" in found.attrs["versions"]
    assert verify_store(whole) == 20


class Killed(BaseException):
    """Stops a process as kill -9 does: nothing is caught or cleaned up."""


def test_what_a_kill_leaves_is_continued_with_other_bundles_to_the_same_bits(
    settings: dict[str, Any], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [0], WrittenGroup.update

    def update(self: Any, **changes: Any) -> None:
        if "n_complete" in changes:  # rows are written, and not counted yet
            calls[0] += 1
            if calls[0] == 4:
                raise Killed
        original(self, **changes)

    monkeypatch.setattr(WrittenGroup, "update", update)
    with pytest.raises(Killed):
        compute(settings)
    monkeypatch.undo()
    store = Path(settings["output"]["store"])
    assert read_shapes(store).n_complete == len(read_shapes(store)["value"]) == 15
    with pytest.raises(DjserviceError, match=r"15 of 39 jets are done. Run the same command again"):
        shapes_text(store)
    jets = contents_of(store).tables["jets"]
    assert len(jets["key"].values) == len(jets["value"].values) == 15
    compute(settings, input={"bundle_events": 40})
    assert files(store) == files(whole)


def test_what_is_damaged_is_computed_again(settings: dict[str, Any], copied: Path) -> None:
    before = files(copied)
    chunk = copied / "prong_mass/c/0/0"
    damaged = bytearray(chunk.read_bytes())
    damaged[-9] ^= 1
    chunk.write_bytes(damaged)
    (copied / "key/c/0").unlink()
    with pytest.raises(DjserviceError, match=r"key.*c/0.*prong_mass|prong_mass.*key/c/0"):
        verify_store(copied)
    with pytest.raises(DjserviceError, match="c/0/0"):
        read_shapes(copied)["prong_mass"]
    compute(settings)
    assert files(copied) == before and verify_store(copied) == 20


def test_other_shapes_are_refused(settings: dict[str, Any], copied: Path) -> None:
    before = files(copied)
    for change, key in (
        ({"shape": {"kind": "disk"}}, "shape"),
        ({"shape": {"beta": 2.0}}, "shape"),
        ({"jets": {"radius": 0.7}}, "jets"),
        ({"input": {"entries": [0, 39]}}, "input"),
    ):
        with pytest.raises(StoreError, match=f"store of other shapes: .*{key}.* differ. Choose"):
            compute(settings, **change)
    assert files(copied) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": {"kind": "disc"}}, r"shape: unknown shape 'disc'.*did you mean 'disk'"),
        ({"shape": {"kind": "disk+disk"}}, "each kind of part once"),
        ({"shape": {"n": 0}}, "shape.n"),
        ({"shape": {"beta": 3}}, "shape.beta: expected 2 or less"),
        ({"shape": {"kind": "cylinder isotropy", "y_max": 2}}, "and 2 for the cylinder"),
        ({"shape": {"y_max": 2.0}}, "has no uniform part"),
        ({"shape": {"output": "radius"}}, "unknown key shape.output"),
        ({"distance": {}}, "unknown key distance"),
        ({"cluster": {"device": "cuda", "scheduler": None}}, "shapes are computed on processors"),
    ],
)
def test_configurations_without_meaning(
    settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compute(settings, **change)
    assert not Path(settings["output"]["store"]).exists()


def test_whole_events_and_no_jets(settings: dict[str, Any]) -> None:
    records, _ = events_of()
    store = read_shapes(compute(settings, jets=None, shape={"kind": "ring isotropy"}))
    isotropy = named_shape("ring isotropy", 1)
    assert store["value"][3] == pytest.approx(dj.shapes.fit(records[3], isotropy).value, rel=1e-9)
    assert "prong_radius" not in store and "ring isotropy" in shapes_text(store.where)
    with pytest.raises(InputError, match=r"no jets to fit. Lower jets.pt_min"):
        compute(settings, jets={"pt_min": 1e5})


def test_on_the_command_line(settings: dict[str, Any], tmp_path: Path) -> None:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(main, [*arguments])

    config = tmp_path / "shapes.yaml"
    config.write_text(yaml.safe_dump(settings | {"shape": {"kind": "point", "n": 8}}))
    done = call("shapes", str(config))
    assert done.exit_code == 0, done.output
    store = settings["output"]["store"]
    few = int(np.isnan(read_shapes(store)["value"]).sum())
    assert few == (read_shapes(store)["particles"] < 8).sum() > 0
    for text in (f"fewer particles than prongs: {few},", "mean value:", "mass of the jet, prong 8"):
        assert text in done.stdout
    assert (tmp_path / "shapes.png").stat().st_size > 5000 and (tmp_path / "shapes.svg").exists()
    shown, checked = call("show", store), call("check", store)
    assert (shown.exit_code, shown.stdout) == (0, done.stdout[: done.stdout.index("wrote ")])
    assert (checked.exit_code, "whole: 20 arrays" in checked.stdout) == (0, True)
    assert call("report", store).stdout.count("wrote ") == 2
    prongs = contents_of(store).tables["prongs"]
    assert prongs["part_weight_0"].values.tolist() == pytest.approx(
        read_shapes(store)["part_weight"][:, :, 0].ravel().tolist(), nan_ok=True
    )
    wrong = call("shapes", str(config), "--set", "shape.kind=disc")
    assert wrong.exit_code == 2 and "did you mean 'disk'" in wrong.output
    assert call("check", str(config), "--set", "shape.kind=disc").exit_code == 2
