"""Derivatives of observables and losses in closed form, against differences of their values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice import observables
from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats
from djservice.evaluation.jet_derivatives import jet_derivatives
from djservice.objectives.losses import as_loss

MASS = observables.dijet_mass
SOFT = observables.soft_dijet_mass(8.0, 5)
EVERY = [
    MASS,
    observables.leading_jet_mass,
    observables.n_jet_mass(3),
    SOFT,
    observables.soft_dijet_mass(4.0, 6),
    observables.soft_choice(observables.n_jet_mass(3), 6.0, 5),
    observables.soft_choice(MASS, 6.0, 4, ordered=True),
    observables.soft_choice(observables.soft_dijet_mass(8.0, 3), 0.7, 4),
    observables.soft_two_jets(30.0, 8.0),
    observables.soft_above(SOFT, 60.0, 20.0),
    SOFT * observables.soft_two_jets() * observables.soft_below(MASS, 100.0, 30.0),
]


def leading_jets() -> Floats:
    """Momenta of six jets in 2 events of 27 trees, some missing or nearly level."""
    rng, shape = np.random.default_rng(8), (2, 27, 6)
    pt = -np.sort(-rng.exponential(40.0, shape) - 5.0, axis=2)
    pt[:, ::4, 2] = pt[:, ::4, 1]
    pt[:, ::4, 1] *= 1.003
    mass, y, phi = (
        rng.uniform(0.05, 0.3, shape) * pt,
        rng.uniform(-1.5, 1.5, shape),
        rng.uniform(-3, 3, shape),
    )
    mt = np.hypot(pt, mass)
    momenta = np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(y), mt * np.cosh(y)], axis=-1
    )
    momenta[np.arange(6) >= 1 + (np.arange(54) % 9).reshape(2, 27, 1)] = np.nan
    return momenta


def assert_derivatives(found: Floats, function: Any, momenta: Floats) -> None:
    """To 1e-8 of the largest of each tree, in the units of the coordinates."""
    expected = jet_derivatives(function, momenta)
    found = np.where(np.isnan(momenta), 0.0, found)
    energy = np.nanmax(momenta[..., 3], axis=2, keepdims=True)[..., np.newaxis]
    size = (
        np.abs(expected).max(axis=(2, 3), keepdims=True)
        + np.abs(function(as_vectors(momenta)))[..., np.newaxis, np.newaxis] / energy
    )
    assert np.isfinite(found).all()
    assert (np.abs(found - expected) / np.where(size > 0.0, size, 1.0)).max() < 1e-8


@pytest.mark.parametrize("one", EVERY, ids=lambda one: one.name)
def test_slopes_are_those_of_the_values(one: observables.Observable) -> None:
    assert one.slopes is not None
    momenta = leading_jets()
    values, found = one.slopes(momenta)
    np.testing.assert_allclose(values, one(as_vectors(momenta)), rtol=1e-12)
    assert_derivatives(found, one, momenta)


@pytest.mark.parametrize(
    "term",
    [
        dj.SquaredError(SOFT),
        dj.SquaredError(MASS, target=70.0, scale=None),
        dj.BoundedError(SOFT, scale=None, bound=0.3),
        as_loss(SOFT),
        dj.BoundedError(MASS, target=90.0, scale=20.0),
    ],
)
def test_losses_follow_the_chain_rule(term: Any) -> None:
    momenta, truth = leading_jets(), np.array([60.0, 120.0])
    value, slopes = term.observable.slopes(momenta)
    target = term._target(truth)[:, np.newaxis]
    (moved,) = term._quantities(value + 1e-30j, target)  # complex, so that no digit is lost
    expected = np.imag(moved)[..., np.newaxis, np.newaxis] / 1e-30 * slopes
    np.testing.assert_allclose(term.slopes(momenta, truth), expected, rtol=1e-12)


def test_massless_jets_and_jets_without_pt() -> None:
    """A mass of 0 has the derivative 0, as a single massless particle needs it."""
    light = np.array([[[[3.0, 4.0, 1e4, math.hypot(5.0, 1e4)]] + [[np.nan] * 4] * 4]])
    for one in EVERY[:6]:
        values, slopes = one.slopes(np.concatenate([light, light[:, :, -1:]], axis=2))
        assert abs(values[0, 0]) < 0.01 and not slopes[0, 0, 0].any()
    still = leading_jets()[:, :1]
    still[..., 0, 3] = 300.0
    still[:, :, 2:4] = [0.0, 0.0, 7.0, 9.0]
    values, slopes = SOFT.slopes(still)  # type: ignore[misc]
    assert np.isfinite(values).all() and np.isfinite(slopes[:, :, 2:4]).all()


def test_what_has_no_slopes_takes_differences() -> None:
    plain = replace(MASS, slopes=None)
    momenta = leading_jets()
    for one in (
        observables.soft_choice(plain),
        plain * SOFT,
        SOFT * plain,
        observables.soft_above(plain, 50.0, 5.0),
        observables.scalar_ht(),
    ):
        assert one.slopes is None
        assert dj.SquaredError(one).slopes(momenta, np.full(2, 100.0)) is None


def test_gradients_with_and_without_slopes_agree() -> None:
    """Of a function with slopes that somebody wrote, beside losses with other jets and a cut."""

    def slopes(momenta: Floats) -> tuple[Floats, Floats]:
        derivatives = np.zeros_like(momenta)
        derivatives[..., 0, 3] = 1.0
        return momenta[..., 0, 3], derivatives

    energy = dj.observable(units="GeV", jets=1, slopes=slopes)(lambda jets: jets[..., 0].E)
    pt = np.random.default_rng(1).exponential(20.0, 30)
    events = dj.EventBatch.from_arrays(
        pt=pt, eta=np.linspace(-2, 2, 30), phi=np.arange(30.0) % 6.0, mass=0.1 * pt,
        offsets=np.array([0, 12, 30]),
    )  # fmt: skip

    def gradient(*every: observables.Observable) -> Any:
        losses = [dj.SquaredError(one, target=50.0, scale=50.0) for one in every]
        cut = dj.cuts.two_jets(pt_min=1.0)
        return dj.input_gradient(
            events, losses[0].where(cut) + 0.5 * losses[1].where(cut), radius=0.8, rigidity=2.0,
            trees=8, threads=1,
        )  # fmt: skip

    with pytest.warns(dj.errors.JumpWarning):
        found, expected = (
            gradient(energy, SOFT),
            gradient(replace(energy, slopes=None), replace(SOFT, slopes=None)),
        )
    np.testing.assert_allclose(
        found.value, expected.value, rtol=1e-6, atol=1e-8 * np.abs(expected.value).max()
    )
