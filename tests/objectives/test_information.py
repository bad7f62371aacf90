"""The mutual information of an observable and the truth: its value, bias, error and gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.evaluation.moments import MomentLayout, Moments
from djservice.objectives.binned_statistics import NegativeInformation
from djservice.objectives.information import bin_numbers

MASS = dj.observables.dijet_mass


def moments_of(x: Floats, z: Floats, bins: tuple[int, int]) -> Moments:
    """The sums of events with one tree, whose observable and truth are given."""
    layout = MomentLayout((NegativeInformation(*bins),), (1.0,), 0)
    cells = [
        bin_numbers(values, (-5.0, 5.0), n).astype(int)
        for values, n in zip((x, z), bins, strict=True)
    ]
    total = np.zeros((bins[1], layout.length))
    np.add.at(total, (cells[1], cells[0]), 1.0)
    total[:, bins[0]] = total[:, -3] = total.sum(axis=1)
    outer = np.zeros((bins[1], layout.length, layout.length))
    outer[:, np.arange(bins[0]), np.arange(bins[0])] = total[:, : bins[0]]
    n = len(x)
    return Moments(layout, total, outer, outer * 0.0, float(n), n, 0, n, n, math.nan)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("events", "bins"), [(2_000, (20, 20)), (100_000, (60, 60))])
def test_gaussian_channel(noise: float, events: int, bins: tuple[int, int]) -> None:
    """1/2 log(1 + var z / var noise), within the errors and what 10 sigma / bins lose."""
    rng = np.random.default_rng(int(10 * noise))
    z = rng.normal(size=events)
    x = (z + noise * rng.normal(size=events)) / math.hypot(1.0, noise)
    found = moments_of(x, z, bins).loss()
    exact = 0.5 * math.log(1.0 + noise**-2)
    lost = (0.25 if noise < 0.5 else 0.06) * (20 / bins[0]) ** 2 + 0.01
    assert -found.value - exact < 4 * found.error
    assert exact + found.value < 4 * found.error + lost


def test_bias_and_error_are_those_of_repetitions() -> None:
    """Channels of 1,000 events: the correction is Miller and Madow's, the error the bootstrap's."""
    rng = np.random.default_rng(3)
    samples = []
    for _ in range(100):
        z = rng.normal(size=1_000)
        samples.append((z + rng.normal(size=1_000), z))
    found = [moments_of(*sample, (12, 8)) for sample in samples]
    large = np.concatenate(samples, axis=1)
    truth = moments_of(*large, (12, 8)).loss()
    values = np.array([-moments.loss().value for moments in found])
    spread = values.std(ddof=1)
    assert abs(values.mean() + truth.value) < 4 * math.hypot(spread / 10.0, truth.error)
    plain = [-float(NegativeInformation(12, 8).value(m.total[:, :13])) for m in found]
    assert np.mean(plain) + truth.value > 8 * spread / 10.0  # without the correction it shows
    assert spread == pytest.approx(np.mean([m.loss().error for m in found]), rel=4 / math.sqrt(198))
    rows = rng.integers(0, 1_000, (200, 1_000))
    bootstrap = [
        moments_of(*(values[row] for values in samples[0]), (12, 8)).loss().value for row in rows
    ]
    assert np.std(bootstrap) == pytest.approx(found[0].loss().error, rel=4 / math.sqrt(398))


def test_small_batches_have_the_gradient_of_large_ones() -> None:
    """x = z + noise of width s at s = 1, of which dI/ds is known from many events."""
    rng, bins, events, batches = np.random.default_rng(4), (8, 5), 500, 300
    layout = MomentLayout((NegativeInformation(*bins),), (1.0,), 1)
    slopes = layout.slopes(0, 0)

    def moments(number: int) -> Moments:
        z, noise = rng.normal(size=number), rng.normal(size=number)
        x, score = (z + noise) / math.sqrt(2.0), noise**2 - 1.0
        cells = [
            bin_numbers(values, (-2.0, 2.0), n).astype(int)
            for values, n in zip((x, z), bins, strict=True)
        ]
        of_event = np.zeros((number, layout.length))
        of_event[np.arange(number), cells[0]] = of_event[:, bins[0]] = of_event[:, -3] = 1.0
        of_event[:, slopes] = of_event[:, layout.sums(0)] * score[:, np.newaxis]
        parts = [of_event[cells[1] == category] for category in range(bins[1])]
        total, outer = (
            np.stack(sums)
            for sums in zip(*((part.sum(axis=0), part.T @ part) for part in parts), strict=True)
        )
        return Moments(layout, total, outer, outer * 0.0, number, number, 0, number, number, 0.0)

    large = moments(400_000).gradient()
    found = [moments(events) for _ in range(batches)]
    values = np.array([each.gradient().value for each in found])
    statistic = layout.statistics[0]
    plain = [
        (statistic.gradient(m.total[:, layout.sums(0)]) * m.total[:, slopes]).sum() for m in found
    ]
    error = math.hypot(values.std(ddof=1) / math.sqrt(batches), large.error)
    without = np.mean(plain) - large.value
    assert abs(without) > 8 * error
    assert abs(values.mean() - large.value) < 4 * error + 0.35 * abs(without)  # the next order
    spread = np.mean([m.gradient().error for m in found])
    assert spread < values.std(ddof=1) < 1.5 * spread  # that of the correction is left out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": (40,)}, r"bins are \[40\], expected two numbers"),
        ({"bins": (3, 20)}, "each a whole number from 4"),
        ({"bins": (4.5, 20)}, "expected two numbers"),
        ({"range": (1.0, 1.0)}, r"range is \[1.0, 1.0\], expected \[lowest, highest\]"),
        ({"truth_range": (0.0, math.nan)}, "truth_range is"),
    ],
)
def test_arguments_without_meaning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.MutualInformation(MASS, **arguments)
