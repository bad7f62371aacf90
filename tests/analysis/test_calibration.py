"""Calibrations of Gaussian responses, whose answer is known, and what is refused."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import djservice as dj

POINTS = np.arange(-3.0, 3.5)


class Quiet:
    """Receives the progress."""

    def __init__(self) -> None:
        self.steps = 0

    def phase(self, name: str, total: int, done: int) -> None:
        self.total = total

    def step(self, numbers: dict[str, float]) -> None:
        self.steps += 1


@pytest.fixture(autouse=True)
def torch(requires: Callable[..., None]) -> Any:
    requires("torch (pip install 'djservice[torch]')", find_spec("torch"))
    import torch

    return torch


def channel(events: int, flat: bool, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """x and z of a Gaussian response of width 1."""
    draws = np.random.default_rng(seed)
    truth = draws.uniform(-5.0, 5.0, events) if flat else draws.normal(0.0, 2.5, events)
    return truth + draws.normal(size=events), truth


#: Exact information in nats.
EXACT = {True: 1.0643, False: 0.9905}


@pytest.fixture(scope="module")
def calibrations() -> dict[bool, Any]:
    """Of 3,000 events with either distribution of the truth."""
    return {
        flat: dj.calibrate(*channel(3_000, flat), epochs=20, watch=Quiet())
        for flat in (True, False)
    }


def test_a_calibration_does_not_depend_on_the_distribution_of_the_truth(
    calibrations: dict[bool, Any],
) -> None:
    for flat, calibration in calibrations.items():
        away = calibration.information - EXACT[flat]
        assert abs(away) < 4 * calibration.information_error < 0.2
        assert abs(calibration.zhat(POINTS) - POINTS).max() < 0.25
        assert abs(calibration.sigma(POINTS) - 1.0).max() < 0.15
        assert calibration.truth_range[0] < -4.9
    # A regression has the slope 6.25 / 7.25 where the truth is Gaussian.
    slopes = [np.polyfit(POINTS, c.zhat(POINTS), 1)[0] for c in calibrations.values()]
    assert slopes == pytest.approx([1.0, 1.0], abs=0.06)


@pytest.mark.long
def test_the_numbers_of_the_gaussian_example() -> None:
    for flat, seed, tolerance in ((True, 0, 0.01), (False, 2, 0.02)):
        calibration = dj.calibrate(*channel(100_000, flat, seed), watch=Quiet())
        assert abs(calibration.information - EXACT[flat]) < tolerance
        assert abs(calibration.zhat(POINTS) - POINTS).max() < 0.05
        assert abs(calibration.sigma(POINTS) - 1.0).max() < 0.05


def test_several_observables_are_one_calibration() -> None:
    draws = np.random.default_rng(3)
    truth = draws.uniform(50.0, 250.0, 1_500)
    both = truth[:, None] + draws.normal(scale=[20.0, 40.0], size=(1_500, 2))
    watch = Quiet()
    calibration = dj.calibrate(both, truth, epochs=25, watch=watch)
    assert calibration.features == 2
    assert watch.steps == watch.total
    found = calibration.zhat([[120.0, 120.0], [180.0, 180.0]])
    assert found == pytest.approx([120.0, 180.0], abs=10.0)
    # Two measurements of 20 and 40 GeV together.
    assert calibration.sigma([[150.0, 150.0]])[0] == pytest.approx(17.9, rel=0.15)
    with pytest.raises(dj.DjserviceError, match=r"values have 1 observables .* expected 2"):
        calibration.zhat(truth)


def test_the_error_of_the_information_covers(torch: Any) -> None:
    from djservice.networks.gaussian_ansatz import _information

    def exact(x: Any, *truths: Any) -> list[Any]:
        return [*(0.5 * math.log(7.25) + x * x / 14.5 - (x - z) ** 2 / 2 for z in truths), x]

    pulls = []
    for seed in range(20):
        x, z = channel(1_000, flat=False, seed=seed)
        value, error = _information(exact, torch.tensor(np.stack([x, z], axis=1)))
        pulls.append((value - EXACT[False]) / error)
    assert abs(np.mean(pulls)) < 4 / math.sqrt(20)
    assert np.std(pulls) == pytest.approx(1.0, abs=4 / math.sqrt(40))


def test_a_saved_calibration_is_the_same_without_pytorch(
    calibrations: dict[bool, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    calibration = calibrations[True]
    calibration.save(tmp_path / "mass.npz")
    monkeypatch.setitem(sys.modules, "torch", None)
    loaded = dj.Calibration.load(tmp_path / "mass.npz")
    for name in ("zhat", "sigma"):
        values = getattr(loaded, name)([*POINTS, np.nan, np.inf])
        assert np.array_equal(values[:-2], getattr(calibration, name)(POINTS))
        assert np.isnan(values[-2:]).all()
    assert repr(loaded) == repr(calibration)
    assert loaded.truth_range == calibration.truth_range


def test_a_seed_gives_the_same_bits_with_any_number_of_threads(torch: Any) -> None:
    x, z = channel(600, flat=True)
    first = dj.calibrate(x, z, epochs=2, watch=Quiet())
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        again = dj.calibrate(x, z, epochs=2, watch=Quiet())
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(first.zhat(POINTS), again.zhat(POINTS))
    assert first.information == again.information
    other = dj.calibrate(x, z, epochs=2, seed=1, watch=Quiet())
    assert not np.array_equal(first.zhat(POINTS), other.zhat(POINTS))


def test_a_file_that_is_no_calibration_is_named(
    calibrations: dict[bool, Any], tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match=r"x\.npz: no such file"):
        dj.Calibration.load(path)
    calibrations[True].save(path)
    whole = path.read_bytes()
    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    contents: list[Callable[[], None]] = [
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_text("not an archive"),
        lambda: path.write_bytes(b""),
        lambda: np.savez(path, numbers=[1.0]),
        lambda: np.savez(path, format=1, numbers=[1.0], means=[0.0], scales=[1.0]),
        lambda: np.savez(path, format=99),
        lambda: path.write_bytes(npy.getvalue()),
    ]
    for write in [*contents, lambda: os.truncate(path, 40 * 2**30)]:
        write()
        with pytest.raises(dj.DjserviceError, match=r"x\.npz: no calibration, expected a file"):
            dj.Calibration.load(path)
    path.write_text("an input")
    with pytest.raises(dj.DjserviceError, match="expected no file or a calibration, found another"):
        calibrations[True].save(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(dj.DjserviceError, match="a named pipe"):
        dj.Calibration.load(path)


def test_no_damage_of_a_calibration_is_silent(
    calibrations: dict[bool, Any], tmp_path: Path
) -> None:
    path, chance = tmp_path / "x.npz", np.random.default_rng(2)
    calibrations[True].save(path)
    whole, expected = path.read_bytes(), calibrations[True].zhat(POINTS)
    for place in chance.choice(len(whole), 200, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(dj.DjserviceError):
            assert np.array_equal(dj.Calibration.load(path).zhat(POINTS), expected), place


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, z: (x[:100], z[:100]), "expected at least 500 events, found 100"),
        (lambda x, z: (x, z[:-1]), r"the truth has the shape \(599, 1\), expected \(600,\)"),
        (lambda x, z: (x, z * 0 + 125), "truth: all events have the same number"),
        (lambda x, z: (x * 0, z), "values: all events have the same number"),
        (lambda x, z: (np.where(x > 3, np.nan, x), z), "values of .* events are not finite, first"),
        (lambda x, z: (x, np.where(z > 3, np.inf, z)), "truth of .* events are not finite, first"),
        (lambda x, z: (x[None, None], z), r"values have the shape \(1, 1, 600\)"),
        (lambda x, z: (["a"] * 600, z), "values are no array of numbers"),
    ],
)
def test_values_without_meaning_are_refused(change: Callable[..., Any], message: str) -> None:
    with pytest.raises(dj.DjserviceError, match=message):
        dj.calibrate(*change(*channel(600, flat=True)))


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("epochs", 2.5), ("seed", -1)])
def test_settings_without_meaning_are_refused(name: str, value: Any) -> None:
    with pytest.raises(dj.DjserviceError, match=f"{name} is {value}"):
        dj.calibrate(*channel(600, flat=True), **{name: value})
