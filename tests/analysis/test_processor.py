"""RadiusProcessor: the service's numbers from coffea's chunks, and their sums over datasets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
from chunks import (
    LOSS,
    MASS,
    NUMBERS,
    PATH,
    SETTING,
    assert_close,
    chunk,
    evaluated,
    of_the_service,
)
from coffea import processor
from same_events import assert_same_events

import djservice as dj
from djservice.errors import InputError, InputWarning, SchemaError
from djservice.evaluation.moments import Moments
from djservice.objectives.observable import Observable


def test_a_chunk_has_the_numbers_of_the_service_to_the_bit() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    found = own.postprocess(own.process(chunk()))
    expected = evaluated(of_the_service())
    assert list(found["datasets"]) == ["ZH"]
    assert_close(found["all"].moments, expected, rtol=0.0)
    for name in NUMBERS:
        assert getattr(found["all"], name) == getattr(expected, name)()
    assert found["all"].acceptance.value == expected.acceptance


def test_its_particles_and_trees_are_those_of_the_service() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING, eta_max=2.5)
    batch, expected = own.batch(chunk(20, 60)), of_the_service(20, 60, eta_max=2.5)
    assert_same_events(batch, expected)
    assert batch.name(1) == expected.name(1)
    trees = [
        dj.cluster(each, radius=0.7, rigidity=1.0, trees=4, seed=3).momenta
        for each in (batch, expected)
    ]
    np.testing.assert_array_equal(*trees)


def test_spectrum_and_acceptance_are_of_events_and_not_of_trees() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING, axis=hist.axis.Variable([60.0, 100.0, 110.0, 140.0]))
    found = own.postprocess(own.process(chunk()))["all"]
    trees = dj.cluster(of_the_service(), radius=0.7, rigidity=1.0, trees=4, seed=3)
    value, _, accepted = LOSS.terms[0].evaluate(trees.jets, np.full(200, 125.0))
    edges = [-np.inf, 60.0, 100.0, 110.0, 140.0, np.inf]
    share = np.array(
        [np.histogram(v[a], edges)[0] / 4 for v, a in zip(value, accepted, strict=True)]
    )
    assert share.sum(axis=0).min() > 0
    np.testing.assert_allclose(found.spectrum.values(flow=True), share.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        found.spectrum.variances(flow=True), (share**2).sum(axis=0), rtol=1e-12
    )
    of_event = accepted.mean(axis=1)
    np.testing.assert_allclose(found.acceptance.error, of_event.std(ddof=1) / 200**0.5, rtol=1e-9)
    of_trees = (accepted.var(axis=1, ddof=1) / 4).sum() ** 0.5 / 200
    np.testing.assert_allclose(found.acceptance.tree_error, of_trees, rtol=1e-9)


def test_the_lund_plane_adds_up_over_chunks_to_the_bit() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING, lund=True)
    whole = own.process(chunk(0, 60))
    parts = [own.process(chunk(first, first + 20)) for first in (0, 20, 40)]
    merged = processor.accumulate(parts)
    np.testing.assert_array_equal(merged["ZH"]["lund"], whole["ZH"]["lund"])
    events = of_the_service(0, 60)
    jets = dj.cluster_jets(events, radius=0.7, pt_min=20.0, jets=2)
    expected, found = dj.lund_density(events, jets, radius=0.7), own.postprocess(merged)
    np.testing.assert_array_equal(found["all"].lund.values(), expected.values())
    np.testing.assert_array_equal(found["datasets"]["ZH"].lund.variances(), expected.variances())
    assert found["all"].lund.values().sum() > 0.0


def plain(value: Any) -> bool:
    """Whether coffea merges it: no None, and nothing that concatenates."""
    if isinstance(value, dict):
        return all(plain(item) for item in value.values())
    if isinstance(value, set):
        return all(isinstance(item, float) for item in value)
    return isinstance(value, (int, float, np.ndarray, hist.Hist))


def test_sums_are_plain_and_merging_does_not_change_them() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    parts = [own.process(chunk(first, first + 50, xsec=2.0)) for first in (0, 50, 100)]
    assert all(plain(part) for part in parts)
    before = parts[0]["ZH"]["moments"]["total"].copy()
    merged = processor.accumulate(parts)
    np.testing.assert_array_equal(parts[0]["ZH"]["moments"]["total"], before)
    assert merged["ZH"]["xsec"] == {2.0}
    assert merged["ZH"]["moments"]["trees"] == 600
    expected = evaluated(of_the_service(0, 150))
    assert_close(Moments(layout=expected.layout, **merged["ZH"]["moments"]), expected)


def test_an_objective_is_that_of_all_datasets_together() -> None:
    """A significance of signal and background; of one alone it is not defined."""
    loss = dj.Significance(
        MASS,
        signal=("ZH",),
        background=("Zjets",),
        luminosity=300.0,
        bins=(40.0, 100.0, 130.0, 200.0),
        minimum_entries=2.0,
    )
    own, xsec = dj.RadiusProcessor(loss, **SETTING), {"ZH": 0.02, "Zjets": 3.0}
    places = {"ZH": [(0, 30), (30, 60)], "Zjets": [(60, 100), (100, 150)]}
    parts = [
        own.process(chunk(*place, dataset=name, xsec=xsec[name]))
        for name, chunks in places.items()
        for place in chunks
    ]
    found = own.postprocess(processor.accumulate(parts))
    assert all(np.isnan(each.loss.value) for each in found["datasets"].values())
    batches = []
    for name, chunks in places.items():
        place = chunks[0][0], chunks[-1][1]
        schema = dj.schemas.nanoaod(pt_min=2.0)
        batch = dj.read(PATH, schema=schema, entries=place, dataset=name)
        batches.append(replace(batch, weight=batch.weight * (xsec[name] / batch.weight.sum())))
    expected = dj.gradient(batches, loss, radius=0.7, trees=4, seed=3).moments
    assert expected.loss().value < -0.01
    assert_close(found["all"].moments, expected)


def test_cross_sections_and_factors() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    one = own.process(chunk(0, 80, xsec=3.0))
    other = own.process(chunk(80, 200, dataset="other", xsec=0.5, weight=2.0, sumw=600.0))
    found = own.postprocess(processor.accumulate([one, other]))
    moments = [
        evaluated(of_the_service(0, 80)),
        evaluated(dj.read(PATH, schema=own.schema, entries=(80, 200), dataset="other")),
    ]
    factors = [3.0 / 80.0, 2.0 * 0.5 / 600.0]
    total = sum(f * m.total for f, m in zip(factors, moments, strict=True))
    outer = sum(f**2 * m.outer for f, m in zip(factors, moments, strict=True))
    np.testing.assert_allclose(found["all"].moments.total, total, rtol=1e-12)
    np.testing.assert_allclose(found["all"].moments.outer, outer, rtol=1e-12)
    assert found["all"].moments.weight == pytest.approx(3.0 + 0.2, rel=1e-12)
    assert found["all"].spectrum.sum(flow=True).value == pytest.approx(total[-3], rel=1e-12)
    shares = (np.array([3.0, 0.2]), np.array([m.acceptance for m in moments]))
    assert found["all"].acceptance.value == pytest.approx(shares[0] @ shares[1] / 3.2, rel=1e-12)
    for name, expected in zip(
        ("ZH", "other"), moments, strict=True
    ):  # a dataset alone: its scale drops out
        for number in NUMBERS:
            a, b = getattr(found["datasets"][name], number), getattr(expected, number)()
            np.testing.assert_allclose(
                (a.value, a.error, a.tree_error), (b.value, b.error, b.tree_error), rtol=1e-10
            )


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (({"xsec": 1.0}, {"dataset": "other"}), "xsec is missing in the metadata of other"),
        (
            ({"xsec": 1.0}, {"xsec": 2.0}),
            r"dataset 'ZH': expected one xsec in its metadata, found \[1.0, 2.0\]",
        ),
        (({"xsec": -1.0}, {"xsec": -1.0}), "expected a positive xsec"),
        (
            ({"xsec": 1.0, "sumw": 0.0}, {"xsec": 1.0}),
            "a positive sum of weights, found 1.0 and 0.0",
        ),
    ],
)
def test_metadata_that_do_not_go_together(
    metadata: tuple[dict[str, Any], ...], message: str
) -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    sums = processor.accumulate(
        [own.process(chunk(5 * i, 5 * i + 5, **given)) for i, given in enumerate(metadata)]
    )
    with pytest.raises(InputError, match=message):
        own.postprocess(sums)


@pytest.mark.parametrize("truth", ["GenPart:higgs", "GenVisH_mass", 125.0])
def test_truth(truth: float | str) -> None:
    own = dj.RadiusProcessor(dj.SquaredError(MASS, scale=None), **SETTING, truth=truth)
    np.testing.assert_array_equal(
        own.batch(chunk(10, 40)).truth, of_the_service(10, 40, truth=truth).truth
    )
    assert np.isfinite(own.postprocess(own.process(chunk(10, 40)))["all"].loss.value)


def test_a_dataset_without_an_accepted_tree_is_nan_and_takes_no_other_with_it() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    none = chunk(0, 30, dataset="none")
    none = ak.with_field(none, none.PFCands[none.PFCands.pt < 3.0], "PFCands")
    found = own.postprocess(
        processor.accumulate([own.process(none), own.process(chunk()), own.process(chunk()[:0])])
    )
    assert np.isnan([getattr(found["datasets"]["none"], name).value for name in NUMBERS]).all()
    assert found["datasets"]["none"].acceptance.value == 0.0
    assert_close(found["datasets"]["ZH"].moments, evaluated(of_the_service()), rtol=0.0)
    assert found["all"].moments.events == 230
    assert found["all"].loss.value == found["datasets"]["ZH"].loss.value
    with pytest.raises(InputError, match="no dataset was processed"):
        own.postprocess({})


@pytest.mark.parametrize(
    ("arguments", "spoil", "error", "message"),
    [
        (
            {"particles": "Tracks"},
            lambda e: e,
            SchemaError,
            r"ZHllbb_200\.root\[0:5\]: expected 'Tracks_pt' in the events",
        ),
        (
            {"weight": "LHEWeight_nominal"},
            lambda e: e,
            SchemaError,
            "expected 'LHEWeight_nominal' in the events",
        ),
        (
            {"truth": "GenVisH_Mass"},
            lambda e: e,
            SchemaError,
            "expected 'GenVisH_Mass' in the events, found GenVisH_",
        ),
        (
            {"identity": ("run", "ls", "event")},
            lambda e: e,
            SchemaError,
            "expected 'ls' in the events",
        ),
        (
            {},
            lambda e: ak.Array({"PFCands": e.PFCands}),
            InputError,
            "expected NanoEvents with a dataset",
        ),
        (
            {},
            lambda e: ak.with_field(e, ak.mask(e.PFCands, e.PFCands.pt > 3.0), "PFCands"),
            InputError,
            r"event 0, particle \d+: pt is None",
        ),
    ],
)
def test_chunks_that_cannot_be_processed(
    arguments: dict[str, Any], spoil: Callable[[Any], Any], error: type[Exception], message: str
) -> None:
    own = dj.RadiusProcessor(LOSS, **{**SETTING, **arguments})
    with pytest.raises(error, match=message):
        own.process(spoil(chunk(0, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trees": 1}, "trees is 1, too few for the state_baseline estimator"),
        ({"radius": [0.4, 0.5]}, r"radius has shape \(2,\)"),
        ({"pt_min": -1.0}, "pt_min"),
        (
            {"axis": hist.axis.Regular(5, 0, 1, flow=False)},
            "expected one with underflow and overflow",
        ),
    ],
)
def test_arguments_without_meaning(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dj.RadiusProcessor(LOSS, **{**SETTING, **arguments})


def test_the_library_needs_no_coffea_and_a_script_can_be_pickled() -> None:
    script = """
