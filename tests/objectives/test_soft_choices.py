"""Soft choices of jets against sums over orders by hand, their limits and their slopes, and soft thresholds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from djservice import cuts, observables
from djservice.clustering.trees import as_vectors
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.evaluation.jet_derivatives import jet_derivatives

MASS, SOFT = observables.dijet_mass, observables.soft_dijet_mass
HEAVIER = observables.Observable(
    lambda jets: jets[..., 0].mass - 0.3 * jets[..., 1].mass, "masses", "GeV"
)


def momenta_of(pt: Any, seed: int = 1) -> Floats:
    """Jets of these pT, shape (tree, jet), in other directions and of other masses; NaN for none."""
    pt, rng = np.asarray(pt, dtype=np.float64), np.random.default_rng(seed)
    phi, y, mass = (
        rng.uniform(low, high, pt.shape[-1]) for low, high in ((-3, 3), (-2, 2), (2, 9))
    )
    mt = np.hypot(pt, mass)
    columns = pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(y), mt * np.cosh(y)
    return np.stack(columns, axis=-1)[np.newaxis]


RANDOM = momenta_of(-np.sort(-np.random.default_rng(3).exponential(40.0, (50, 6)) - 5.0, axis=1))


def by_hand(one: Any, momenta: Floats, kappa: float) -> float:
    """Sum over the orders of all jets: each has the product of its probabilities."""
    strength = np.hypot(momenta[:, 0], momenta[:, 1]) ** kappa
    total = 0.0
    for order in itertools.permutations(range(len(strength))):
        left = np.cumsum(strength[list(order)][::-1])[::-1]
        leading = momenta[list(order)][np.newaxis, np.newaxis, : one.jets]
        total += np.prod(strength[list(order)] / left) * one(as_vectors(leading.copy()))[0, 0]
    return total


@pytest.mark.parametrize(
    "one", [MASS, observables.leading_jet_mass, observables.n_jet_mass(3), HEAVIER]
)
@pytest.mark.parametrize("kappa", [1.0, 6.0])
def test_it_is_the_expectation_over_orders(one: observables.Observable, kappa: float) -> None:
    found = observables.soft_choice(one, kappa, 5)(as_vectors(RANDOM[:, :4]))  # of six jets
    expected = [by_hand(one, jets, kappa) for jets in RANDOM[0, :4, :5]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


def test_sets_are_orders_summed() -> None:
    one = observables.n_jet_mass(3)
    sets = observables.soft_choice(one, 4.0, 6, ordered=False)(as_vectors(RANDOM))
    orders = observables.soft_choice(one, 4.0, 6)(as_vectors(RANDOM))
    np.testing.assert_allclose(sets, orders, rtol=1e-13)


@pytest.mark.parametrize(
    "one", [MASS, observables.leading_jet_mass, observables.n_jet_mass(3), HEAVIER]
)
def test_a_large_power_is_the_hard_choice(one: observables.Observable) -> None:
    pt = np.hypot(RANDOM[0, :, :, 0], RANDOM[0, :, :, 1])
    apart = RANDOM[:, (pt[:, :-1] / pt[:, 1:]).min(axis=1) > 1.01]
    assert apart.shape[1] > 10
    hard = one(as_vectors(apart[:, :, : one.jets].copy()))
    for kappa in (4000.0, 1e12):
        soft = observables.soft_choice(one, kappa, 6)(as_vectors(apart))
        np.testing.assert_allclose(soft, hard, rtol=1e-12)


def test_the_order_of_the_jets_does_not_matter() -> None:
    expected = SOFT(8.0, 6)(as_vectors(RANDOM))
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 1, 5, 3, 4]):
        found = SOFT(8.0, 6)(as_vectors(RANDOM[:, :, order].copy()))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kappa", [4.0, 8.0, 500.0])
def test_trees_with_few_jets(kappa: float) -> None:
    pt = np.full((6, 5), math.nan)
    for number, row in enumerate(pt):
        row[:number] = np.linspace(80.0, 40.0, 5)[:number]
    momenta = momenta_of(pt)
    found, hard = (
        SOFT(kappa, 5)(as_vectors(momenta))[0],
        MASS(as_vectors(momenta[:, :, :2].copy()))[0],
    )
    np.testing.assert_array_equal(found[:3], hard[:3])  # no jet, one and two
    for number in (3, 4):
        fewer = SOFT(kappa, number)(as_vectors(momenta[:, number : number + 1, :number].copy()))
        np.testing.assert_allclose(found[number], fewer[0, 0], rtol=1e-14)
    derivatives = jet_derivatives(SOFT(kappa, 5), momenta)
    assert np.isfinite(derivatives).all()
    assert not derivatives[np.isnan(momenta)].any()
    both = SOFT(kappa, 2)(as_vectors(momenta[:, :, :2].copy()))[0]
    np.testing.assert_allclose(both, hard, rtol=1e-14)


def test_its_slope_is_smooth_where_jets_exchange_places() -> None:
    third = np.linspace(45.0, 55.0, 401)
    momenta = momenta_of(np.stack([0 * third + 90, 0 * third + 50, third, 0 * third + 20], axis=1))
    ordered = np.take_along_axis(
        momenta, np.argsort(-np.hypot(momenta[..., 0], momenta[..., 1]), axis=2)[..., np.newaxis], 2
    )
    hard = MASS(as_vectors(ordered[:, :, :2].copy()))[0]
    assert np.abs(np.diff(hard)).max() > 5.0
    soft = SOFT(8.0, 4)(as_vectors(ordered))[0]
    slopes = np.diff(soft) / np.diff(third)
    assert np.abs(np.diff(slopes)).max() < 0.02 * np.abs(slopes).max()
    derivatives = jet_derivatives(SOFT(8.0, 4), momenta)[0, :, 2]
    direction = momenta[0, :, 2, :2] / third[:, np.newaxis]
    y = np.arctanh(momenta[0, :, 2, 2] / momenta[0, :, 2, 3])
    mass2 = momenta[0, :, 2, 3] ** 2 - (momenta[0, :, 2, :3] ** 2).sum(axis=1)
    mt = third / np.sqrt(third**2 + mass2)
    along = (derivatives[:, :2] * direction).sum(axis=1)
    along += mt * (derivatives[:, 2] * np.sinh(y) + derivatives[:, 3] * np.cosh(y))
    np.testing.assert_allclose(slopes, 0.5 * (along[1:] + along[:-1]), rtol=1e-3, atol=1e-3)


def test_a_jet_without_pt_changes_nothing() -> None:
    pt = [[90.0, 50.0, 45.0, 20.0, math.nan], [90.0, 50.0, 45.0, 20.0, 1e-9], [90, 50, 45, 20, 0.0]]
    found = SOFT(4.0, 5)(as_vectors(momenta_of(pt)))[0]
    np.testing.assert_allclose(found, found[0], rtol=1e-14)


def test_soft_thresholds() -> None:
    momenta = momenta_of(
        [[90.0, pt] for pt in (2.0, 18.0, 20.0, 22.0, 90.0, 1e5)] + [[90.0, math.nan]]
    )
    jets = as_vectors(momenta)
    passes = observables.soft_two_jets(20.0, 2.0)(jets)[0]
    sigmoid = [1.0 / (1.0 + math.exp((20.0 - pt) / 2.0)) for pt in (2.0, 18.0, 20.0, 22.0, 90.0)]
    np.testing.assert_allclose(passes, [*sigmoid, 1.0, 0.0], rtol=1e-12)
    above = observables.soft_above(MASS, 80.0, 5.0)(jets)
    np.testing.assert_allclose(above + observables.soft_below(MASS, 80.0, 5.0)(jets), 1.0)
    for soft, hard in (
        (observables.soft_two_jets(20.5, 1e-6), cuts.two_jets(pt_min=20.5)),
        (observables.soft_below(MASS, 80.0, 1e-6), cuts.mass_below(80.0)),
        (observables.soft_above(MASS, 80.0, 1e-6), cuts.mass_above(80.0)),
    ):
        np.testing.assert_array_equal(soft(jets), hard(jets).astype(np.float64))


def test_a_threshold_is_a_factor() -> None:
    jets = as_vectors(RANDOM)
    passes = observables.soft_two_jets(20.0, 2.0)
    product = SOFT(8.0, 5) * passes
    assert (product.jets, product.units) == (5, "GeV")
    assert product.name == "soft dijet_mass (kappa 8) * (pT of jet 2 > 20 +- 2 GeV)"
    np.testing.assert_array_equal(product(jets), SOFT(8.0, 5)(jets) * passes(jets))
    with pytest.raises(InputError, match="expected another observable in a product"):
        SOFT() * 2.0  # type: ignore[operator]


def test_runs_can_name_them() -> None:
    named = observables.named_observables()
    jets = as_vectors(RANDOM[:, :, :5].copy())
    soft = named["soft_dijet_mass"](kappa=4.0, jets=5)
    np.testing.assert_array_equal(soft(jets), SOFT(4.0)(jets))
    assert named["soft_two_jets"](pt_min=30.0).jets == 2
    prints = {SOFT(kappa, number).fingerprint for kappa in (4.0, 8.0) for number in (4, 5)}
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SOFT(0.0), "kappa is 0.0, expected a positive number"),
        (lambda: SOFT(math.inf), "kappa is inf, expected a finite number"),
        (lambda: SOFT("8"), "kappa is '8', expected a finite number"),  # type: ignore[arg-type]
        (lambda: SOFT(8.0, 1), "jets is 1, expected 2 or more, as many as observable 'dijet_mass'"),
        (lambda: SOFT(8.0, 2.5), "jets is 2.5, expected a whole number"),  # type: ignore[arg-type]
        (lambda: SOFT(8.0, 40), "jets is 40, .* at most 1,000 ordered choices"),
        (lambda: observables.soft_two_jets(math.nan), "threshold is nan, expected a finite"),
        (lambda: observables.soft_two_jets(20.0, 0.0), "width is 0.0, expected a positive number"),
        (lambda: observables.soft_above(MASS, 80.0, -1.0), "width is -1.0, expected a positive"),
    ],
)
def test_arguments_without_meaning_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
