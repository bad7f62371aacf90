"""Densities of Lund planes: counts per jet and area, errors by jets, sums over chunks, derivatives."""

from __future__ import annotations

import math
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError
from djservice.lund_planes.density import (
    default_axes,
    histogram_of,
    leading_order,
    lund_sums,
    rescaled,
)


@pytest.fixture(scope="module")
def events() -> dj.EventBatch:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=1.0), entries=(0, 40))


@pytest.fixture(scope="module")
def jets(events: dj.EventBatch) -> Any:
    return dj.cluster_jets(events, radius=0.8, pt_min=15.0)


def counts_of(events: dj.EventBatch, jets: Any, plane: int) -> np.ndarray:
    """Emissions of each jet in the cells, one by one with NumPy's own histogram."""
    axes = default_axes()
    counts = []
    for of_event in dj.lund(events, jets):
        for emissions in of_event:
            chosen = emissions[emissions.plane == plane]
            x = np.log(0.8 / ak.to_numpy(chosen.delta))
            y = np.log(ak.to_numpy(chosen.kt))
            counts.append(np.histogram2d(x, y, [a.edges for a in axes])[0])
    return np.array(counts)


@pytest.mark.parametrize("plane", [1, 2])
def test_a_density_counts_emissions_and_its_errors_jets(
    events: dj.EventBatch, jets: Any, plane: int
) -> None:
    density = dj.lund_density(events, jets, radius=0.8, plane=plane)
    counts = counts_of(events, jets, plane)
    x, y = default_axes()
    area = x.widths[:, np.newaxis] * y.widths
    assert isinstance(density, hist.Hist) and counts.sum() > 50
    np.testing.assert_allclose(density.values(), counts.mean(axis=0) / area, rtol=1e-12)
    expected = counts.std(axis=0) / math.sqrt(len(counts)) / area
    np.testing.assert_allclose(density.variances() ** 0.5, expected, rtol=1e-9, atol=1e-12)


