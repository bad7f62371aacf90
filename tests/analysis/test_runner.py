"""RadiusProcessor in coffea's Runner: the service's numbers whatever the chunks and executors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import pytest
import uproot
from chunks import (
    LOSS,
    MASS,
    PATH,
    SETTING,
    Schema,
    assert_close,
    evaluated,
    of_the_service,
)
from coffea import processor
from coffea.nanoevents import NanoEventsFactory
from coffea.nanoevents.trace import trace
from distributed import Client

import djservice as dj
from djservice.config.run import Run
from djservice.errors import InputError
from djservice.store.run_store import Store


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
