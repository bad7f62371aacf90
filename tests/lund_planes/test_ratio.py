"""Files of ratios: written whole, read to the bit, and refused if damaged, of other versions or bins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hist
import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.core.checksums import sealed
from djservice.errors import InputError, InputFileError, MissingFileError
from djservice.lund_planes.binning import Binning, PlaneSums
from djservice.lund_planes.published import _table
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.selected_jets import varied

SMALL = Binning(pt=(10.0, 65.0, 110.0), x=(-1.0, 1.0, 8.0), y=(-5.0, 0.0, 1.0, 7.0))


def plane(seed: int, binning: Binning = SMALL) -> PlaneSums:
    counts = np.random.default_rng(seed).integers(0, 50, binning.shape).astype(np.float64)
    return PlaneSums(np.full(binning.shape[0], 30.0), counts, counts)


@pytest.fixture
def ratio() -> LundRatio:
    return LundRatio.of(
        plane(1),
        plane(2),
        SMALL,
        variations={"shower": (plane(3), plane(4))},
        b_quarks=(plane(5), plane(6)),
        origin={"jets": {"radius": 0.8}},
    )


def test_a_file_is_read_to_the_bit(ratio: LundRatio, tmp_path: Path) -> None:
    path = tmp_path / "ratio.json"
    ratio.write(path)
    ratio.write(path)  # a ratio may be replaced
    found = LundRatio.read(path)
    assert (found.binning, found.origin) == (ratio.binning, ratio.origin)
    assert ratio.simulation is not None and found.simulation is not None
    pairs: list[tuple[Any, Any]] = [
        (found.nominal, ratio.nominal),
        (found.simulation, ratio.simulation),
        *zip(found.variations["shower"], ratio.variations["shower"], strict=True),
    ]
    for one, other in pairs:
        for name, values in vars(other).items():
            np.testing.assert_array_equal(getattr(one, name), values)
    np.testing.assert_array_equal(found.b_quarks, ratio.b_quarks)
    assert dj.LundReweighter(path).ratio.binning == SMALL


def test_empty_bins_are_one_with_an_error_of_one() -> None:
    data, simulation = plane(1), plane(2)
    data.emissions[0, 0, 0], simulation.emissions[1, 1, 1] = 0.0, 0.0
    nominal = LundRatio.of(data, simulation, SMALL).nominal
    for cell in ((0, 0, 0), (1, 1, 1)):
        assert (nominal.value[cell], nominal.error[cell]) == (1.0, 1.0)


def changed(path: Path, **values: Any) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(sealed(document | values)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text("{"), "cannot be read"),
        (lambda p: p.write_text("[1]"), "has no checksum"),
        (lambda p: p.write_text(p.read_text().replace("0.8", "0.7")), "does not match its check"),
        (lambda p: p.write_text(p.read_text()[:-50]), "cannot be read"),
        (
            lambda p: changed(p, version=2),
            "of version 1, found 'djservice lund ratio' of version 2",
        ),
        (lambda p: changed(p, format="other"), "found 'other'"),
        (lambda p: changed(p, nominal={}), "is not whole"),
        (lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    ],
)
def test_a_damaged_file_is_refused(
    ratio: LundRatio, tmp_path: Path, damage: Any, message: str
) -> None:
    path = tmp_path / "ratio.json"
    ratio.write(path)
    damage(path)
    with pytest.raises(InputFileError, match=message):
        LundRatio.read(path)


def test_another_binning_is_refused(ratio: LundRatio, tmp_path: Path) -> None:
    other = replace(SMALL, x=(-1.0, 0.0, 1.0, 8.0))
    with pytest.raises(InputError, match=r"data: the plane has shape \(3, 3, 3\), expected"):
        LundRatio.of(plane(1, other), plane(2), SMALL)
    path = tmp_path / "ratio.json"
    ratio.write(path)
    bins = {"pt": other.pt, "x": other.x, "y": other.y, "radius": 0.8}
    changed(path, binning=bins)
    with pytest.raises(InputError, match=r"shape \(3, 2, 3\), expected \(3, 3, 3\), the bins of"):
        LundRatio.read(path)
    for edges in ((1.0,), (2.0, 1.0), (0.0, float("nan"))):
        with pytest.raises(InputError, match="the edges of x"):
            Binning(x=edges)


def test_nothing_else_is_replaced(ratio: LundRatio, tmp_path: Path) -> None:
    other = tmp_path / "data.root"
    other.write_bytes(b"root...")
    with pytest.raises(
        InputFileError, match="expected no file or a Lund ratio, found another file"
    ):
        ratio.write(other)
    assert other.read_bytes() == b"root..."
    with pytest.raises(MissingFileError, match="there is no Lund ratio"):
        LundRatio.read(tmp_path / "missing.json")
    with pytest.raises(InputFileError, match="cannot be written"):
        ratio.write(tmp_path / "missing" / "ratio.json")


def test_planes_without_subjets_or_with_nan_are_refused() -> None:
    empty = PlaneSums(np.zeros(3), np.zeros(SMALL.shape), np.zeros(SMALL.shape))
    with pytest.raises(InputError, match="simulation: there is no subjet"):
        LundRatio.of(plane(1), empty, SMALL)
    bad = plane(1)
    bad.emissions[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="data: the sums of the plane are not finite"):
        LundRatio.of(bad, plane(2), SMALL)


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "a b", "\u00fc", "x" * 300, "total", "statistics"]
)
def test_a_variation_has_a_name_of_its_own(ratio: LundRatio, name: str, tmp_path: Path) -> None:
    """It names columns and stores, and nothing else in the uncertainties has it."""
    with pytest.raises(InputError, match="expected a name of letters"):
        LundRatio.of(plane(1), plane(2), SMALL, variations={name: (plane(3), plane(4))})
    path = tmp_path / "ratio.json"
    ratio.write(path)
    changed(path, variations={name: json.loads(path.read_text())["variations"]["shower"]})
    with pytest.raises(InputError, match=r"ratio.json: variation"):
        LundRatio.read(path)


@pytest.mark.parametrize(
    "name", ["statistics_\u00b2", "statistics_-1", "statistics_", "statistics"]
)
def test_a_toy_has_a_number(ratio: LundRatio, name: str) -> None:
    with pytest.raises(InputError, match="no variation"):
        varied(ratio, name, 1)


def test_a_published_file_of_a_url_is_known_without_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    class Answer:
        def __enter__(self) -> Any:
            raise OSError(f"401 for {opened[0]}")

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(uproot, "open", lambda url: opened.append(url) or Answer())
    with pytest.raises(InputFileError, match="cannot be read as a Lund ratio") as failure:
        dj.LundReweighter.from_root("https://h/ratio.root?sig=hunter2x5ab4c3d2")
    assert opened == ["https://h/ratio.root?sig=hunter2x5ab4c3d2"]
    assert "hunter2" not in str(failure.value) and failure.value.__cause__ is None


PUBLISHED = {"nom": "ratio_nom", "up": "ratio_sys_tot_up", "down": "ratio_sys_tot_down"}


def published(path: Path, change: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write a file of the published layout, and return its values; some histograms are others."""
    axes = [hist.axis.Variable(edges) for edges in ((*SMALL.pt, 99999.0), SMALL.x, SMALL.y)]
    values = {name: 0.5 + plane(i).emissions / 25.0 for i, name in enumerate(PUBLISHED)}
    values["nom"][0, 0, 0] = 0.0
    histograms = {}
    for name, key in PUBLISHED.items():
        histograms[key] = hist.Hist(*axes, storage=hist.storage.Weight())
        histograms[key].view().value, histograms[key].view().variance = values[name], 0.01
    histograms["mc_nom"] = histograms["ratio_nom"]
    histograms["h_bl_ratio"] = histograms["ratio_nom"].project(1, 2)
    with uproot.recreate(path) as file:
        for key, histogram in {**histograms, **(change or {})}.items():
            file[key] = histogram
    return values


