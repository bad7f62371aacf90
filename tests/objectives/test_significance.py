"""The expected significance: against pyhf, its bias with few events, merged bins, arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError, NothingAcceptedError
from djservice.objectives.asimov import NegativeSignificance

MASS = dj.observables.dijet_mass


def sums_of(*contents: list[float]) -> Any:
    """Sums of events with one tree and weight 1: contents with B, and the sum of z z^T."""
    values = np.array([[*row, sum(row)] for row in contents])
    outer = np.zeros((*values.shape, values.shape[1]))
    outer[:, np.arange(values.shape[1]), np.arange(values.shape[1])] = values
    return values, outer


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated")  # in pyhf
@pytest.mark.parametrize("uncertainty", [0.01, 0.1, 0.5])
def test_it_is_pyhfs(uncertainty: float) -> None:
    pyhf = pytest.importorskip("pyhf")
    s, b = [10.0, 5.0, 0.5], [50.0, 20.0, 1.5]
    model = pyhf.simplemodels.uncorrelated_background(s, b, [uncertainty * x for x in b])
    data = model.expected_data([1.0] + [1.0] * len(b))
    config = model.config
    arguments = (config.suggested_init(), config.suggested_bounds(), config.suggested_fixed())
    q0 = float(pyhf.infer.test_statistics.q0(0.0, data, model, *arguments))
    statistic = NegativeSignificance(3, 2, uncertainty=uncertainty)
    assert -float(statistic.value(sums_of(s, b)[0])) == pytest.approx(math.sqrt(q0), rel=1e-5)


def test_limits() -> None:
    """s / sqrt(b) for many events; less with an uncertainty; without one the limit r -> 0."""
    sums, _ = sums_of([30.0], [1e6])
    z = [-float(NegativeSignificance(1, 2, uncertainty=r).value(sums)) for r in (0.0, 1e-7, 1e-3)]
    assert z[0] == pytest.approx(30.0 / 1e3, rel=1e-4)
    assert z[1] == pytest.approx(z[0], rel=1e-4) and z[2] < 0.8 * z[0]


@pytest.mark.parametrize("uncertainty", [0.0, 0.2])
def test_bias_of_few_events_is_subtracted(uncertainty: float) -> None:
    """Samples of a few hundred events find Z too large; what is subtracted is that, to second order."""
    rng = np.random.default_rng(4)
    s, b = np.array([2.0, 12.0, 4.0]), np.array([50.0, 40.0, 30.0])
    statistic = NegativeSignificance(3, 2, uncertainty=uncertainty)
    exact = float(statistic.value(sums_of(s.tolist(), b.tolist())[0]))
    plain, corrected = [], []
    for _ in range(2_000):
        # Ten simulated events for each expected one of signal, and one for each of background.
        sums, outer = sums_of((rng.poisson(10 * s) / 10).tolist(), rng.poisson(b).tolist())
        outer[0] /= 10
        plain.append(float(statistic.value(sums)) - exact)
        corrected.append(plain[-1] - statistic.bias(sums, outer))
    error = np.std(plain) / math.sqrt(len(plain))
    assert np.mean(plain) < -4 * error
    assert abs(np.mean(corrected)) < 4 * error + 0.2 * abs(np.mean(plain))


@pytest.mark.parametrize(
    ("background", "groups"),
    [
        ([20.0, 30.0, 40.0, 50.0], (0, 1, 2, 3)),
        ([20.0, 3.0, 4.0, 50.0], (0, 1, 1, 1)),
        ([1.0, 12.0, 11.0, 2.0], (0, 0, 1, 1)),
        ([0.0, 0.0, 0.0, 11.0], (0, 0, 0, 0)),
        ([11.0, 0.0, 0.0, 0.0], (0, 0, 0, 0)),
        ([4.0, 6.0, 4.0, 6.0], (0, 0, 1, 1)),
    ],
)
def test_bins_with_few_background_events_are_merged(
    background: list[float], groups: tuple[int, ...]
) -> None:
    sums, outer = sums_of([1.0] * 4, background)
    assert NegativeSignificance(4, 2).usable(sums, outer).groups == groups


def test_what_has_no_significance() -> None:
    statistic = NegativeSignificance(2, 2)
    with pytest.raises(
        NothingAcceptedError, match="background has 9 effective entries in all bins"
    ):
        statistic.usable(*sums_of([5.0, 5.0], [4.0, 5.0]))
    with pytest.raises(NothingAcceptedError, match="no signal is in any bin"):
        statistic.usable(*sums_of([0.0, 0.0], [40.0, 50.0]))


ARGUMENTS: dict[str, Any] = {
    "signal": ("s",),
    "background": ("b",),
    "luminosity": 1.0,
    "bins": (0.0, 100.0, 200.0),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signal": ()}, r"signal is \[\] and background is \['b'\], expected one dataset or more"),
        ({"background": ("s",)}, "and none twice"),
        ({"luminosity": 0.0}, "luminosity is 0.0, expected a positive number"),
        ({"luminosity": math.inf}, "luminosity is inf, expected a finite number"),
        ({"bins": (0.0, 0.0)}, r"bins are \[0.0, 0.0\], expected the edges of one bin or more"),
        ({"bins": (2.0, 1.0)}, "increasing"),
        ({"bins": ()}, "increasing"),
        ({"background_uncertainty": -1.0}, "background_uncertainty is -1.0, expected 0 or more"),
        ({"minimum_entries": 0.0}, "minimum_entries is 0.0, expected a positive number"),
    ],
)
def test_arguments_without_meaning(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.Significance(MASS, **{**ARGUMENTS, **changed})


def test_a_dataset_that_is_neither() -> None:
    with pytest.raises(InputError, match="events of dataset 'bb', expected one of s, b"):
        dj.Significance(MASS, **ARGUMENTS).categories(np.zeros(2), "bb")
