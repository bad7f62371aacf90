"""RadiusProcessor: the service's numbers from coffea's chunks, whatever the chunks and executors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from coffea.nanoevents.trace import trace
from distributed import Client

import djservice as dj
from djservice.clustering.sampling import Sampling
from djservice.config.run import Run
from djservice.errors import InputError, SchemaError
from djservice.evaluation.evaluate import evaluate
from djservice.evaluation.moments import Moments
from djservice.store.run_store import Store

PATH = dj.examples.path("ZHllbb_200")
MASS = dj.observables.dijet_mass
LOSS = dj.SquaredError(MASS, target=125.0, scale=125.0).where(
    dj.cuts.two_jets(pt_min=20.0, rapidity_max=4.9) & dj.cuts.mass_below(250.0)
)
SETTING: dict[str, Any] = {"radius": 0.7, "trees": 4, "pt_min": 2.0, "seed": 3}
SUMS = ("total", "outer", "tree_covariance", "weight")
NUMBERS = ("loss", "gradient", "mean", "sd")


class Schema(NanoAODSchema):
    """Without warnings of indices into collections that these files do not have."""

    warn_missing_crossrefs = False


def chunk(first: int = 0, last: int = 200, path: str = PATH, **metadata: Any) -> Any:
    """A chunk of events as a Runner gives it to a processor."""
    place = {"dataset": "ZH", "filename": path, "entrystart": first, "entrystop": last}
    return NanoEventsFactory.from_root(
        {path: "Events"},
        entry_start=first,
        entry_stop=last,
        schemaclass=Schema,
        metadata={**place, **metadata},
        mode="virtual",
    ).events()


def of_the_service(
    first: int = 0, last: int = 200, path: str = PATH, **schema: Any
) -> dj.EventBatch:
    """The same events as the service reads them."""
    return dj.read(
        path, schema=dj.schemas.nanoaod(pt_min=2.0, **schema), entries=(first, last), dataset="ZH"
    )


def evaluated(batch: dj.EventBatch, **given: Any) -> Moments:
    """The sums that the service makes of a batch."""
    setting = {"radius": 0.7, "trees": 4, **given}
    return evaluate(batch, LOSS, dj.LeaveOneOut(), Sampling(seed=3), **setting)[0]


def assert_close(one: Moments, other: Moments, rtol: float = 1e-12) -> None:
    """Sums and what follows from them, to ``rtol`` of the largest in an array."""
    for name in SUMS:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)
    for name in ("events", "events_without", "trees", "trees_accepted"):
        assert getattr(one, name) == getattr(other, name)
    for name in NUMBERS:
        a, b = getattr(one, name)(), getattr(other, name)()
        np.testing.assert_allclose(
            (a.value, a.error), (b.value, b.error), rtol=100 * rtol, err_msg=name
        )


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
    for name in (
        "pt",
        "rapidity",
        "phi",
        "mass",
        "offsets",
        "key",
        "weight",
        "run",
        "event",
        "entry",
    ):
        np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name), err_msg=name)
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


@pytest.mark.parametrize("chunksize", [200, 64, 17])
def test_the_size_of_chunks_changes_rounding_only(chunksize: int) -> None:
    run = processor.Runner(
        processor.IterativeExecutor(status=False),
        schema=Schema,
        chunksize=chunksize,
        savemetrics=True,
    )
    found, metrics = run({"ZH": {"files": {PATH: "Events"}}}, dj.RadiusProcessor(LOSS, **SETTING))
    assert_close(found["all"].moments, evaluated(of_the_service()))
    assert metrics["entries"] == 200
    read = {name.partition("-")[0] for name in metrics["columns"]}
    assert read == {"run", "luminosityBlock", "event", "genWeight", "nPFCands"} | {
        f"PFCands_{name}" for name in ("pt", "eta", "phi", "mass")
    }


def test_branches_that_are_read_ahead_change_nothing() -> None:
    own = dj.RadiusProcessor(LOSS, **SETTING)
    runner = processor.Runner(
        processor.IterativeExecutor(status=False), schema=Schema, chunksize=120
    )
    expected = evaluated(of_the_service())
    ahead = [
        "genWeight",
        "run",
        "luminosityBlock",
        "event",
        "nPFCands",
        "PFCands_pt",
        "PFCands_eta",
    ]
    assert_close(
        runner({"ZH": {"files": {PATH: "Events"}, "preload": ahead}}, own)["all"].moments, expected
    )
    with pytest.warns(
        RuntimeWarning, match="typetracer"
    ):  # clustering needs numbers, so it goes on with none of them
        found = runner({"ZH": {"files": {PATH: "Events"}}}, own, trace=trace)
    assert_close(found["all"].moments, expected)


def test_executors_agree(scheduler: str) -> None:
    fileset = {"ZH": {"files": {PATH: "Events"}}}
    own = dj.RadiusProcessor(LOSS, **SETTING)
    expected = evaluated(of_the_service())
    with Client(scheduler, set_as_default=False) as client:
        for executor in (
            processor.DaskExecutor(client=client, status=False),
            processor.FuturesExecutor(workers=1, status=False),
        ):
            found = processor.Runner(executor, schema=Schema, chunksize=70)(fileset, own)
            assert_close(found["all"].moments, expected)
            assert found["all"].spectrum.sum(flow=True).value == pytest.approx(
                expected.total[-3], rel=1e-12
            )


def test_it_agrees_with_the_scan_of_a_run(tiny: dict[str, Any], scheduler: str) -> None:
    tiny["input"]["dataset"] = "ZH"
    run = Run.from_dict(tiny | {"cluster": {"scheduler": scheduler}})
    scan = Store.read(dj.run(run).store)
    with Client(scheduler, set_as_default=False) as client:
        runner = processor.Runner(
            processor.DaskExecutor(client=client, status=False),
            schema=Schema,
            chunksize=40,
            maxchunks=1,
        )
        for row, radius in enumerate(run.scan.radii[:2]):
            own = dj.RadiusProcessor(
                dj.SquaredError(MASS, target=125.0, scale=125.0).where(
                    dj.cuts.two_jets(pt_min=20.0) & dj.cuts.mass_below(250.0)
                ),
                radius=radius,
                trees=run.scan.trees,
                estimator=dj.StateBaseline(),
                pt_min=2.0,
                seed=run.seed,
                stream="scan",
                iteration=row,
            )
            found = runner({"ZH": {"files": {PATH: "Events"}}}, own)["all"]
            for name in ("loss", "gradient", "mean"):
                number = getattr(found, name)
                for column, value in ((name, number.value), (f"{name}_error", number.error)):
                    assert value == pytest.approx(scan.column("scan", column)[row], rel=1e-12), (
                        radius,
                        column,
                    )


def without_identity(path: Path) -> str:
    """30 events of the example without run and event numbers."""
    with uproot.open({PATH: "Events"}) as tree:
        fields = ("pt", "eta", "phi", "mass")
        arrays = tree.arrays([f"PFCands_{f}" for f in fields], entry_stop=30)
    pfcands = ak.zip({field: arrays[f"PFCands_{field}"] for field in fields})
    with uproot.recreate(path) as file:
        file.mktree("Events", {"PFCands": pfcands.type.content}).extend({"PFCands": pfcands})
    return str(path)


class Bare(Schema):
    """For events without identity."""

    event_ids: list[str] = []  # noqa: RUF012  # as coffea has it


def test_events_without_identity_go_by_file_and_entry(tmp_path: Path) -> None:
    path = without_identity(tmp_path / "bare.root")
    expected = evaluated(of_the_service(0, 30, path))
    own = dj.RadiusProcessor(LOSS, **SETTING)
    for size in (30, 8):
        runner = processor.Runner(
            processor.IterativeExecutor(status=False), schema=Bare, chunksize=size
        )
        assert_close(runner({"ZH": {"files": {path: "Events"}}}, own)["all"].moments, expected)
    events = NanoEventsFactory.from_root(
        {path: "Events"},
        schemaclass=Bare,
        mode="virtual",
        metadata={"dataset": "ZH", "filename": path, "entrystart": 0, "entrystop": 30},
    ).events()
    with pytest.raises(
        InputError,
        match=r"bare\.root\[0:30\]: 12 selected events without run.*Process whole chunks",
    ):
        own.process(events[:12])


class Selecting(processor.ProcessorABC):
    """Someone's own processor, with ours inside."""

    def __init__(self) -> None:
        self.radius = dj.RadiusProcessor(LOSS, **SETTING)

    def process(self, events: Any) -> dict[str, Any]:
        return {"radius": self.radius.process(events[events.event % 3 == 0]), "events": len(events)}

    def postprocess(self, accumulator: Any) -> Any:
        return {**accumulator, "radius": self.radius.postprocess(accumulator["radius"])}


def test_within_another_processor_after_a_selection() -> None:
    runner = processor.Runner(
        processor.IterativeExecutor(status=False), schema=Schema, chunksize=45
    )
    found = runner({"ZH": {"files": {PATH: "Events"}}}, Selecting())
    batch = of_the_service()
    assert found["events"] == 200
    assert_close(found["radius"]["all"].moments, evaluated(batch.select(batch.event % 3 == 0)))


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
        ({"trees": 1}, "trees is 1, too few for the leave_one_out estimator"),
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
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
