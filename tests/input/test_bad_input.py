"""Bad input: one clear error that says where, what was expected, what was found and what to do."""

import os
import pickle
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from djservice import examples
from djservice.errors import (
    DjserviceError,
    InputError,
    InputFileError,
    InputWarning,
    MissingFileError,
    SchemaError,
)
from djservice.input.files import InputFile, expand, inspect
from djservice.input.read import read, read_segments
from djservice.input.schemas import Schema, nanoaod
from djservice.input.segments import Segment, segments


def write(path, columns=None, tree="Events", **particles):
    """Three events with 2, 0 and 3 particles of 1 GeV, and what is given instead."""
    counts = particles.pop("counts", [2, 0, 3])
    fields = {field: np.ones(sum(counts)) for field in ("pt", "eta", "phi", "mass")} | particles
    fields = {
        field: ak.unflatten(values, np.array(counts, dtype=int))
        for field, values in fields.items()
        if values is not None
    }
    data = {"PFCands": ak.zip(fields)} | (columns or {})
    with uproot.recreate(path) as file:
        types = {
            k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()
        }
        file.mktree(tree, types).extend(data)
    return str(path)


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"\*\.root: no file matches this pattern.*Check the spelling"
    ):
        read(str(tmp_path / "*.root"))
    with pytest.raises(FileNotFoundError, match=r"gone\.root: there is no such file"):
        read(str(tmp_path / "gone.root"))
    with pytest.raises(MissingFileError, match="no example file 'x'"):
        read("example:x")
    with pytest.raises(InputError, match="no input files"):
        read([])


