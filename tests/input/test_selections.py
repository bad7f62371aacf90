"""A user's selection, observable and cut from an installed package: on a scheduler, and the same as in coffea."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from chunks import PATH, chunk
from coffea.nanoevents import PFNanoAODSchema
from same_events import assert_same_events

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ConfigError, InputError, SchemaError
from djservice.fit.plan import RunPlan
from djservice.input.selections import find_selection
from djservice.store.run_store import Store

PACKAGE = '''
import awkward as ak
import djservice as dj


def clean(events, n_min=30, pt_min=1.0):
    """Events with enough particles and a truth near 125 GeV; forward particles are taken out."""
    particles = events.PFCands[(events.PFCands.pt > pt_min) & (abs(events.PFCands.eta) < 3.0)]
    events = ak.with_field(events, particles, "PFCands")
    return events[(ak.num(particles) >= n_min) & (abs(events.GenVisH.mass - 100) < 40)]


def fails(events):
    return events.NoSuchCollection.pt


def masks(events):
    return ak.num(events.PFCands) > 5


def everything(events):
    return events


def nothing(events):
    return events[ak.num(events.PFCands) < 0]


def makes(events, collection="Central"):
    """A collection of its own, of central particles."""
    return ak.with_field(events, events.PFCands[abs(events.PFCands.eta) < 2.0], collection)


half_mass = dj.observables.Observable(lambda jets: 0.5 * dj.observables.dijet_mass(jets), "half_mass", "GeV", 2)


def central(maximum):
    return dj.cuts.two_jets(pt_min=20.0, rapidity_max=maximum)
'''
ENTRY_POINTS = """
[djservice.selections]
clean = my_analysis:clean
fails = my_analysis:fails
masks = my_analysis:masks
makes = my_analysis:makes
nothing = my_analysis:nothing
everything = my_analysis:everything
[djservice.observables]
half_mass = my_analysis:half_mass
[djservice.cuts]
central = my_analysis:central
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package, as pip would install it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_analysis.py").write_text(PACKAGE)
    info = folder / "my_analysis-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-analysis\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package, installed for this process."""
    monkeypatch.syspath_prepend(str(site))
    yield importlib.import_module("my_analysis")
    del sys.modules["my_analysis"]


def settings(tiny: dict[str, Any], selection: Any, **changes: Any) -> dict[str, Any]:
    given = {
        "files": PATH,
        "schema": "pfnanoaod",
        "selection": selection,
        "bundle_events": 50,
        "dataset": "ZH",
    }
    return tiny | {"input": given} | changes


class Quiet(PFNanoAODSchema):
    """Without warnings of indices into collections that these files do not have."""

    warn_missing_crossrefs = False


def test_the_events_are_those_that_the_same_function_gives_in_coffea(installed: Any) -> None:
    schema = dj.schemas.pfnanoaod(
        selection={"name": "clean", "n_min": 40}, truth="GenVisH_mass", quarks=True
    )
    batch = dj.read(PATH, schema=schema, entries=(20, 180), dataset="ZH")
    assert batch.quarks is not None and (np.diff(batch.quarks.offsets) == 2).all()
    batch = replace(batch, quarks=None)  # processors have none
    chosen = installed.clean(chunk(20, 180, schema=Quiet), n_min=40)
    own = dj.RadiusProcessor(
        dj.observables.dijet_mass, radius=0.7, schema="pfnanoaod", truth="GenVisH_mass"
    )
    expected = own.batch(chosen)
    assert_same_events(batch, expected, but=("entry",))
    assert 0 < len(batch) < 160 and batch.counts.min() >= 40
    all_events = dj.read(PATH, dataset="ZH")
    np.testing.assert_array_equal(all_events.event[batch.entry], batch.event)
    assert "entry" in batch.name(0)


@pytest.mark.parametrize("name", ["Central", "Central_Particles"])
def test_a_selection_may_make_the_collection_that_is_clustered(name: str, installed: Any) -> None:
    schema = dj.schemas.pfnanoaod(name, selection={"name": "makes", "collection": name})
    batch = dj.read(PATH, schema=schema, entries=(0, 20))
    expected = dj.read(PATH, schema=dj.schemas.pfnanoaod(eta_max=2.0), entries=(0, 20))
    assert_same_events(batch, expected)
    with pytest.raises(SchemaError, match=r"expected 'Forward_pt' .*found .*PFCands"):
        dj.read(PATH, schema=dj.schemas.pfnanoaod("Forward", selection="makes"), entries=(0, 2))


