"""Observables and cuts on jets that are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import vector

import djservice as dj
from djservice import cuts, observables
from djservice.core.fingerprints import fingerprint
from djservice.errors import InputError


def jets_of(
    *trees: list[tuple[float, float, float, float]], slots: int = 4
) -> vector.MomentumNumpy4D:
    """One event; each tree a list of (px, py, pz, E), the rest NaN."""
    momenta = np.full((1, len(trees), slots, 4), np.nan)
    for t, tree in enumerate(trees):
        for j, jet in enumerate(tree):
            momenta[0, t, j] = jet
    return momenta.view([(n, "f8") for n in ("px", "py", "pz", "E")])[..., 0].view(
        vector.MomentumNumpy4D
    )


HARD, SOFT, WEAK = (50.0, 0.0, 0.0, 50.0), (-30.0, 0.0, 0.0, 30.0), (0.0, 10.0, 0.0, 12.0)
JETS = jets_of([HARD, SOFT, WEAK], [HARD], [])


def test_masses() -> None:
    np.testing.assert_allclose(
        observables.dijet_mass(JETS)[0], [np.sqrt(80**2 - 20**2), 0.0, np.nan]
    )
    np.testing.assert_allclose(observables.leading_jet_mass(JETS)[0], [0.0, 0.0, np.nan])
    three = np.sqrt(92**2 - 20**2 - 10**2)
    np.testing.assert_allclose(observables.n_jet_mass(3)(JETS)[0], [three, 0.0, np.nan])


def test_chosen_jets() -> None:
    np.testing.assert_allclose(observables.leading_jet_pt(JETS)[0], [50.0, 50.0, np.nan])
    np.testing.assert_allclose(observables.jet_pt(1)(JETS)[0], [30.0, np.nan, np.nan])
    weak = np.sqrt(12**2 - 10**2)
    np.testing.assert_allclose(observables.jet_mass(2)(JETS)[0], [weak, np.nan, np.nan])
    pair = np.sqrt(62**2 - 50**2 - 10**2)
    np.testing.assert_allclose(observables.invariant_mass([0, 2])(JETS)[0], [pair, np.nan, np.nan])
    for wrong in ([], [0, 0], [0, -1], 3, "01", [0.5]):
        with pytest.raises(InputError, match=r"jets? is .*expected"):
            observables.invariant_mass(wrong)


def test_an_observable_is_made_with_brackets_or_without() -> None:
    def pt(jets):
        return jets.pt[..., 0]

    bare, called, full = dj.observable(pt), dj.observable()(pt), dj.observable(units="GeV")(pt)
    assert bare == called and (bare.name, full.units) == ("pt", "GeV")
    np.testing.assert_array_equal(bare(JETS), JETS.pt[..., 0])


def test_counts_and_sums() -> None:
    np.testing.assert_array_equal(
        observables.jet_multiplicity(pt_min=20, jets=4)(JETS)[0], [2, 1, 0]
    )
    np.testing.assert_allclose(observables.scalar_ht(pt_min=5, jets=4)(JETS)[0], [90, 50, 0])
    with pytest.raises(InputError, match="a tree has 3 jets or more above 5 GeV"):
        observables.jet_multiplicity(pt_min=5, jets=3)(jets_of([HARD, SOFT, WEAK], slots=3))


def test_cuts_and_their_algebra() -> None:
    two, light = cuts.two_jets(pt_min=20), cuts.mass_below(10)
    np.testing.assert_array_equal(two(JETS)[0], [True, False, False])
    np.testing.assert_array_equal(light(JETS)[0], [False, True, False])
    np.testing.assert_array_equal((two | light)(JETS)[0], [True, True, False])
    np.testing.assert_array_equal((two & light)(JETS)[0], [False, False, False])
    np.testing.assert_array_equal((~two)(JETS)[0], [False, True, True])
    np.testing.assert_array_equal(cuts.mass_above(10)(JETS)[0], [True, False, False])
    assert (two & light).name == "2 leading jets with pT > 20 GeV and dijet_mass < 10 GeV"


def test_rapidity_cut() -> None:
    forward = (20.0, 0.0, 20.0 * np.sinh(3.0), 20.0 * np.cosh(3.0))
    jets = jets_of([forward, HARD])
    assert not cuts.two_jets(rapidity_max=2.9)(jets)[0, 0]
    assert cuts.two_jets(rapidity_max=3.1)(jets)[0, 0]


def test_a_function_of_ones_own() -> None:
    @observables.observable(units="GeV", jets=1)
    def leading_pt(jets):
        return jets.pt[..., 0]

    np.testing.assert_allclose(leading_pt(JETS)[0], [50, 50, np.nan])
    assert "test_a_function_of_ones_own.<locals>.leading_pt#" in leading_pt.fingerprint


def test_fingerprints_tell_captured_values_apart() -> None:
    three, four = observables.n_jet_mass(3), observables.n_jet_mass(4)
    assert three.fingerprint == observables.n_jet_mass(3).fingerprint != four.fingerprint
    low, high = cuts.below(three, 100.0), cuts.below(three, 200.0)
    other = cuts.below(four, 100.0)
    assert len({fingerprint(cut.function) for cut in (low, high, other)}) == 3


def test_wrong_shapes_are_named() -> None:
    flat = observables.observable()(lambda jets: jets.pt[0])
    with pytest.raises(InputError, match=r"returned shape \(3, 4\), expected \(1, 3\)"):
        flat(JETS)
    number = cuts.Cut(lambda jets: jets.pt[..., 0], "pt")
    with pytest.raises(InputError, match="cut 'pt' returned float64"):
        number(JETS)
