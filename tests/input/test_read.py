"""Files -> EventBatch: what is read is what is in the file, however it is cut."""

import pickle

import awkward as ak
import numpy as np
import pytest
import uproot
from same_events import assert_same_events
from written_files import write

from djservice import examples
from djservice.errors import InputError, MissingFileError
from djservice.events.keys import event_keys
from djservice.input.files import InputFile, expand, inspect
from djservice.input.read import read, read_segments, read_with_cutflow
from djservice.input.schemas import Schema, nanoaod, pfnanoaod
from djservice.input.segments import Segment, segments

FLAT = ("pt", "rapidity", "phi", "mass")


@pytest.mark.parametrize("schema", [nanoaod(), pfnanoaod()], ids=lambda schema: schema.kind)
@pytest.mark.parametrize("name", examples.names())
def test_the_example_files_give_the_particles_that_uproot_reads(name, schema):
    batch = read(f"example:{name}", schema=schema, dataset="zh")
    with uproot.open({examples.path(name): "Events"}) as tree:
        plain = tree.arrays()
    pt, eta, phi, mass = (
        ak.to_numpy(ak.flatten(plain[f"PFCands_{f}"])).astype(np.float64)
        for f in ("pt", "eta", "phi", "mass")
    )
    energy, pz = np.sqrt(mass**2 + (pt * np.cosh(eta)) ** 2), pt * np.sinh(eta)
    inside = np.abs(phi) <= np.pi
    assert batch.pt.dtype == np.float64
    np.testing.assert_array_equal(batch.pt, pt)
    np.testing.assert_array_equal(batch.mass, mass)
    np.testing.assert_array_equal(batch.phi[inside], phi[inside])
    np.testing.assert_allclose(np.exp(1j * batch.phi), np.exp(1j * phi), rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        batch.rapidity, 0.5 * np.log((energy + pz) / (energy - pz)), rtol=0, atol=1e-9
    )
    np.testing.assert_array_equal(batch.rapidity[mass == 0], eta[mass == 0])
    np.testing.assert_array_equal(batch.counts, ak.num(plain.PFCands_pt))
    np.testing.assert_array_equal(batch.weight, 1.0)
    np.testing.assert_array_equal(batch.event, plain.event)
    np.testing.assert_array_equal(
        batch.key, event_keys("zh", plain.run, plain.luminosityBlock, plain.event)
    )
    assert np.isnan(batch.truth).all()


def test_cuts_keep_the_particles_above_pt_min_and_within_eta_max():
    schema = nanoaod(pt_min=1.5, eta_max=2.5)
    with uproot.open({examples.path("ZHllbb_200"): "Events"}) as tree:
        plain = tree.arrays(["PFCands_pt", "PFCands_eta"])
    keep = (plain.PFCands_pt > 1.5) & (np.abs(plain.PFCands_eta) < 2.5)
    batch = read("example:ZHllbb_200", schema=schema)
    np.testing.assert_array_equal(batch.pt, ak.flatten(plain.PFCands_pt[keep]))
    np.testing.assert_array_equal(batch.counts, ak.sum(keep, axis=1))


def test_a_cut_at_the_value_itself_drops_the_particle(tmp_path):
    path = write(tmp_path / "a.root")
    threshold = float(read(path).pt.min())
    assert len(read(path, schema=nanoaod(pt_min=threshold)).pt) == len(read(path).pt) - 1


def test_events_without_particles_are_kept(tmp_path):
    batch = read(write(tmp_path / "a.root", 9))
    np.testing.assert_array_equal(batch.counts, np.arange(9) % 4)
    nothing = read(write(tmp_path / "b.root", 9), schema=nanoaod(eta_max=1e-9))
    assert len(nothing) == 9 and len(nothing.pt) == 0


def test_rntuples_are_read_like_ttrees(tmp_path):
    tree = read(write(tmp_path / "a.root"), entries=(1, 5))
    ntuple = read(write(tmp_path / "b.root", rntuple=True), entries=(1, 5))
    for name in (*FLAT, "offsets", "key", "weight"):
        np.testing.assert_array_equal(getattr(tree, name), getattr(ntuple, name))


def test_float64_branches_keep_their_precision(tmp_path):
    mass = np.linspace(100, 150, 6) + 1e-12
    path = write(tmp_path / "a.root", Gen_mass=mass)
    np.testing.assert_array_equal(read(path, schema=nanoaod(truth="Gen_mass")).truth, mass)


def test_truth_is_a_number_a_branch_or_unknown(tmp_path):
    path = write(tmp_path / "a.root")
    np.testing.assert_array_equal(read(path, schema=nanoaod(truth=125)).truth, 125.0)
    truth = read(path, schema=nanoaod(truth="Gen_mass")).truth
    np.testing.assert_array_equal(
        truth, np.linspace(100, 150, 6).astype(np.float32).astype(np.float64)
    )
    assert np.isnan(read(path).truth).all()