def test_a_run_on_a_scheduler_has_selection_observable_and_cut_of_a_package(
    site: Path,
    installed: Any,
    tiny: dict[str, Any],
    make_cluster: Callable[..., Any],
    tmp_path: Path,
) -> None:
    loss = {
        "observable": "half_mass",
        "target": 62.5,
        "scale": 62.5,
        "cuts": [{"name": "central", "maximum": 2.5}],
    }
    run = Run.from_dict(
        settings(tiny, {"name": "clean", "n_min": 35}, loss=loss, estimator="leave_one_out")
    )
    cluster = make_cluster(tmp_path, {"PYTHONPATH": str(site)})
    service = cluster.start_scheduler()
    cluster.start_workers(1)
    finished = service.submit(run).wait(timeout=300)
    cluster.stop()
    store = Store.read(finished.store)
    own = dj.RadiusProcessor(
        dj.SquaredError(installed.half_mass, target=62.5, scale=62.5).where(installed.central(2.5)),
        radius=0.7,
        trees=4,
        schema="pfnanoaod",
        seed=1,
        stream="scan",
        iteration=1,
        estimator=dj.LeaveOneOut(),
    )
    found = own.postprocess(own.process(installed.clean(chunk(schema=Quiet), n_min=35)))["all"]
    np.testing.assert_allclose(store.column("scan", "loss")[1], found.loss.value, rtol=1e-12)
    np.testing.assert_allclose(
        store.column("scan", "gradient")[1], found.gradient.value, rtol=1e-12
    )
    reading = store.attributes["reading"]
    assert (reading["entries"], reading["events"]) == (200, found.moments.events)
    assert reading["selection"].startswith("my_analysis.clean#")


def test_a_selection_that_changed_is_another_run(
    installed: Any,
    tiny: dict[str, Any],
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    given = settings(tiny, "clean", cluster={"scheduler": scheduler})
    given["input"] |= {"cache": str(tmp_path / "cache")}
    first = dj.run(Run.from_dict(given))
    assert Store.read(first.store).attributes["reading"]["bundles_cached"] == 0
    monkeypatch.setattr(
        "djservice.input.selections.fingerprint", lambda function: "my_analysis.clean#other"
    )
    with pytest.raises(
        dj.DjserviceError,
        match=r"another run: input\.selection is .* and 'my_analysis\.clean#other' now",
    ):
        dj.run(Run.from_dict(given))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fails",
            r"ZHllbb_200\.root\[0:50\]: the selection 'fails', line 14 of my_analysis\.py: AttributeError: .*NoSuchCollection",
        ),
        (
            "masks",
            r"the selection 'masks' returned 50 \* bool, expected the events that pass, as events\[mask\]",
        ),
        ("nothing", r"ZHllbb_200\.root: no event passes the selection"),
    ],
)
def test_a_selection_that_fails_is_named(
    installed: Any, tiny: dict[str, Any], scheduler: str, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dj.run(Run.from_dict(settings(tiny, name, cluster={"scheduler": scheduler})))


def test_a_selection_that_is_not_installed_or_takes_other_parameters(
    tiny: dict[str, Any], installed: Any
) -> None:
    with pytest.raises(
        ConfigError, match=r"input\.selection: unknown name 'claen' \(did you mean 'clean'\?"
    ):
        RunPlan(Run.from_dict(settings(tiny, "claen"))).check()
    with pytest.raises(
        ConfigError, match=r"input\.selection: clean has no parameter 'n_max'.*'n_min'"
    ):
        RunPlan(Run.from_dict(settings(tiny, {"name": "clean", "n_max": 3}))).check()
    assert find_selection({"name": "clean", "n_min": 3}) is installed.clean


def test_a_tree_that_coffea_does_not_know_is_no_damaged_file(
    installed: Any, tmp_path: Path
) -> None:
    """Tracks of Delphes before version 3.4.2 have no mass, which coffea's schema needs."""
    counts = np.array([2, 1, 3])
    kinds = {"EFlowTrack": "PT", "EFlowPhoton": "ET", "EFlowNeutralHadron": "ET"}
    tree = {
        name: ak.zip(
            {
                field: ak.unflatten(np.linspace(1.0, 2.0, 6).astype(np.float32), counts)
                for field in (pt, "Eta", "Phi")
            }
        )
        for name, pt in kinds.items()
    }
    path = tmp_path / "old.root"
    with uproot.recreate(path) as file:
        file.mktree(
            "Delphes",
            {name: array.type for name, array in tree.items()},
            counter_name=lambda name: f"{name}_size",
            field_name=lambda outer, inner: f"{outer}.{inner}",
        ).extend(tree)
    assert len(dj.read(path, schema=dj.schemas.delphes()).pt) == 18
    with pytest.raises(SchemaError, match="coffea's DelphesSchema cannot make NanoEvents"):
        dj.read(path, schema=dj.schemas.delphes(selection={"name": "everything"}))