import sys, cloudpickle
import djservice as dj
dj.expectation, dj.cluster_jets, dj.gradient
assert "coffea" not in sys.modules
def of_the_script(): return dj.expectation
assert cloudpickle.loads(cloudpickle.dumps(of_the_script))() is dj.expectation
dj.RadiusProcessor
assert "coffea" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


class Charges:
    """Number of charged constituents, as a tagger says which columns it reads."""

    columns, fingerprint, __name__ = ("charge",), "charges", "charges"

    def __call__(self, jets: Any, particles: Any) -> Any:
        events = particles.events
        return particles.mask.sum(axis=-1) * float("charge" in events.columns)


CHARGES = Observable(Charges(), "charges", "", 1, constituents="all")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "'charges' reads charge, which columns of the processor lacks: defaults are taken"),
        ({"charge": "lacking"}, "charge is in no branch of 60 entries and counts as its default"),
    ],
)
def test_defaults_of_columns_are_said_once_for_each_dataset(
    columns: dict[str, str], said: str
) -> None:
    own = dj.RadiusProcessor(CHARGES, **SETTING, columns=columns)
    sums = processor.accumulate([own.process(chunk(0, 40)), own.process(chunk(40, 60))])
    with pytest.warns(InputWarning) as warned:
        found = own.postprocess(sums)
    (remark,) = found["all"].remarks
    assert remark.startswith("dataset 'ZH': ") and said in remark
    assert [str(each.message) for each in warned] == [remark]
    assert found["datasets"]["ZH"].remarks == (remark,)


def test_columns_that_are_there_are_not_remarked() -> None:
    own = dj.RadiusProcessor(CHARGES, **SETTING, columns=["charge"])
    assert own.postprocess(own.process(chunk(0, 40)))["all"].remarks == ()


@pytest.mark.parametrize("function", [dj.gradient, dj.expectation])
def test_functions_of_a_batch_say_which_columns_it_lacks(function: Any) -> None:
    with pytest.warns(InputWarning, match="'charges' reads charge, which this batch of events"):
        function(of_the_service(0, 5), CHARGES, radius=0.7, trees=8)