def test_the_weight_is_read_and_is_one_for_data(tmp_path):
    weights = np.linspace(0.5, 1.5, 6).astype(np.float32)
    np.testing.assert_array_equal(read(write(tmp_path / "a.root")).weight, weights)
    np.testing.assert_array_equal(
        read(write(tmp_path / "a.root"), schema=nanoaod(weight=None)).weight, 1.0
    )
    np.testing.assert_array_equal(read(write(tmp_path / "b.root", genWeight=None)).weight, 1.0)
    other = write(tmp_path / "c.root", my_weight=weights * 2)
    np.testing.assert_array_equal(
        read(other, schema=nanoaod(weight="my_weight")).weight, weights * 2
    )


def test_entry_ranges_are_parts_of_the_whole(two):
    whole = read(two)
    assert len(whole) == 11
    for start, stop in [(0, 1), (2, 6), (3, 9), (6, 11), (10, 11)]:
        assert_same_events(read(two, entries=(start, stop)), whole.select(np.arange(start, stop)))


@pytest.mark.parametrize("bundle_events", [1, 2, 4, 6, 11, 100])
def test_bundles_are_of_one_size_span_files_and_make_the_whole(two, bundle_events):
    files = [inspect(path, nanoaod()) for path in two]
    bundles = segments(files, None, bundle_events)
    batches = [read_segments(bundle, nanoaod()) for bundle in bundles]
    assert [len(batch) for batch in batches[:-1]] == [bundle_events] * (len(batches) - 1)
    assert 0 < len(batches[-1]) <= bundle_events
    whole = read(two)
    joined = type(whole).concatenate(batches)
    assert_same_events(joined, whole)


def test_segments_cut_a_range_over_files_and_skip_empty_ones():
    files = [
        InputFile(path, 1, 0, entries, "") for path, entries in (("a", 5), ("empty", 0), ("b", 3))
    ]
    assert segments(files, (3, 8), 4) == [
        (Segment("a", 3, 5), Segment("b", 0, 2)),
        (Segment("b", 2, 3),),
    ]
    assert segments(files, (5, 6), 4) == [(Segment("b", 0, 1),)]


def test_globs_examples_and_urls_expand(two, tmp_path, monkeypatch):
    assert expand([str(tmp_path / "*.root")]) == two
    monkeypatch.chdir(tmp_path)
    assert expand(["b.root", "a*"]) == two[::-1]
    assert expand(["**/*.root"]) == two
    assert expand(["example:ZHllbb_200"]) == [examples.path("ZHllbb_200")]
    urls = ["root://host//store/*.root", "https://host/a.root", "s3://bucket/a.root"]
    assert expand(urls) == urls


def test_names_with_brackets_and_colons_are_files(tmp_path):
    odd = write(tmp_path / "a[1]:b.root")
    assert expand([odd]) == [odd]
    assert len(read(odd)) == 6


def test_a_path_object_is_a_path(tmp_path):
    write(tmp_path / "a.root")
    assert len(read(tmp_path / "a.root")) == len(read([tmp_path / "a.root"])) == 6


def test_a_url_is_read_through_fsspec(tmp_path):
    path = write(tmp_path / "a.root")
    file = inspect(f"file://{path}", nanoaod())
    assert (file.entries, file.mtime_ns) == (6, 0)
    np.testing.assert_array_equal(read(f"file://{path}").pt, read(path).pt)


def test_an_empty_tree_is_a_file_with_no_entries(two, tmp_path):
    empty = write(tmp_path / "empty.root", 0)
    assert inspect(empty, nanoaod()).entries == 0
    assert len(read([empty, two[0]])) == 6


def test_examples_are_named_and_unknown_ones_refused():
    assert examples.names() == ("ZHllbb_1000", "ZHllbb_200")
    with pytest.raises(
        MissingFileError, match="no example file 'ttbar'; there are ZHllbb_1000, ZHllbb_200"
    ):
        examples.path("ttbar")


def test_a_name_is_no_schema():
    with pytest.raises(
        InputError,
        match=r"schema is 'nanoaod', expected a schema such as djservice.schemas.nanoaod\(",
    ):
        read("example:ZHllbb_200", schema="nanoaod")


def test_a_schema_is_plain_data():
    schema = nanoaod("GenCands", pt_min=0.5, eta_max=4, weight=None, truth="GenVisH_mass")
    assert Schema(**schema.model_dump()) == schema
    assert pickle.loads(pickle.dumps(schema)) == schema
    assert Schema() == nanoaod()
    assert Schema(kind="pfnanoaod", truth=125) == pfnanoaod(truth=125.0)


