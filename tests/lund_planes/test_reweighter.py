"""Weights of jets from ratios of Lund planes: subjets, the Poisson case, matching, normalisation, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import pytest

import djservice as dj
from djservice.clustering.lund import constituents_of_jets
from djservice.clustering.particle_order import momenta_of
from djservice.errors import InputError, InputWarning
from djservice.lund_planes.binning import Binning, PlaneSums, ratio_of
from djservice.lund_planes.normalisation import normalised
from djservice.lund_planes.prong_jets import Emissions
from djservice.lund_planes.ratio import LundRatio
from djservice.lund_planes.ratio_table import RatioTable
from djservice.lund_planes.subjets import Subjets, subjets_of
from djservice.lund_planes.weights import LundWeights

SMALL = Binning(pt=(10.0, 65.0), x=(-1.0, 1.0, 2.0, 8.0), y=(-5.0, 0.0, 1.0, 7.0))


@pytest.fixture(scope="module")
def sample() -> tuple[dj.EventBatch, Any]:
    """60 events, and their jets with pT above 25 GeV."""
    events = dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=0.5), entries=(0, 60))
    return events, dj.cluster_jets(events, radius=0.8, pt_min=25.0)


def ratio_with(binning: Binning = SMALL, **cells: float) -> LundRatio:
    """A ratio of 1 in all cells but some, named like x1y2."""
    value = np.ones(binning.shape)
    for name, number in cells.items():
        value[:, int(name[1]), int(name[3])] = number
    return LundRatio(binning, RatioTable.of(value, np.full(binning.shape, 0.1), binning))


def jets_of(*jets: list[tuple[float, float, float]]) -> Any:
    """Jets of massless particles (pt, eta, phi)."""
    names = ("pt", "eta", "phi")
    return ak.Array(
        [
            [dict(zip(names, particle, strict=True)) | {"mass": 0.0} for particle in jet]
            for jet in jets
        ]
    )


@pytest.mark.parametrize("prongs", [1, 2, 4])
def test_subjets_and_their_emissions_are_those_of_fastjet(
    sample: tuple[dj.EventBatch, Any], prongs: int
) -> None:
    _, jets = constituents_of_jets(*sample)
    found = subjets_of(jets, np.full(len(jets), prongs))
    particles = momenta_of(jets)
    kt = fastjet.JetDefinition(fastjet.kt_algorithm, 1000.0)
    number = 0
    for i in range(0, len(jets), 3):
        rows = particles[jets.offsets[i] : jets.offsets[i + 1]]
        sequence = fastjet.ClusterSequence([fastjet.PseudoJet(*map(float, p)) for p in rows], kt)
        expected = fastjet.sorted_by_pt(sequence.exclusive_jets_up_to(prongs))
        mine = np.flatnonzero(found.jet == i)
        np.testing.assert_allclose(found.pt[mine], [j.pt() for j in expected], rtol=1e-10)
        np.testing.assert_allclose(found.eta[mine], [j.eta() for j in expected], atol=1e-9)
        for k, jet in zip(mine, expected, strict=True):
            emissions = []
            hard, soft = fastjet.PseudoJet(), fastjet.PseudoJet()
            while jet.has_parents(hard, soft):
                if hard.pt() < soft.pt():
                    hard, soft = soft, hard
                delta = hard.delta_R(soft)
                if delta > 0.005 and soft.pt() * delta > 0.02:
                    emissions.append((delta, soft.pt() * delta))
                jet, hard, soft = hard, fastjet.PseudoJet(), fastjet.PseudoJet()
            chosen = found.subjet == k
            pairs = np.stack([found.delta[chosen], found.kt[chosen]], axis=1)
            expected_pairs = np.array(emissions).reshape(-1, 2)
            np.testing.assert_allclose(pairs, expected_pairs, rtol=1e-9)
            number += len(emissions)
    assert number > 100


def test_poisson_emissions_have_exactly_known_weights() -> None:
    """Means m1 in the simulation and m2 in data, in each cell: all moments are known."""
    generator, jets = np.random.default_rng(3), 50_000
    before = np.array([[0.6, 0.4, 0.3], [0.5, 0.7, 0.2], [0.1, 0.3, 0.2]])
    after = before * np.array([[1.3, 0.8, 1.2], [0.7, 1.2, 1.4], [0.9, 1.1, 0.6]])
    counts = generator.poisson(before, (jets, 3, 3))
    jet, x, y = np.nonzero(counts)
    jet, x, y = (np.repeat(a, counts[jet, x, y]) for a in (jet, x, y))
    # Centres of the cells, with subjets of 50 GeV, whose bin is taken and not its fit.
    delta = 0.8 * np.exp(-np.array([0.0, 1.5, 5.0]))[x]
    kt = np.exp(np.array([-2.0, 0.5, 3.0]))[y]
    ones = np.full(jets, 50.0)
    subjets = Subjets(np.arange(jets), ones, *[0.0 * ones] * 3, jet, delta, kt)
    value = np.broadcast_to(after / before, SMALL.shape)
    ratio = LundRatio(SMALL, RatioTable.of(value, 0.1 * value, SMALL))
    used = np.ones(jets, np.bool_)
    raw = Emissions.of(ratio, subjets, used).products(ratio.nominal, jets)
    np.testing.assert_allclose(raw, np.prod((after / before) ** counts, axis=(1, 2)), rtol=1e-9)
    mean = math.exp((after - before).sum())
    assert abs(raw.mean() - mean) / (raw.std() / jets**0.5) < 4.0
    weights = normalised(raw, np.ones(jets, np.int64), 50.0 + generator.random(jets), np.ones(jets))
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)
    variance = math.exp(((after - before) ** 2 / before).sum()) - 1.0
    squares = (weights - 1.0) ** 2
    assert abs(squares.mean() - variance) / (squares.std() / jets**0.5) < 4.0
    density = (weights[:, np.newaxis, np.newaxis] * counts).mean(axis=0)
    error = (weights[:, np.newaxis, np.newaxis] * (counts - density)).std(axis=0) / jets**0.5
    assert np.abs((density - after) / error).max() < 4.0


def test_weights_are_products_over_the_emissions_of_the_subjets(
    sample: tuple[dj.EventBatch, Any],
) -> None:
    events, jets = sample
    _, batch = constituents_of_jets(events, jets)
    ratio = ratio_with(x1y1=1.5)
    found = dj.LundReweighter(ratio).weights(events, jets, prongs=2, toys=3)
    subjets = subjets_of(batch, np.full(len(batch), 2))
    inside = ratio.binning.of_emissions(subjets) == 4
    number = np.bincount(subjets.jet[subjets.subjet[inside]], minlength=len(batch))
    # Fits take the place of bins below 15 GeV, and are 1.5 as well.
    raw = 1.5**number
    np.testing.assert_allclose(found.nominal, raw / raw.mean(), rtol=1e-6)
    assert {name: toys.shape for name, toys in found.toys.items()} == {
        "statistics": (len(batch), 3),
        "extrapolation": (len(batch), 3),
    }
    again = dj.LundReweighter(ratio).weights(events, jets, prongs=2, toys=3)
    np.testing.assert_array_equal(again.toys["statistics"], found.toys["statistics"])
    assert set(found.variations) == set()
    assert not found.bad_match.any() and (found.prongs == 2).all()


def test_a_ratio_turns_the_plane_of_the_simulation_into_that_of_data(
    sample: tuple[dj.EventBatch, Any],
) -> None:
    """The weights of each sample make the plane; equal samples have a ratio and weights of 1."""
    _, batch = constituents_of_jets(*sample)
    subjets = subjets_of(batch, np.full(len(batch), 2))
    weight = np.linspace(0.5, 1.5, len(batch))
    data, simulation = (PlaneSums.of(subjets, w, SMALL) for w in (weight, np.ones(len(batch))))
    value, _ = ratio_of(data, simulation)
    (a, _), (b, _) = data.density(), simulation.density()
    np.testing.assert_allclose((value * b)[a > 0.0], a[a > 0.0], rtol=1e-12)
    half = len(batch) // 2
    parts = [
        PlaneSums.of(subjets_of(batch.select(rows), np.full(len(rows), 2)), weight[rows], SMALL)
        for rows in (np.arange(half), np.arange(half, len(batch)))
    ]
    np.testing.assert_allclose((parts[0] + parts[1]).emissions, data.emissions, rtol=1e-12)
    same = dj.LundReweighter.measured(sample, sample, prongs=2)
    expected = LundRatio.of(simulation, simulation, SMALL)
    small = dj.LundReweighter.measured(sample, sample, prongs=2, binning=SMALL)
    np.testing.assert_array_equal(small.ratio.nominal.error, expected.nominal.error)
    np.testing.assert_allclose(same.weights(*sample, prongs=2, toys=0).nominal, 1.0, rtol=1e-9)


def test_subjets_are_matched_to_quarks() -> None:
    two = [(100.0, 0.0, 0.0), (5.0, 0.05, 0.02), (80.0, 0.5, 0.0), (4.0, 0.46, 0.02)]
    jets = jets_of(two, two, two)
    value = {"x2y1": 1.25, "x2y0": 1.25}  # emissions at 0.05 from the axis
    ratio = ratio_with(**value)
    ratio = LundRatio(ratio.binning, ratio.nominal, b_quarks=np.full(SMALL.shape, 1.1))
    quarks = ak.Array(
        [
            [{"eta": 0.0, "phi": 0.0, "pdgId": 5}, {"eta": 0.5, "phi": 0.0, "pdgId": -3}],
            [{"eta": 0.0, "phi": 0.0, "pdgId": 2}, {"eta": 0.5, "phi": 0.3, "pdgId": 1}],
            [{"eta": 0.25, "phi": 2.0, "pdgId": 2}],
        ]
    )
    with pytest.warns(
        InputWarning, match=r"50% of the jets with quarks have subjets .* each of 2\.0 prongs"
    ):
        found = dj.LundReweighter(ratio).weights(jets, quarks=quarks, toys=0)
    assert found.prongs.tolist() == [2, 2, 0]
    assert found.bad_match.tolist() == [False, True, True]
    # Both emissions count in the first, and that of the matched subjet in the second.
    first, second = 1.25**2, 1.25
    two_prongs = np.array([first, second])
    np.testing.assert_allclose(found.nominal[:2], two_prongs / two_prongs.mean(), rtol=1e-6)
    up, down = found.variations["b_quarks"]
    assert up[0] / up[1] == pytest.approx(1.1 * first / second, rel=1e-6)
    assert down[0] / down[1] == pytest.approx(first / second / 1.1, rel=1e-6)
    assert set(found.variations) == {"b_quarks", "prongs", "unmatched"}
    up, down = found.variations["unmatched"]
    assert up[1] / up[0] > found.nominal[1] / found.nominal[0] > down[1] / down[0]
    with pytest.raises(InputError, match="expected those of 3 jets, found those of 2"):
        dj.LundReweighter(ratio).weights(jets, quarks=quarks[:2])


@pytest.mark.filterwarnings("ignore:.*subjets that are not those of their quarks")
def test_quarks_that_were_read_are_those_that_are_named() -> None:
    """Jets have the quarks and the weights of their events, before and after a boost and a rotation."""
    schema = dj.schemas.nanoaod(pt_min=0.5, quarks=True)
    events = dj.read("example:ZHllbb_200", schema=schema, entries=(0, 60))
    events = replace(events, weight=np.linspace(0.5, 1.5, 60))
    jets = dj.cluster_jets(events, radius=0.8, pt_min=25.0)
    assert events.quarks is not None
    lists = {"eta": events.quarks.eta, "phi": events.quarks.phi, "pdgId": events.quarks.pdg_id}
    records = ak.unflatten(ak.zip(lists), np.diff(events.quarks.offsets))
    of_jet = records[np.repeat(np.arange(60), ak.to_numpy(ak.num(jets)))]
    ratio = LundRatio(SMALL, ratio_with(x1y1=1.5).nominal, b_quarks=np.full(SMALL.shape, 1.1))
    found = dj.LundReweighter(ratio).weights(events, jets, prongs="quarks", toys=1)
    expected = dj.LundReweighter(ratio).weights(events, jets, quarks=of_jet, toys=1)
    assert set(found.prongs) == {0, 1, 2} and found.nominal.std() > 0.05
    np.testing.assert_array_equal(found.nominal, expected.nominal)
    for name in ("b_quarks", "prongs", "unmatched"):
        np.testing.assert_array_equal(found.variations[name], expected.variations[name])
    weight = np.repeat(events.weight, ak.to_numpy(ak.num(jets)))
    for number in (0, 1, 2):
        rows = found.prongs == number
        assert np.average(found.nominal[rows], weights=weight[rows]) == pytest.approx(1.0)
    moved = dj.augment.augmented(events, [dj.augment.Rotate(), dj.augment.Translate()])
    again = dj.LundReweighter(ratio).weights(
        moved, dj.cluster_jets(moved, radius=0.8, pt_min=25.0), prongs="quarks", toys=0
    )
    np.testing.assert_allclose(again.nominal, found.nominal, rtol=1e-9)
    with pytest.raises(InputError, match="the events have no generated quarks"):
        dj.LundReweighter(ratio).weights(replace(events, quarks=None), jets, prongs="quarks")


def test_normalisation_keeps_means_and_the_spectrum() -> None:
    generator = np.random.default_rng(1)
    jets = 5_000
    weights, prongs = np.exp(generator.normal(0.3, 1.2, jets)), generator.integers(1, 4, jets)
    pt = generator.exponential(50.0, jets) + 200.0
    few = normalised(weights[:400], prongs[:400], pt[:400], np.ones(400))
    for number in (1, 2, 3):
        assert few[prongs[:400] == number].mean() == pytest.approx(1.0, abs=1e-12)
    assert few.max() < 11.0 and few.min() > 0.05
    weights *= pt / 250.0  # a change of the spectrum
    many, of_event = normalised(weights, prongs, pt, np.ones(jets)), np.ones(jets)
    low, high = np.quantile(pt, (0.03, 0.97))
    for a, b in ((low, (low + high) / 2.0), ((low + high) / 2.0, high)):
        inside = (pt >= a) & (pt < b)
        assert many[inside].mean() == pytest.approx(1.0, abs=0.02)
    assert float(many @ of_event) / jets == pytest.approx(1.0, abs=1e-12)


def test_uncertainties_are_spreads_and_shifts_in_quadrature() -> None:
    ones = np.ones(4)
    weights = LundWeights(
        ones,
        {"statistics": np.stack([1.1 * ones, 0.9 * ones, 1.3 * ones], axis=1)},
        {"shower": (1.3 * ones, 0.8 * ones), "pile-up": (1.1 * ones, 1.2 * ones)},
        np.full(4, 2),
        np.zeros(4, np.bool_),
    )
    found = weights.uncertainties(lambda w: float(w.sum()))
    spread = float(np.std([4.4, 3.6, 5.2])) + 0.4
    assert found["statistics"] == pytest.approx((spread, -spread))
    assert found["shower"] == pytest.approx((1.2, -0.8))
    assert found["total"] == pytest.approx((math.hypot(spread, 1.2, 0.8), -math.hypot(spread, 0.8)))


def test_a_fit_takes_the_order_that_the_data_need() -> None:
    binning = Binning(x=(0.0, 1.0), y=(0.0, 1.0))
    inverse = 1.0 / np.array([37.5, 87.5, 142.5, 207.5, 270.0, 350.0])
    for slope in (0.0, 40.0):
        value = (1.0 + slope * inverse)[:, np.newaxis, np.newaxis]
        table = RatioTable.of(value, np.full((6, 1, 1), 0.02), binning)
        np.testing.assert_allclose(table.coefficients[0, 0], [1.0, slope, 0.0], atol=1e-6)
    at = table.at(np.array([500.0, 100.0]), np.array([5, 1]), np.array([0, 0]))
    np.testing.assert_allclose(at, [1.0 + 40.0 / 500.0, 1.0 + 40.0 / 87.5], rtol=1e-9)


def test_jets_without_particles_or_with_one_weigh_one() -> None:
    jets = jets_of([], [(50.0, 0.0, 0.0)], [(50.0, 0.0, 0.0), (20.0, 0.3, 0.0)])
    found = dj.LundReweighter(ratio_with(x0y2=2.0)).weights(jets, prongs=2, toys=2)
    np.testing.assert_allclose(found.nominal, 1.0)
    assert found.bad_match.tolist() == [True, False, False]
    none = dj.LundReweighter(ratio_with()).weights(jets[:0], prongs=1, toys=2)
    assert len(none.nominal) == 0


def test_what_has_no_weights_is_refused(sample: tuple[dj.EventBatch, Any]) -> None:
    reweighter, (events, jets) = dj.LundReweighter(ratio_with()), sample
    for prongs in (None, 0, -1, 1.5, [2, 2], "quark"):
        with pytest.raises(InputError, match="expected the number of prongs, 1 or more"):
            reweighter.weights(events, jets, prongs=prongs)  # type: ignore[arg-type]
    for number, message in (
        ({"toys": -1}, "toys is -1"),
        ({"toys": 1.5}, "toys is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "a"}, "seed is 'a'"),
    ):
        with pytest.raises(InputError, match=message):
            reweighter.weights(events, jets, prongs=2, **number)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="prongs is 'quarks', expected a number: data have no qu"):
        dj.LundReweighter.measured(sample, sample, prongs="quarks")
    with pytest.raises(InputError, match="ratio is None, expected a LundRatio or the path"):
        dj.LundReweighter(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected jets with a field constituents"):
        reweighter.weights(events, jets.pt, prongs=2)
    trees = dj.cluster_jets(events, radius=0.8, rigidity=1.0, trees=2)
    with pytest.raises(InputError, match="jets of random trees have no weights"):
        reweighter.weights(events, trees, prongs=2)
    pair = jets_of([(50.0, 0.0, 0.0)])
    with pytest.raises(InputError, match="expected awkward records with eta, phi and pdgId"):
        reweighter.weights(pair, quarks=ak.Array([[{"eta": 0.0}]]))
    bad = ak.Array([[{"eta": math.nan, "phi": 0.0, "pdgId": 1}]])
    with pytest.raises(InputError, match="quarks: expected finite eta and phi"):
        reweighter.weights(pair, quarks=bad)
    with pytest.raises(InputError, match="pt is nan"):
        reweighter.weights(jets_of([(math.nan, 0.0, 0.0)]), prongs=1)