def test_a_file_that_goes_away_or_shrinks_after_inspection(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.root\[0:3\]: there is no such file"):
        read_segments([Segment(str(tmp_path / "gone.root"), 0, 3)], nanoaod())
    path = write(tmp_path / "a.root")
    with pytest.raises(
        InputFileError, match=r"a\.root\[0:9\]: expected 9 entries or more, found 3.*changed"
    ):
        read_segments([Segment(path, 0, 9)], nanoaod())
    with pytest.raises(MissingFileError, match=r"file:///gone\.root: there is no such file"):
        read("file:///gone.root")


def test_a_file_named_twice_is_refused(tmp_path):
    path = write(tmp_path / "a.root")
    (tmp_path / "link.root").symlink_to(path)
    for patterns in ([path, path], [path, str(tmp_path / "*.root")]):
        with pytest.raises(InputError, match=r"named twice.*Remove one"):
            expand(patterns)
    os.link(path, tmp_path / "hard.root")
    with pytest.raises(InputError, match="named twice"):
        expand([path, str(tmp_path / "hard.root")])
    with pytest.raises(InputError, match="named twice"):
        expand(["root://host//a.root"] * 2)


@pytest.mark.parametrize("content", [b"", b"root", b"not a ROOT file at all\n" * 100, bytes(5000)])
def test_something_else_than_a_root_file(tmp_path, content):
    (tmp_path / "a.root").write_bytes(content)
    with pytest.raises(
        InputFileError, match=r"a\.root: expected a readable ROOT file, found .*copy it again"
    ):
        read(str(tmp_path / "a.root"))


def test_a_directory_is_not_a_file(tmp_path):
    with pytest.raises(InputFileError, match="expected a regular file, found a folder"):
        read(str(tmp_path))


EXAMPLE_SIZE = Path(examples.path("ZHllbb_200")).stat().st_size


@pytest.mark.parametrize(
    "kept", [50, 300, 1000, EXAMPLE_SIZE // 3, EXAMPLE_SIZE // 2, EXAMPLE_SIZE - 1]
)
def test_a_truncated_file(tmp_path, kept):
    with open(examples.path("ZHllbb_200"), "rb") as whole:
        (tmp_path / "cut.root").write_bytes(whole.read(kept))
    for use in (
        lambda path: inspect(path, nanoaod()),
        lambda path: read_segments([Segment(path, 0, 5)], nanoaod()),
    ):
        with pytest.raises(InputFileError, match=r"cut\.root.*opy it again, or remove it"):
            use(str(tmp_path / "cut.root"))


@pytest.mark.parametrize("seed", range(40))
def test_overwritten_bytes_never_give_a_raw_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    with open(examples.path("ZHllbb_200"), "rb") as whole:
        content = bytearray(whole.read())
    at = int(rng.integers(400)) if seed % 2 else int(rng.integers(len(content) - 40))
    content[at : at + 40] = rng.bytes(40)
    (tmp_path / "bad.root").write_bytes(content)
    try:
        read(str(tmp_path / "bad.root"))
    except (DjserviceError, InputWarning) as error:  # a phi beyond 2 pi
        assert "bad.root" in str(error)


def test_a_missing_tree_names_those_there_are(tmp_path):
    path = write(tmp_path / "a.root", tree="Delphes")
    with pytest.raises(
        SchemaError, match=r"a\.root: expected a tree 'Events', found 'Delphes'\. Name the tree"
    ):
        read(path)
    assert len(read(path, schema=nanoaod(tree="Delphes"))) == 3
    with uproot.recreate(tmp_path / "b.root") as file:
        file["Events"] = np.histogram([1.0, 2.0])
    with pytest.raises(SchemaError, match="expected a tree 'Events', found none"):
        read(str(tmp_path / "b.root"))


def test_a_missing_branch_names_those_there_are_nearest_first(tmp_path):
    path = write(
        tmp_path / "a.root", {"zz": np.zeros(3), **{f"more{i}": np.zeros(3) for i in range(20)}}
    )
    with pytest.raises(SchemaError) as caught:
        read_segments([Segment(path, 0, 2)], nanoaod("PFCand"))
    text = str(caught.value)
    assert text.startswith(
        f"{path}[0:2]: schema 'nanoaod' needs branch 'PFCand_pt'; the tree 'Events' has 'PFCands_pt'"
    )
    assert "and 14 more. Choose another schema" in text and "zz" not in text
    with pytest.raises(SchemaError, match="needs branch 'PFCands_mass'"):
        read(write(tmp_path / "b.root", mass=None))


def test_a_missing_weight_or_truth_that_was_asked_for_is_an_error(tmp_path):
    path = write(tmp_path / "a.root")
    with pytest.raises(SchemaError, match="needs branch 'lheWeight'"):
        read(path, schema=nanoaod(weight="lheWeight"))
    with pytest.raises(SchemaError, match="needs branch 'GenVisH_mass'"):
        read(path, schema=nanoaod(truth="GenVisH_mass"))


def test_branches_of_another_shape(tmp_path):
    path = write(
        tmp_path / "a.root", {"Jet_mass": ak.Array([[1.0], [2.0], []]), "Vis_pt": np.zeros(3)}
    )
    with pytest.raises(
        SchemaError, match=r"expected one number per event in branch 'Jet_mass', found 3 \* var"
    ):
        read(path, schema=nanoaod(truth="Jet_mass"))
    with uproot.recreate(tmp_path / "b.root") as file:
        columns = {f"Vis_{field}": np.zeros(3) for field in ("pt", "eta", "phi", "mass")}
        file.mktree("Events", {name: column.dtype for name, column in columns.items()}).extend(
            columns
        )
    with pytest.raises(
        SchemaError,
        match=r"expected one list of numbers per event in branch 'Vis_pt', found 3 \* f",
    ):
        read(str(tmp_path / "b.root"), schema=nanoaod("Vis"))


@pytest.mark.parametrize("rntuple", [True, False])
def test_particle_branches_that_disagree(tmp_path, rntuple):
    lists = {2: ak.Array([[1.0, 1.0], [], [1.0] * 3]), 1: ak.Array([[1.0, 1.0], [1.0], [1.0] * 2])}
    data = {
        f"PFCands_{field}": lists[1 if field == "phi" else 2]
        for field in ("pt", "eta", "phi", "mass")
    }
    data["nPFCands"] = np.array([2, 0, 3], np.int32)
    with uproot.recreate(tmp_path / "a.root") as file:
        if rntuple:
            file["Events"] = data
        else:
            types = {
                k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in data.items()
            }
            file.mktree("Events", types).extend(data)
    with pytest.raises(
        InputError,
        match=r"a\.root, entry 1: expected as many values in branch 'PFCands_phi' .* found 1 and 0",
    ):
        read(str(tmp_path / "a.root"))


@pytest.mark.parametrize(
    ("value", "pt_min"),
    [
        (value, cut)
        for value in (0.0, -1.0, np.nan, np.inf)
        for cut in (0.0, 0.5)
        if value or not cut
    ],
)
def test_a_bad_pt_is_named_by_its_place_in_the_file_whatever_the_cut(tmp_path, value, pt_min):
    path = write(tmp_path / "a.root", pt=[0.1, 1.0, 0.0 if pt_min else 0.2, value, 1.0])
    with pytest.raises(
        InputError,
        match=rf"a\.root, entry 2, particle 1: pt is {value}, expected a positive, finite",
    ):
        read(path, entries=(1, 3), schema=nanoaod(pt_min=pt_min))


@pytest.mark.parametrize(
    ("field", "value"), [("eta", np.nan), ("phi", np.inf), ("mass", -5.0), ("mass", np.nan)]
)
def test_other_bad_fields_are_named(tmp_path, field, value):
    path = write(tmp_path / "a.root", **{field: [1.0, value, 1.0, 1.0, 1.0]})
    with pytest.raises(InputError, match=rf"a\.root, entry 0, particle 1: {field} is {value}"):
        read(path, schema=nanoaod(eta_max=0.1))


def test_a_bad_weight_names_its_event(tmp_path):
    path = write(tmp_path / "a.root", {"genWeight": np.array([1.0, np.nan, 1.0])})
    with pytest.raises(
        InputError, match=r"a\.root, entry 1: weight is nan, expected a finite number"
    ):
        read(path)


def test_no_events_at_all(tmp_path):
    paths = [write(tmp_path / f"{name}.root", counts=[]) for name in "ab"]
    with pytest.raises(InputError, match=r"no events: 0 entries in .*a\.root, .*b\.root"):
        read(paths)


@pytest.mark.parametrize("entries", [(0, 9), (-1, 2), (2, 2), (3, 1)])
def test_an_entry_range_beyond_the_files_says_how_many_there_are(entries):
    files = [InputFile("a", 1, 0, 5, ""), InputFile("b", 1, 0, 3, "")]
    with pytest.raises(InputError, match=r"not a range within the 8 entries of 2 file\(s\)"):
        segments(files, entries, 4)


def test_a_bundle_has_at_least_one_event():
    with pytest.raises(InputError, match="bundle_events is 0, expected 1 or more"):
        segments([InputFile("a", 1, 0, 5, "")], None, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pt_min": -1.0},
        {"eta_max": 0.0},
        {"truth": float("nan")},
        {"particles": ""},
        {"units": "TeV"},
    ],
)
def test_a_schema_without_meaning_is_refused(arguments):
    with pytest.raises(InputError, match=r"schema 'nanoaod': .*Correct the argument"):
        nanoaod(**arguments)


def test_a_schema_refuses_unknown_keys():
    with pytest.raises(ValueError, match="ptmin"):
        Schema(ptmin=1.0)


def test_errors_survive_the_way_between_processes(tmp_path):
    with pytest.raises(SchemaError) as caught:
        read(write(tmp_path / "a.root"), schema=nanoaod("Jet"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is SchemaError and str(copy) == str(caught.value)


def test_a_url_that_needs_another_package_says_which(monkeypatch):
    def without_package(*_arguments, **_options):
        raise ImportError("Install fsspec-xrootd")

    monkeypatch.setattr(uproot, "open", without_package)
    with pytest.raises(
        InputFileError, match=r"root://host//a\.root: expected a package .* Install fsspec-xrootd"
    ):
        read("root://host//a.root")
