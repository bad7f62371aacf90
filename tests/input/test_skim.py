"""`djservice skim`: a smaller file with the same events, or a clear error and the file that was there."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner, Result
from same_events import assert_same_events

import djservice as dj
from djservice import examples
from djservice.cli import main


def skim(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["skim", *map(str, arguments)])


def test_a_skim_keeps_what_is_read(tmp_path: Path) -> None:
    source, target = examples.path("ZHllbb_200"), tmp_path / "skim.root"
    done = skim("example:ZHllbb_200", target, "--pt-min", 2)
    assert done.exit_code == 0, done.output
    schema = dj.schemas.nanoaod(pt_min=2.0, truth="GenPart:higgs", quarks=True)
    after = dj.read(target, schema=schema)
    assert_same_events(dj.read(source, schema=schema), after, but=("entry",))
    with uproot.open(source) as whole, uproot.open(target) as file:
        assert min(file["Events"]["PFCands_pt"].array(library="np")[1]) > 2.0
        particles = ak.count(whole["Events"]["PFCands_pt"].array())
        assert f"200 events, {len(after.pt):,} of {particles:,} particles" in done.output
        assert {"PFCands_charge", "PFCands_pdgId", "GenPart_statusFlags"} <= set(
            file["Events"].keys()
        )
    assert list(tmp_path.iterdir()) == [target]


def test_several_collections_and_no_events(tmp_path: Path) -> None:
    lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "mass")}
    with uproot.recreate(tmp_path / "two.root") as file:
        columns = {
            "Charged": ak.zip(lists),
            "Charged_Soft": ak.zip(lists),
            "genWeight": np.array([1.0, 2.0]),
        }
        file.mktree(
            "Events", {name: ak.Array(column).type for name, column in columns.items()}
        ).extend(columns)
    both = ("--particles", "Charged", "--particles", "Charged_Soft")
    assert skim(tmp_path / "two.root", tmp_path / "small.root", "--pt-min", 2, *both).exit_code == 0
    batch = dj.read(
        tmp_path / "small.root",
        schema=dj.schemas.nanoaod(particles=("Charged", "Charged_Soft"), pt_min=2.0),
    )
    assert batch.counts.tolist() == [2, 2] and batch.weight.tolist() == [1.0, 2.0]
    with uproot.recreate(tmp_path / "records.root") as file:
        file.mkrntuple("Events", ak.zip({"PFCands": ak.zip(lists)}, depth_limit=1))
    refused = skim(tmp_path / "records.root", tmp_path / "none.root")
    assert refused.exit_code == 1 and "needs the layout of NanoAOD in a TTree" in refused.output
    with uproot.recreate(tmp_path / "empty.root") as file:
        file.mktree(
            "Events", {f"PFCands_{name}": "var * float32" for name in ("pt", "eta", "phi", "mass")}
        )
    done = skim(tmp_path / "empty.root", tmp_path / "none.root")
    assert done.exit_code == 0 and "0 events, 0 of 0 particles" in done.output
    with uproot.open(tmp_path / "none.root") as file:
        assert file["Events"].num_entries == 0


def test_what_is_wrong_is_said_and_the_target_stays(tmp_path: Path) -> None:
    target = tmp_path / "skim.root"
    target.write_text("earlier")
    (tmp_path / "bad.root").write_bytes(Path(examples.path("ZHllbb_200")).read_bytes()[:20_000])
    for source, options, expected in (
        (tmp_path / "none.root", (), "no such file"),
        (tmp_path / "bad.root", (), "the file is truncated"),
        ("example:ZHllbb_200", ("--particles", "Jet"), "needs branch 'Jet_pt'"),
        ("example:ZHllbb_200", ("--particles", "A_B"), "needs branch 'A_B_pt'"),
    ):
        done = skim(source, target, *options)
        assert done.exit_code == 1 and expected in done.output, done.output
    done = skim("example:ZHllbb_200", tmp_path / "bad.root/skim.root")
    assert done.exit_code == 1 and "bad.root/skim.root: the skim cannot be written" in done.output
    assert target.read_text() == "earlier" and sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.root",
        "skim.root",
    ]


def test_a_file_is_not_replaced_by_its_own_skim(tmp_path: Path) -> None:
    source = tmp_path / "zh.root"
    source.write_bytes(Path(examples.path("ZHllbb_200")).read_bytes())
    (tmp_path / "link.root").symlink_to(source)
    for target in (source, tmp_path / "link.root"):
        done = skim(source, target, "--pt-min", 2)
        assert done.exit_code == 1 and "found its source" in " ".join(done.output.split()), (
            done.output
        )
    assert source.read_bytes() == Path(examples.path("ZHllbb_200")).read_bytes()


@pytest.mark.parametrize("option", [("--pt-min", "-1"), ()])
def test_wrong_options(option: tuple[str, ...], tmp_path: Path) -> None:
    assert (
        skim(*(("example:ZHllbb_200", tmp_path / "x.root") if option else ()), *option).exit_code
        == 2
    )


def test_a_skim_keeps_weights_of_particles_and_what_is_named(tmp_path: Path) -> None:
    lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "mass")}
    lists |= {"puppiWeight": ak.Array([[1.0, 0.5], [1.0]]), "dz": ak.Array([[0.1, 0.2], [0.3]])}
    columns = {"PFCands": ak.zip(lists), "MyTruth": np.array([100.0, 120.0])}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree(
            "Events", {name: ak.Array(column).type for name, column in columns.items()}
        ).extend(columns)
    source, target = tmp_path / "a.root", tmp_path / "skim.root"
    keep = ("--keep", "dz", "--keep", "MyTruth", "--pt-min", 2)
    assert skim(source, target, *keep).exit_code == 0
    schema = dj.schemas.nanoaod(particle_weight="puppiWeight", truth="MyTruth", pt_min=2.0)
    batch = dj.read(target, schema=schema)
    assert batch.pt.tolist() == [2.5] and batch.truth.tolist() == [100.0, 120.0]
    with uproot.open(target) as file:
        assert file["Events"]["PFCands_dz"].array().tolist() == [[0.2], [0.3]]
    done = skim(source, tmp_path / "no.root", "--keep", "dzz")
    assert done.exit_code == 1 and "expected a branch 'dzz' or 'PFCands_dzz'" in done.output
    assert not (tmp_path / "no.root").exists()


def test_a_skim_knows_its_cut(tmp_path: Path) -> None:
    first, second = tmp_path / "first.root", tmp_path / "second.root"
    assert skim("example:ZHllbb_200", first, "--pt-min", 2).exit_code == 0
    assert skim(first, second, "--pt-min", 1).exit_code == 0
    for path in (first, second):
        with pytest.warns(UserWarning, match="a skim of particles above 2 GeV: with pt_min 1.5"):
            dj.read(path, schema=dj.schemas.nanoaod(pt_min=1.5))


def test_indices_into_particles_that_are_cut_are_refused(tmp_path: Path) -> None:
    lists = {name: ak.Array([[1.0, 3.0], [2.5]]) for name in ("pt", "eta", "phi", "mass")}
    mothers = {**lists, "genPartIdxMother": ak.Array([[-1, 0], [-1]])}
    columns = {"PFCands": ak.zip(lists), "GenPart": ak.zip(mothers)}
    columns["JetPFCands"] = ak.zip({"pFCandsIdx": ak.Array([[1, 0], [0]])})
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {name: array.type for name, array in columns.items()}).extend(columns)
    source, target = tmp_path / "a.root", tmp_path / "skim.root"
    keep = (source, target, "--keep", "JetPFCands_pFCandsIdx", "--pt-min")
    for done in (skim(*keep, 2), skim(source, target, "--particles", "GenPart", "--pt-min", 2)):
        assert done.exit_code == 1 and "has indices into a collection that pt_min" in done.output
    assert skim(*keep, 0).exit_code == 0  # nothing is removed