def test_collections_that_coffea_treats_in_its_own_way_keep_their_masses(tmp_path):
    data = ak.zip({f: ak.Array([[1.0, 2.0], [3.0]]) for f in ("pt", "eta", "phi", "mass")})
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {"Photon": data.type.content}).extend({"Photon": data})
    np.testing.assert_array_equal(
        read(tmp_path / "a.root", schema=nanoaod("Photon")).mass, [1, 2, 3]
    )


def test_particles_without_pt_are_removed_by_a_cut_in_pt(tmp_path):
    """Beam particles, of which every generator's list has two; their eta may be anything."""

    def flat(column, first):
        column = ak.to_numpy(ak.flatten(column)).astype(np.float32)
        column[0] = first
        return ak.unflatten(column, np.arange(6) % 4)

    rows = ak.unflatten(np.linspace(1, 7, 7), np.arange(6) % 4)
    beam = {"pt": flat(rows, 0.0), "eta": flat(rows / 9, 23000.0)}
    path = write(tmp_path / "a.root", Beam=ak.zip(beam | {"phi": rows / 9, "mass": rows / 9}))
    batch, cutflow = read_with_cutflow([Segment(path, 0, 6)], nanoaod("Beam", pt_min=3.5))
    assert (len(batch.pt), cutflow.removed) == (4, (("pt_min", 3),))
    with pytest.raises(InputError, match=r"particle 0: pt is 0.0, expected .*; a pt_min omits 0"):
        read(path, schema=nanoaod("Beam"))


def test_a_file_without_events_may_lack_all_branches(two, tmp_path):
    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree("Events", {"run": np.uint32}).extend({"run": np.empty(0, np.uint32)})
    batch = read([two[0], str(tmp_path / "empty.root"), two[1]])
    np.testing.assert_array_equal(batch.key, read(two).key)
    with pytest.raises(InputError, match="no events: 0 entries in"):
        read(str(tmp_path / "empty.root"))


def test_a_branch_that_only_some_files_have_is_no_silent_default(two, tmp_path):
    other = write(tmp_path / "c.root", first=50, luminosityBlock=None)
    with pytest.warns(UserWarning, match=r"'luminosityBlock' is in .*a\.root and not in .*c\.root"):
        read([*two, other])
    weightless = write(tmp_path / "d.root", first=90, genWeight=None)
    for files in ([*two, weightless], [weightless, *two]):
        with pytest.raises(InputError, match=r"'genWeight' is in .*a\.root and not in .*d\.root"):
            read(files)
    np.testing.assert_array_equal(read([*two, weightless], schema=nanoaod(weight=None)).weight, 1)
    assert len(read(weightless)) == 6
    with uproot.recreate(tmp_path / "empty.root") as file:  # an empty one has neither
        file.mktree("Events", {"x": np.uint32}).extend({"x": np.empty(0, np.uint32)})
    assert len(read([*two, str(tmp_path / "empty.root")])) == len(read(two))


def test_masses_may_be_called_m(tmp_path):
    """As in the scouting files of CMS."""
    lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "m")}
    with uproot.recreate(tmp_path / "a.root") as file:
        jets = ak.zip(lists)
        file.mktree("Events", {"ScoutingJet": jets.type}).extend({"ScoutingJet": jets})
    batch = read(str(tmp_path / "a.root"), schema=nanoaod("ScoutingJet"))
    assert batch.mass.tolist() == [1.0, 3.0, 2.5]


def test_a_column_that_only_some_files_have_is_refused(two, tmp_path):
    """Which default an event had would depend on the events beside it."""
    other = write(tmp_path / "c.root", first=50)
    schema = nanoaod(columns=["charge"])
    assert set(read(two, schema=schema).columns) == {"charge"}
    with uproot.recreate(tmp_path / "d.root") as file:
        lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "mass")}
        columns = {"PFCands": ak.zip(lists), "genWeight": np.ones(2)}
        file.mktree("Events", {n: ak.Array(c).type for n, c in columns.items()}).extend(columns)
    with pytest.raises(InputError, match=r"'PFCands_charge' is in .*c\.root and not in .*d\.root"):
        read([other, str(tmp_path / "d.root")], schema=schema)


def test_flags_of_particles_are_numbers_and_those_cut_away_may_be_anything(tmp_path):
    lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "mass")}
    lists |= {"isPV": ak.Array([[True, False], [True]]), "d0": ak.Array([[np.nan, 0.1], [0.2]])}
    with uproot.recreate(tmp_path / "a.root") as file:
        jets = ak.zip(lists)
        file.mktree("Events", {"PFCands": jets.type}).extend({"PFCands": jets})
    schema = nanoaod(columns=["isPV", "d0"], pt_min=2.0)
    columns = read(str(tmp_path / "a.root"), schema=schema).columns
    assert columns["isPV"].tolist() == [0.0, 1.0] and columns["d0"].tolist() == [0.1, 0.2]
    with pytest.raises(InputError, match="d0 is nan, expected a finite number"):
        read(str(tmp_path / "a.root"), schema=nanoaod(columns=["d0"]))
