"""A bad file or event among many: it ends the run, or is left out, listed, and told by the exit code."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml
from click.testing import CliRunner

import djservice as dj
from djservice.cli import main
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import ChangedFileError, InputError, StoreError
from djservice.input import ranges
from djservice.input.examples import path as example
from djservice.input.files import inspect
from djservice.input.quarantine import BadRange, read_or_bad
from djservice.input.read import read_segments
from djservice.input.schemas import nanoaod
from djservice.input.segments import Segment, segments
from djservice.reports.summary import summary
from djservice.store.run_store import Store

SCHEMA = nanoaod(pt_min=2.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Forty shipped events; the same with bad particles in events 7, 20 and 21; a damaged file; a file without the tree."""
    folder = tmp_path_factory.mktemp("files")
    with uproot.open(example("ZHllbb_200")) as file:
        columns = {
            name: file["Events"][f"PFCands_{name}"].array(entry_stop=40)
            for name in ("pt", "eta", "phi", "mass")
        }
    paths = {}
    for name in ("good", "bad"):
        pt = ak.to_list(columns["pt"])
        if name == "bad":
            pt[7][3] = float("nan")
            pt[20][0] = pt[21][1] = -1.0
        paths[name] = folder / f"{name}.root"
        with uproot.recreate(paths[name]) as file:
            particles = ak.zip({**columns, "pt": ak.values_astype(ak.Array(pt), np.float32)})
            event = np.arange(40, dtype=np.uint64)
            if name == "good":
                event = event + np.uint64(100)
            one = np.ones(40, np.uint32)
            data = {"run": one, "luminosityBlock": one, "event": event, "PFCands": particles}
            file.mktree(
                "Events",
                {
                    k: v.dtype if isinstance(v, np.ndarray) else v.type.content
                    for k, v in data.items()
                },
            )
            file["Events"].extend(data)
    paths["damaged"] = folder / "damaged.root"
    paths["damaged"].write_bytes(paths["good"].read_bytes()[:5000])
    paths["other"] = folder / "other.root"
    with uproot.recreate(paths["other"]) as file:
        file.mktree("Muons", {"pt": np.float32}).extend({"pt": np.ones(3, np.float32)})
    return paths


def settings(
    tiny: dict[str, Any], scheduler: str, paths: list[Path], **section: Any
) -> dict[str, Any]:
    given = {"files": [str(path) for path in paths], "pt_min": 2.0, "bundle_events": 13, **section}
    return tiny | {"input": given, "cluster": {"scheduler": scheduler}}


def test_bad_events_stand_alone(files: dict[str, Path]) -> None:
    batch, bad, _ = read_or_bad([Segment(str(files["bad"]), 3, 40)], SCHEMA)
    assert [(each.first, each.last) for each in bad] == [
        (7, 8),
        (20, 22),
    ]  # neighbours with one reason are one range
    assert "particle 3: pt is nan" in bad[0].reason and "particle 0: pt is -1.0" in bad[1].reason
    assert [str(each)[-30:] for each in bad] == [
        bad[0].reason[-30:],
        "So are the 1 entries that follow."[-30:],
    ]
    assert batch.entry.tolist() == [i for i in range(3, 40) if i not in (7, 20, 21)]
    whole = dj.read(files["good"], schema=SCHEMA, entries=(8, 20))
    same = batch.select((batch.entry >= 8) & (batch.entry < 20))
    np.testing.assert_array_equal(same.pt, whole.pt)


def test_a_bundle_with_nothing_left(files: dict[str, Path]) -> None:
    batch, bad, _ = read_or_bad([Segment(str(files["bad"]), 20, 22)], SCHEMA)
    assert len(batch) == 0 and len(bad) == 1


def test_a_file_that_changed_behind_its_back(files: dict[str, Path], tmp_path: Path) -> None:
    """Found whole, then cut: a damaged range is halved down to what cannot be read."""
    gone, cut = tmp_path / "gone.root", tmp_path / "cut.root"
    cut.write_bytes(files["good"].read_bytes()[:5000])
    batch, bad, _ = read_or_bad(
        [Segment(str(gone), 0, 40), Segment(str(files["good"]), 0, 5), Segment(str(cut), 0, 4)],
        SCHEMA,
    )
    assert len(batch) == 5
    assert [(each.path, each.first, each.last) for each in bad] == [
        (str(gone), 0, 40),
        (str(cut), 0, 4),
    ]


def test_more_bad_ranges_than_an_exception(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("djservice.input.quarantine.MOST", 1)
    with pytest.raises(
        InputError,
        match=r"more than 1 bad ranges of entries, the first: .*bad.root, entry 7 .*leave the file out",
    ):
        read_or_bad([Segment(str(files["bad"]), 0, 40)], SCHEMA)


def test_by_default_it_ends_the_run(
    files: dict[str, Path], tiny: dict[str, Any], scheduler: str
) -> None:
    with pytest.raises(
        InputError, match=r"bad.root, entry (7 .*particle 3: pt is nan|20 .*pt is -1)"
    ):
        dj.run(Run.from_dict(settings(tiny, scheduler, [files["good"], files["bad"]])))


def test_a_run_without_its_bad_inputs(
    files: dict[str, Path],
    tiny: dict[str, Any],
    scheduler: str,
    stored: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    without_figures: None,
) -> None:
    paths = [files[name] for name in ("damaged", "good", "bad", "other")]
    given = settings(tiny, scheduler, paths, bad_inputs="quarantine")
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(given))
    done = CliRunner().invoke(main, ["run", str(config)])
    assert done.exit_code == 3, done.output
    assert "4 bad inputs were left out:" in done.output
    store = Path(given["output"]["store"])
    listed = [BadRange(**bad) for bad in summary(store)["quarantined"]]
    assert [(Path(bad.path).stem, bad.first, bad.last) for bad in listed] == [
        ("damaged", -1, -1),
        ("other", -1, -1),
        ("bad", 7, 8),
        ("bad", 20, 22),
    ]
    assert "expected a tree 'Events', found 'Muons'" in listed[1].reason
    opened = Store.read(store)
    good, bad = (
        dj.read(files[name], schema=SCHEMA, entries=range_)
        for name, range_ in (("good", (0, 40)), ("bad", (0, 7)))
    )
    assert opened.attributes["events"] == 77
    np.testing.assert_array_equal(
        opened.array("spectrum", "key")[:47], np.concatenate([good.key, bad.key])
    )
    page = store.with_suffix(".html").read_text()
    assert "Left out: 4 bad inputs" in page and "20 to 21" in page

    # The same command again finds the same and does nothing; with a file mended it is another run.
    before = stored(store)
    assert CliRunner().invoke(main, ["run", str(config), "--no-report"]).exit_code == 3
    assert stored(store) == before
    mended = settings(tiny, scheduler, [files["good"], files["bad"]], bad_inputs="quarantine")
    with pytest.raises(StoreError, match=r"input.quarantined is .* there and .* now"):
        dj.run(Run.from_dict(mended))