def test_a_published_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ratio.root"
    values = published(path)
    found = dj.LundReweighter.from_root(path).ratio
    assert found.binning == SMALL
    expected = np.where(values["nom"] > 0.0, values["nom"], 1.0)
    np.testing.assert_allclose(found.nominal.value, expected, rtol=1e-6)
    assert found.nominal.error[0, 0, 0] == 1.0
    up, down = found.variations["systematics"]
    np.testing.assert_allclose(up.value, values["up"], rtol=1e-6)
    np.testing.assert_allclose(down.value, values["down"], rtol=1e-6)
    assert found.b_quarks is not None and found.b_quarks.shape == SMALL.shape
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    published(elsewhere / "ratio.root")
    assert dj.LundReweighter(elsewhere / "ratio.root").ratio.digest == found.digest
    with uproot.recreate(path) as file:
        file["other"] = np.histogram([1.0])
    with pytest.raises(InputFileError, match="expected a histogram ratio_nom, found other"):
        dj.LundReweighter(path)
    with pytest.raises(MissingFileError):
        dj.LundReweighter(tmp_path / "none.root")
    path.write_text("no root")
    with pytest.raises(InputFileError, match="cannot be read as a Lund ratio"):
        dj.LundReweighter(path)


def _bins(*edges: Any) -> Any:
    return hist.Hist(*map(hist.axis.Variable, edges), storage=hist.storage.Weight())


@pytest.mark.parametrize("name", ["mc_nom", "ratio_sys_tot_up", "ratio_sys_tot_down", "h_bl_ratio"])
def test_a_published_histogram_of_another_binning_is_refused(tmp_path: Path, name: str) -> None:
    """With other numbers of bins, and with other edges of the same number."""
    path, pt = tmp_path / "ratio.root", (*SMALL.pt, 99999.0)
    for x in ((-1.0, 8.0), (-1.0, 2.0, 8.0)):
        published(path, change={name: _bins(pt, x, SMALL.y)})
        with pytest.raises(InputFileError, match=f"{name} is of another binning than ratio_nom"):
            dj.LundReweighter(path)
    published(path, change={"ratio_nom": _bins(SMALL.x, SMALL.y)})
    with pytest.raises(InputFileError, match="ratio_nom has 2 axes, expected subjet pT"):
        dj.LundReweighter(path)


def test_published_fits_are_read() -> None:
    """ROOT's functions of 1 / pT, whose parameters are read by the names of their members."""
    shown = np.ones(SMALL.shape)
    formula = SimpleNamespace(member=lambda _: [1.5, -2.0])
    members = {"fFormula": formula, "fParErrors": [0.1, 3.0]}
    function = SimpleNamespace(member=members.__getitem__)
    histogram = SimpleNamespace(values=lambda: shown, errors=lambda: 0.1 * shown)
    file = {"ratio_nom": histogram, "pt_extrap": {"func_2_3": function}}
    table = _table(file, "ratio_nom", "func_", SMALL)
    np.testing.assert_array_equal(table.coefficients[1, 2], [1.5, -2.0, 0.0])
    np.testing.assert_allclose(table.covariance[1, 2], np.diag([0.01, 9.0, 0.0]))
    low = table.at(np.array([12.0]), np.array([0]), np.array([1 * 3 + 2]))
    np.testing.assert_allclose(low, 1.5 - 2.0 / 12.0)