def test_sums_of_chunks_are_those_of_the_whole_to_the_bit(
    events: dj.EventBatch, jets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lund_sums(events, jets, radius=0.8)
    parts = [
        lund_sums(events.select(rows), jets[rows], radius=0.8)
        for rows in (np.arange(0, 13), np.arange(13, 13), np.arange(13, 40))
    ]
    np.testing.assert_array_equal(sum(parts), whole)
    monkeypatch.setattr("djservice.lund_planes.density._BLOCK", 1)  # a block for each jet
    np.testing.assert_array_equal(lund_sums(events, jets, radius=0.8), whole)
    scaled, plain = (histogram_of(s) for s in (rescaled(whole, 7.0), whole))
    np.testing.assert_allclose(scaled.values(), plain.values(), rtol=1e-12)
    np.testing.assert_allclose(scaled.variances(), plain.variances(), rtol=1e-9, atol=1e-15)


def test_jets_count_with_the_weights_of_their_events(events: dj.EventBatch, jets: Any) -> None:
    from dataclasses import replace

    doubled = replace(events, weight=np.where(np.arange(len(events)) < 5, 0.0, 2.0))
    found = dj.lund_density(doubled, jets, radius=0.8)
    expected = dj.lund_density(events.select(range(5, 40)), jets[5:], radius=0.8)
    np.testing.assert_allclose(found.values(), expected.values(), rtol=1e-12)


def trees_of(events: dj.EventBatch, seed: int = 1, trees: int = 60, **setting: float) -> Any:
    values: Any = {"radius": 0.8, "rigidity": 2.0, **setting}
    return dj.cluster(
        events, power=0.0, jets=2, history=True, trees=trees, seed=seed,
        parameters=("radius", "rigidity"), **values,
    )  # fmt: skip


@pytest.mark.parametrize(("parameter", "step"), [("radius", 0.08), ("rigidity", 0.3)])
def test_the_derivative_of_the_expectation_is_that_of_finite_differences(
    events: dj.EventBatch, parameter: str, step: float
) -> None:
    few, start = events.select(range(6)), {"radius": 0.8, "rigidity": 2.0}[parameter]
    axes = (hist.axis.Regular(3, 0.0, 3.0), hist.axis.Regular(3, -1.0, 5.0))

    def density(seed: int, trees: int, **options: Any) -> Any:
        setting = {parameter: start + options.pop("shift", 0.0)}
        sample = trees_of(few, seed, trees, **setting)
        return dj.lund_density(few, sample, radius=0.8, axes=axes, **options)

    slopes = [density(seed, 100, derivative=parameter).values() for seed in range(10, 18)]
    differences = [
        (density(s, 150, shift=step).values() - density(s + 9, 150, shift=-step).values())
        / (2.0 * step)
        for s in range(20, 26)
    ]
    # Trees of the same events: the spread over seeds is the error over trees.
    mean, error = (np.mean(slopes, axis=0), np.std(slopes, axis=0, ddof=1) / 8**0.5)
    other, other_error = np.mean(differences, axis=0), np.std(differences, axis=0, ddof=1) / 6**0.5
    seen = np.abs(mean) > 0.0
    z = (mean - other)[seen] / np.hypot(error, other_error)[seen]
    assert seen.sum() >= 6
    assert np.abs(z).max() < 4.0
    assert np.abs(mean[seen] / error[seen]).max() > 4.0  # and is not 0


def test_the_expectation_and_its_error_are_of_events(events: dj.EventBatch) -> None:
    events = events.select(range(8))
    sample = trees_of(events, trees=4)
    density = dj.lund_density(events, sample, radius=0.8)
    axes = default_axes()
    n, m = np.zeros((len(events), 20, 16)), np.zeros(len(events))
    for i, of_event in enumerate(dj.lund(events, sample)):
        for tree in of_event:
            m[i] += len(tree[:2]) / 4.0
            flat = ak.flatten(tree[:2])
            flat = flat[flat.plane == 1]
            points = np.log(0.8 / ak.to_numpy(flat.delta)), np.log(ak.to_numpy(flat.kt))
            n[i] += np.histogram2d(*points, [a.edges for a in axes])[0] / 4.0
    area = axes[0].widths[:, np.newaxis] * axes[1].widths
    mean = n.sum(axis=0) / m.sum()
    np.testing.assert_allclose(density.values(), mean / area, rtol=1e-12)
    residual = n - mean * m[:, np.newaxis, np.newaxis]
    error = np.sqrt((residual**2).sum(axis=0)) / m.sum() / area
    np.testing.assert_allclose(density.variances() ** 0.5, error, rtol=1e-9, atol=1e-12)


def test_the_error_of_a_derivative_is_the_jackknife_over_events(events: dj.EventBatch) -> None:
    few = events.select(range(12))
    sample = trees_of(few, trees=8)
    axes = (hist.axis.Regular(2, 0.0, 3.0), hist.axis.Regular(2, 0.0, 4.0))
    full = lund_sums(few, sample, radius=0.8, column=1, axes=axes)
    density = histogram_of(full, axes)
    left_out = []
    for i in range(12):
        one = few.select([i])
        # Draws are keyed by the event, so its trees are those of the whole sample.
        part = lund_sums(one, trees_of(one, trees=8), radius=0.8, column=1, axes=axes)
        left_out.append(histogram_of(full - part, axes).values())
    spread = np.sqrt(11.0 / 12.0 * ((left_out - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(density.variances() ** 0.5, spread, rtol=0.35)


def test_the_leading_order_is_a_plateau_that_rises_as_kt_falls() -> None:
    assert leading_order(91.1876, 4.0 / 3.0) == pytest.approx(2.0 * 0.118 * 4.0 / 3.0 / math.pi)
    assert leading_order(10.0, 3.0) / leading_order(10.0, 4.0 / 3.0) == pytest.approx(9.0 / 4.0)
    assert np.all(np.diff(leading_order(np.array([2.0, 10.0, 100.0]), 3.0)) < 0.0)


def test_jets_without_emissions_and_no_jets(events: dj.EventBatch) -> None:
    records = ak.Array([[{"pt": 50.0, "rapidity": 0.0, "phi": 0.0, "mass": 0.0}], []])
    assert dj.lund_density(records).values().sum() == 0.0
    assert np.isnan(dj.lund_density(records[:0]).values()).all()
    none = dj.cluster_jets(events, radius=0.8, pt_min=1e6)
    assert np.isnan(dj.lund_density(events, none).values()).all()


def test_what_has_no_density_is_refused(events: dj.EventBatch, jets: Any) -> None:
    for radius in (0.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"radius is {radius}, expected a (positive|finite)"):
            dj.lund_density(events, jets, radius=radius)
    for plane in (0, -1, 1.5, None):  # without emissions, each would be a density of 0
        with pytest.raises(InputError, match=f"plane is {plane}, expected a whole number from 1"):
            dj.lund_density(events, jets, plane=plane)  # type: ignore[arg-type]
    one_axis, names = hist.axis.Regular(3, 0.0, 5.0), hist.axis.StrCategory(["a"])
    for axes in ((1, 2), (one_axis,), (one_axis, names), one_axis):
        with pytest.raises(InputError, match=r"expected two of hist\.axis\.Regular"):
            dj.lund_density(events, jets, axes=axes)
    with pytest.raises(InputError, match="derivative is 'radius', expected a parameter of a sampl"):
        dj.lund_density(events, jets, derivative="radius")
    one = trees_of(events.select(range(2)), trees=1)
    with pytest.raises(InputError, match="two or more trees"):
        dj.lund_density(events.select(range(2)), one, derivative="rigidity")