def test_nothing_can_be_read(files: dict[str, Path], tiny: dict[str, Any], scheduler: str) -> None:
    none = settings(tiny, scheduler, [files["damaged"], files["other"]], bad_inputs="quarantine")
    with pytest.raises(
        InputError, match=r"none of 2 files can be read; the first error: .*damaged.root"
    ):
        dj.run(Run.from_dict(none))


def test_it_says_what_it_leaves_out_as_it_goes(
    files: dict[str, Path], tiny: dict[str, Any], scheduler: str
) -> None:
    told = io.StringIO()
    dj.run(
        Run.from_dict(settings(tiny, scheduler, [files["bad"]], bad_inputs="quarantine")),
        watch=Lines(told),
    )
    assert told.getvalue().count("left out: ") == 2
    complete = settings(tiny, scheduler, [files["good"]], bad_inputs="quarantine", dataset="other")
    complete["output"] = {"store": str(files["good"].with_name("complete.zarr"))}
    assert summary(dj.run(Run.from_dict(complete)).store)["quarantined"] == []


def test_an_event_that_cannot_be_clustered_is_set_aside(tmp_path: Path) -> None:
    counts = [5, 2**15 + 1, 7]
    rng = np.random.default_rng(1)
    fields = {"pt": rng.uniform(2.0, 9.0, sum(counts)), "eta": rng.normal(size=sum(counts))}
    fields |= {"phi": rng.uniform(-3.0, 3.0, sum(counts)), "mass": np.zeros(sum(counts))}
    particles = ak.zip({k: ak.unflatten(v.astype(np.float32), counts) for k, v in fields.items()})
    with uproot.recreate(tmp_path / "large.root") as file:
        file.mktree("Events", {"PFCands": particles.type.content}).extend({"PFCands": particles})
    segment = Segment(str(tmp_path / "large.root"), 0, 3)
    batch, (bad,), _ = read_or_bad([segment], nanoaod(weight=None))
    assert batch.counts.tolist() == [5, 7]
    assert (bad.first, bad.last) == (1, 2)
    assert (
        "large.root, entry 1 has 32769 particles, expected 32768 at most: raise pt_min"
        in bad.reason
    )
    with pytest.raises(InputError, match="entry 1 has 32769 particles"):
        dj.read(tmp_path / "large.root", schema=nanoaod(weight=None))
    assert len(dj.read(tmp_path / "large.root", schema=nanoaod(weight=None, pt_min=3.0))) == 3


def test_a_file_that_was_replaced_is_refused_at_every_read(
    files: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "a.root"
    path.write_bytes(files["good"].read_bytes())
    ((whole,),) = segments([inspect(str(path), SCHEMA)], None, 40)
    path.write_bytes(files["bad"].read_bytes())
    with pytest.raises(
        ChangedFileError, match=r"a\.root\[0:40\]: expected .* UUID .* changed since"
    ):
        read_segments([whole], SCHEMA)
    batch, (bad,), _ = read_or_bad([whole], SCHEMA)
    assert (len(batch), bad.first, bad.last, bad.unreadable) == (0, 0, 40, True)


@pytest.mark.parametrize("baskets", [1, 4])
def test_damage_costs_the_baskets_that_it_touches(
    baskets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, number = tmp_path / "a.root", 200 // baskets
    counts = np.full(number, 3)
    rng = np.random.default_rng(1)
    with uproot.recreate(path) as file:
        for _ in range(baskets):
            values = {
                name: ak.unflatten(rng.uniform(0.1, 1.0, 3 * number).astype(np.float32), counts)
                for name in ("pt", "eta", "phi", "mass")
            }
            data = {"PFCands": ak.zip(values)}
            if "Events" not in file:
                file.mktree("Events", {name: array.type.content for name, array in data.items()})
            file["Events"].extend(data)
    with uproot.open(path) as file:
        seek = int(file["Events"]["PFCands_pt"].member("fBasketSeek")[0])
    content = bytearray(path.read_bytes())
    content[seek + 120 : seek + 220] = bytes(100)
    path.write_bytes(content)
    reads: list[Any] = []
    monkeypatch.setattr(
        "djservice.input.read.arrays", lambda *a: (reads.append(a), ranges.arrays(*a))[1]
    )
    batch, (bad,), _ = read_or_bad([Segment(str(path), 0, 200)], nanoaod())
    assert (bad.first, bad.last, len(batch)) == (0, number, 200 - number)
    assert len(reads) <= 2 * baskets
