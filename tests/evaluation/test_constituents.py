"""Observables of the constituents of a jet: what they get, how often, and what comes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.errors import InputError
from djservice.evaluation import evaluate

calls: list[tuple[int, int]] = []


@dj.observable(constituents=16, jet=1)
def dispersion(jets: Any, particles: Any) -> Any:
    calls.append(particles.mask.shape)
    pt = particles.momenta.pt
    assert (pt[~particles.mask] == 0.0).all()
    return np.sqrt((pt**2).sum(axis=-1)) / pt.sum(axis=-1)


@dj.observable(constituents="all", units="GeV")
def scalar_pt(jets: Any, particles: Any) -> Any:
    assert (particles.mask.sum(axis=-1) == particles.count).all()
    return particles.momenta.pt.sum(axis=-1)


@dj.observable(constituents="all", units="GeV")
def mass_of_jet(jets: Any, particles: Any) -> Any:
    return jets.mass


@pytest.fixture(scope="module")
def events() -> Any:
    return dj.read("example:ZHllbb_200", schema=dj.schemas.nanoaod(pt_min=2.0), entries=(0, 12))


def test_each_distinct_jet_is_evaluated_once(events: Any) -> None:
    sample = dj.cluster(events, radius=0.7, rigidity=10.0, trees=30, constituents=True)
    calls.clear()
    values = dispersion(sample.jets)
    distinct = {
        (event, *found.index[tree, 1][: found.count[tree, 1]].tolist()): values[event, tree]
        for event, found in enumerate(sample.constituents)
        for tree in range(30)
        if found.count[tree, 1]
    }
    assert sum(rows for rows, _ in calls) == len(distinct) < 100 and calls[0][1] == 16
    for (event, *listed), value in distinct.items():
        pt = events.pt[events.offsets[event] + np.array(listed)][:16]
        assert value == pytest.approx(np.sqrt((pt**2).sum()) / pt.sum(), rel=1e-12)
    np.testing.assert_array_equal(dispersion(sample.jets), values)
    assert sum(rows for rows, _ in calls) == len(distinct)


def test_values_do_not_depend_on_threads_chunks_or_other_events(
    events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(**how: Any) -> Any:
        sample = dj.cluster(events, radius=0.7, rigidity=1.0, trees=9, constituents=True, **how)
        return scalar_pt(sample.jets)

    expected = values(threads=1)
    np.testing.assert_array_equal(values(threads=2), expected)
    monkeypatch.setattr("djservice.clustering.constituents.BLOCK", 7)
    np.testing.assert_array_equal(values(), expected)
    for row in (0, 11):
        alone = dj.cluster(
            events.select([row]), radius=0.7, rigidity=1.0, trees=9, constituents=True
        )
        np.testing.assert_array_equal(scalar_pt(alone.jets)[0], expected[row])


ESTIMATORS = (None, dj.LeaveOneOut(), dj.FiniteDifference(), dj.AlternativePath(),
              dj.AlternativePath(all_steps=True))  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_gradients_are_those_of_the_same_observable_of_jets(
    events: Any, estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cuts, in chunks, and beside a term of jets alone."""
    monkeypatch.setattr(evaluate, "TREES_AT_ONCE", 200)
    estimator = estimator or dj.LeaveOneOut()
    found = []
    for mass, pt in ((mass_of_jet, scalar_pt), (dj.observables.leading_jet_mass, None)):
        loss = dj.SquaredError(mass, target=20.0, scale=20.0)
        cut = dj.cuts.leading_jets(1, 20.0)
        if pt is not None:
            cut = cut & ~dj.cuts.below(pt, -1.0) & (dj.cuts.above(pt, 0.0) | dj.cuts.above(pt, 1.0))
        both = loss.where(cut) + 0.1 * dj.SquaredError(dj.observables.dijet_mass, target=100.0)
        g = dj.gradient(events, both, radius=0.7, trees=8, estimator=estimator)
        found.append((g.value, g.error, g.loss.value))
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_the_default_estimator_takes_no_states_of_such_terms(events: Any) -> None:
    both = [
        dj.gradient(events, mass_of_jet, radius=0.7, trees=8, estimator=e)
        for e in (dj.StateBaseline(), dj.LeaveOneOut())
    ]
    assert both[0].value == both[1].value != 0.0 and both[0].moments.state_share == 0.0


def test_products_choices_and_thresholds_read_constituents_too(events: Any) -> None:
    soft = dj.observables.soft_choice(mass_of_jet, kappa=200.0, jets=3)
    product = soft * dj.observables.soft_above(scalar_pt, 1.0, 0.01)
    assert product.needs_constituents
    same = dj.expectation(events, product, radius=0.7, trees=5).mean
    plain = dj.expectation(events, dj.observables.leading_jet_mass, radius=0.7, trees=5).mean
    np.testing.assert_allclose(np.median(np.abs(same / plain - 1.0)), 0.0, atol=1e-3)
    weighed = dj.reweight(events, mass_of_jet, radius=0.7, radii=[0.7], trees=5)
    assert np.isfinite(weighed.gradient).all()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda e: dj.gradient(e, scalar_pt, radius=0.7, estimator=dj.SigmoidRelaxation()), "soft edges"),
        (lambda e: dj.gradient(e, scalar_pt, radius=0.7, estimator=dj.GumbelSoftmax()), "soft edges"),
        (lambda e: scalar_pt(dj.cluster(e, radius=0.7, rigidity=1.0).jets), "constituents=True"),
        (lambda e: dj.input_gradient(e, scalar_pt, radius=0.7, trees=8), "derivatives in the particles"),
        (lambda e: dj.gradient(e, dj.observable(constituents=4)(lambda j, p: j.pt[:1]), radius=0.7),
         "a number for each jet"),
        (lambda e: dj.gradient(e, dj.observable(constituents=4)(lambda j, p: "x"), radius=0.7), "numbers"),
        (lambda e: dj.observable(constituents=0), "constituents is 0"),
        (lambda e: dj.observable(constituents="some"), "constituents is 'some'"),
        (lambda e: dj.observable(constituents=4, jets=2), "jet="),
        (lambda e: dj.observable(constituents=4, jet=-1), "jet is -1"),
        (lambda e: dj.observable(jet=1), "without constituents"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(events: Any, work: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        work(events)(lambda jets, particles: jets.pt)


def test_a_fingerprint_tells_jets_and_lengths_apart() -> None:
    def of(**how: Any) -> str:
        return dj.observable(**how)(lambda jets, particles: jets.pt).fingerprint

    assert len({of(constituents=8), of(constituents=8, jet=1), of(constituents="all")}) == 3
