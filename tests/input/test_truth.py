"""The true mass and the quarks of events, from their generated particles."""

import awkward as ak
import numpy as np
import pytest
import uproot
from same_events import assert_same_events
from written_files import write

from djservice.errors import InputError, SchemaError
from djservice.events.batch import EventBatch
from djservice.input.read import read
from djservice.input.schemas import make, nanoaod


def gen_file(path, events):
    """A file with one particle per event and generator particles as (pdgId, mother, pt, eta, phi, mass)."""
    names = ("pdgId", "genPartIdxMother", "pt", "eta", "phi", "mass")
    columns = {
        name: ak.Array([[row[i] for row in event] for event in events])
        for i, name in enumerate(names)
    }
    one = {
        f: ak.Array([[v]] * len(events))
        for f, v in (("pt", 10.0), ("eta", 0.1), ("phi", 0.2), ("mass", 0.0))
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {"PFCands": ak.zip(one).type, "GenPart": ak.zip(columns).type})
        file["Events"].extend({"PFCands": ak.zip(one), "GenPart": ak.zip(columns)})
    return path


def test_truth_from_generator_particles(tmp_path):
    """The first Higgs, or the b pair of a boson, before radiation; not the b quarks of anything else."""
    higgs, z = (25, -1, 50.0, 0.1, 0.0, 124.5), (23, -1, 50.0, -0.1, 3.0, 91.0)
    pair = [(5, 0, 60.0, 0.3, 0.4, 0.0), (-5, 0, 40.0, -0.6, 1.9, 0.0)]
    gluon_b = [(5, 5, 30.0, 2.0, 1.0, 0.0), (-5, 5, 30.0, 2.0, 1.4, 0.0)]
    events = [
        [higgs, z, *pair, (25, 0, 55.0, 0.1, 0.1, 1.0)],
        [higgs, *gluon_b[:1], *pair, (5, -1, 1.0, 0.0, 0.0, 0.0), (21, -1, 1.0, 0.0, 0.0, 0.0)],
    ]
    path = gen_file(tmp_path / "gen.root", events)
    assert read(path, schema=nanoaod(truth="GenPart:higgs")).truth == pytest.approx([124.5, 124.5])
    mass = np.sqrt(2 * 60 * 40 * (np.cosh(0.9) - np.cos(1.5)))
    assert read(path, schema=nanoaod(truth="GenPart:b_pair")).truth == pytest.approx(
        [mass, mass], rel=1e-6
    )


def test_an_event_without_the_true_particles_is_named(tmp_path):
    path = gen_file(
        tmp_path / "gen.root", [[(25, -1, 50.0, 0.1, 0.0, 125.0)], [(23, -1, 50.0, 0.1, 0.0, 91.0)]]
    )
    with pytest.raises(
        InputError, match=r"gen.root\[0:2\]: entry 1 has no higgs in GenPart \(1 such events\)"
    ):
        read(path, schema=nanoaod(truth="GenPart:higgs"))
    with pytest.raises(InputError, match=r"entry 0 has no b_pair in GenPart \(2 such events\)"):
        read(path, schema=nanoaod(truth="GenPart:b_pair"))
    with pytest.raises(
        InputError, match=r"truth='GenPart:top': expected a branch, or one of GenPart:higgs"
    ):
        nanoaod(truth="GenPart:top")


def test_quarks_are_those_of_heavy_particles_before_they_radiate(tmp_path):
    """In the order of the list, whatever else there is; joined, selected and in MeV they are the same."""
    top, w, z = (
        (6, -1, 200.0, 0.1, 0.0, 172.5),
        (-24, 0, 90.0, 0.2, 0.1, 80.4),
        (23, -1, 50.0, 0.0, 3.0, 91.0),
    )
    from_top, from_w = (
        (5, 0, 80.0, 0.3, 0.4, 4.8),
        [(1, 1, 60.0, 0.5, 1.0, 0.0), (-2, 1, 40.0, -2.5, 1.9, 0.0)],
    )
    others = [(5, 2, 70.0, 0.3, 0.4, 4.8), (21, 2, 9.0, 0.0, 0.0, 0.0), (3, 6, 5.0, 0.0, 0.0, 0.0)]
    lost = [(4, 99, 5.0, 0.0, 0.0, 0.0), (4, -1, 5.0, 0.0, 0.0, 0.0), (11, 1, 5.0, 0.0, 0.0, 0.0)]
    events = [
        [top, w, from_top, *from_w, *others, *lost],
        [z, (6, 0, 9.0, 0.0, 0.0, 172.5), (4, 0, 30.0, 1.0, 3.5, 1.5)],
    ]
    path = gen_file(tmp_path / "gen.root", events)
    batch = read(path, schema=nanoaod(quarks=True))
    quarks = batch.quarks
    assert quarks.offsets.tolist() == [0, 3, 4]
    assert quarks.pdg_id.tolist() == [5, 1, -2, 4]
    np.testing.assert_allclose(quarks.pt, [80.0, 60.0, 40.0, 30.0])
    np.testing.assert_allclose(quarks.mass, [4.8, 0.0, 0.0, 1.5])
    np.testing.assert_allclose(quarks.eta, [0.3, 0.5, -2.5, 1.0], atol=1e-12)
    assert batch.nbytes == 32 * 2 + 60 * 2 + 8 + 36 * 4 + 8 * 3
    joined = EventBatch.concatenate([batch.select([1]), batch.select([0])])
    assert_same_events(joined.select([1, 0]), batch)
    in_mev = read(path, schema=nanoaod(quarks=True, units="MeV")).quarks
    np.testing.assert_allclose(in_mev.pt, quarks.pt / 1000.0)
    np.testing.assert_allclose(in_mev.eta, quarks.eta)
    assert EventBatch.concatenate([batch, read(path)]).quarks is None


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ([], r"entry 1 has no quark .* among its 0 generated particles \(1 such events\)\. Give"),
        ([(5, -1, 9.0, 0.0, 0.0, 0.0)], "among its 1 generated particles"),
        (
            [(25, -1, 9.0, 0.0, 0.0, 0.0), (5, 0, np.nan, 0.0, 0.0, 0.0)],
            r"generated quarks of .*entry 1.*pt is nan",
        ),
    ],
)
def test_an_event_without_quarks_is_named(tmp_path, event, message):
    good = [(25, -1, 9.0, 0.0, 0.0, 0.0), (5, 0, 9.0, 0.0, 0.0, 0.0)]
    path = gen_file(tmp_path / "gen.root", [good, event])
    with pytest.raises(InputError, match=message):
        read(path, schema=nanoaod(quarks=True))


def test_files_without_generated_particles_are_named(tmp_path):
    path = write(tmp_path / "data.root")
    missing = "needs branch 'GenPart_pdgId'.*Data have no generated quarks: give the number of pr"
    with pytest.raises(SchemaError, match=missing):
        read(path, schema=nanoaod(quarks=True))
    with pytest.raises(InputError, match="the layout 'physlite' has no generated particles"):
        make("physlite", particles="Jets", quarks=True)
