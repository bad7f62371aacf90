"""The scripts in workflows that show networks and calibrations, on few jets and events."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, requires: Callable[..., None]) -> Callable[[str], Any]:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    monkeypatch.syspath_prepend(str(WORKFLOWS))
    for name in ("quark_gluon", "generate_quark_gluon", "calibration"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module


def jets_of(path: Path, spread: float, seed: int) -> None:
    """A part of 40 jets of massless particles around (1, 0)."""
    draws = np.random.default_rng(seed)
    counts = draws.integers(5, 15, 40)
    n = counts.sum()
    pt, y, phi = (
        draws.exponential(20.0, n),
        draws.normal(0.3, spread, n),
        draws.normal(0, spread, n),
    )
    momenta = [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(y), pt * np.cosh(y)]
    np.savez(path, counts=counts, constituents=np.stack(momenta, axis=-1))


def test_the_comparison_of_quark_and_gluon_jets(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, made = script("quark_gluon"), script("generate_quark_gluon")
    monkeypatch.setattr(made, "PART", 40)
    networks = {name: study.NETWORKS[name] for name in ("EFN, L = 4", "order 4, L = 1")}
    monkeypatch.setattr(study, "NETWORKS", networks)
    for seed, (path, label, _, _) in enumerate(made.parts_of(tmp_path, 80)):
        jets_of(path, {"quark": 0.05, "gluon": 0.1}[label], seed)
    options = ["--jets", "80", "--epochs", "1", "--processes", "1", "--output", str(tmp_path)]
    for _ in range(2):  # the second time nothing is left to do
        done = CliRunner().invoke(study.main, options, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert "training 1 of" not in done.output
    for row in ("160 jets", "log angularity  ", "order 4, L = 1  ", "above EFN, L = 4: "):
        assert row in done.output
    assert (tmp_path / "roc.png").stat().st_size > 10_000
    assert (tmp_path / "order4_latent1/fold2/model.onnx").exists()
    sample = study.read(tmp_path, 80)
    angularity = study.observables(sample)["log angularity"]
    assert study.area((angularity, sample.labels, 1.0))[0] > 0.95
    jet = sample.particles[3, sample.mask[3]].astype(float)
    total = jet.sum(axis=0)
    px, py, pz, energy = jet.T
    y = 0.5 * np.log((energy + pz) / (energy - pz))
    y_jet = 0.5 * math.log((total[3] + total[2]) / (total[3] - total[2]))
    r = np.hypot(y - y_jet, np.arctan2(py, px) - math.atan2(total[1], total[0]))
    z = np.hypot(px, py) / np.hypot(px, py).sum()
    assert angularity[3] == pytest.approx(z @ np.log(1e-3 + r / 0.4), rel=1e-6)


def test_areas_and_their_errors_are_those_of_pairs(script: Callable[[str], Any]) -> None:
    area = script("quark_gluon").area
    draws = np.random.default_rng(1)
    labels = np.repeat([0, 1], [300, 200])
    scores = np.round(draws.normal(size=500) + 0.5 * labels, 1)  # with ties
    gluons, quarks = scores[labels == 1][:, None], scores[labels == 0]
    expected = ((gluons > quarks) + 0.5 * (gluons == quarks)).mean()
    value, error = area((scores, labels, 1.0))
    assert value == pytest.approx(expected, abs=1e-12)
    pulls = []
    for _ in range(200):
        normal = draws.normal(size=500) + labels
        value, error = area((normal, labels, 1.0))
        pulls.append((value - 0.5 * (1 + math.erf(0.5))) / error)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(200)
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / 20)
    assert area((normal, labels, 1.0), (normal, labels, -1.0)) == (0.0, 0.0)


def test_the_calibrations_of_a_gaussian_response_and_of_masses(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = script("calibration")
    draws = np.random.default_rng(2)
    truth = draws.choice(study.MASSES, 1_000)
    masses = 0.9 * truth + draws.normal(0.0, 10.0, 1_000), truth
    monkeypatch.setattr(study, "masses", lambda *settings: masses)
    monkeypatch.setattr(study.dj, "calibrate", partial(study.dj.calibrate, epochs=5))
    options = ["--events", "600", "--files", "mass_*.root", "--output", str(tmp_path)]
    done = CliRunner().invoke(study.main, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.count("information") == 5
    rows = [line.split() for line in done.output.splitlines() if line.split()[0] in ("60", "200")]
    for mass, *cells in rows:
        found = {name: float(cells[3 * i]) for i, name in enumerate(("m_jj", "zhat"))}
        assert found["m_jj"] == pytest.approx(0.9 * float(mass), abs=6)
        assert found["zhat"] == pytest.approx(float(mass), abs=25)
    assert len(rows) == 2
    assert (tmp_path / "mass.png").stat().st_size > 10_000
    assert (tmp_path / "mass_0.npz").exists()
