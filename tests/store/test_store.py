"""The store: what is in it, who may continue it, and that nothing makes it lose what was complete."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.locks import lock_file
from djservice.errors import RunError, StoreError
from djservice.lund_planes.density import SUMS_SHAPE
from djservice.reports.terminal import print_summary
from djservice.store.columns import HISTORY, SCAN, SPECTRUM_EVENT, StoreColumns
from djservice.store.fence import TOKEN
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.written import WrittenGroup

Changes = dict[str, Any]
Do = Callable[..., Path]
Stored = Callable[[str | Path], dict[str, bytes]]


def changed(settings: Changes, changes: Changes) -> Changes:
    """Settings with ``section.key`` -> value put in."""
    new = {
        key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()
    }
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            new[section] = {**new.get(section, {}), name: value}
        else:
            new[section] = value
    return new


class Stops(Lines):
    """A watch that fails at a step of a phase, as a run does that loses its machine."""

    def __init__(self, phase: str, after: int) -> None:
        super().__init__(open(os.devnull, "w"))  # noqa: SIM115
        self.at, self.left = phase, after

    def step(self, numbers: dict[str, float]) -> None:
        self.left -= self.name == self.at
        if self.left == 0:
            self.stream.close()
            raise RunError("stopped by the test")


@pytest.fixture
def do(tiny: Changes, scheduler: str, finished_run: Path) -> Do:
    """Do the tiny run with changes; returns its store.

    Without changes it goes on in a copy of the finished one, where nothing is left to do.
    """

    def run(changes: Changes | None = None, **keywords: Any) -> Path:
        settings = changed(tiny, {"cluster.scheduler": scheduler, **(changes or {})})
        store = Path(settings["output"]["store"])
        ready = store.parent.is_dir() and not store.exists()
        if ready and not keywords and not set(changes or ()) - {"output.store"}:
            shutil.copytree(finished_run, store)
        return dj.run(Run.from_dict(settings), **keywords).store

    return run


@pytest.fixture
def small_disk(tmp_path: Path, requires: Callable[[str, object], None]) -> Iterator[Path]:
    """A file system of 2 MiB."""
    requires("root, to mount a tmpfs", os.geteuid() == 0 and shutil.which("mount"))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True
    )
    requires("the right to mount a tmpfs", mounted.returncode == 0)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves ``leave`` bytes of a file system."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    with open(ballast, "wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - leave))
    return ballast


@pytest.fixture
def small_store(tmp_path: Path) -> Callable[..., Any]:
    """Open a store of five iterations without a run."""

    def opened(iterations: int = 5, path: Path = tmp_path / "a.zarr") -> Any:
        return Store.open(
            path,
            {"run": {}},
            {"seed": 1},
            StoreColumns(iterations, [0.4, 0.6], 2, np.arange(3, dtype=np.uint64), np.ones(3)),
        )

    return opened


def test_xarray_opens_every_group_of_a_finished_run_by_name(do: Do) -> None:
    import xarray

    path = do()
    store = Store.read(path)
    dimensions = {
        "history": {"iteration": 6, "parameter": 1},
        "scan": {"radius": 4},
        "spectrum": {
            "radius": 3,
            "event": 40,
            "sum": SUMS_SHAPE[0],
            "x": SUMS_SHAPE[1],
            "y": SUMS_SHAPE[2],
        },
    }
    names = {"history": HISTORY, "scan": SCAN, "spectrum": (*SCAN, *SPECTRUM_EVENT)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for group, sizes in dimensions.items():
            data = xarray.open_zarr(path, group=group, chunks=None)
            assert dict(data.sizes) == sizes
            assert data.attrs["n_complete"] == next(iter(sizes.values()))
            for name in names[group]:
                assert np.array_equal(
                    data[name].values, store.column(group, name), equal_nan=True
                ), name
        tree = xarray.open_datatree(path, engine="zarr", chunks=None)
    assert tree["scan"]["radius"].values.tolist() == [0.4, 0.7, 1.0, 1.2]
    assert tree["history"]["iteration"].values.tolist() == [0, 1, 2, 3, 4, 5]


def test_xarray_opens_an_unfinished_run(small_store: Callable[..., Any], tmp_path: Path) -> None:
    import xarray

    with small_store() as store:
        store.write_rows("history", 0, {"radius": [1.0, 0.9]})
        data = xarray.open_zarr(
            tmp_path / "a.zarr", group="history", consolidated=False, chunks=None
        )
    assert data.attrs["n_complete"] == 2
    assert data["radius"].values[:2].tolist() == [1.0, 0.9]
    assert np.isnan(data["radius"].values[2:]).all()


def test_the_copies_of_the_metadata_go_before_they_are_stale(
    small_store: Callable[..., Any], tmp_path: Path
) -> None:
    def copies() -> int:
        return sum(
            "consolidated_metadata" in file.read_text()
            for file in (tmp_path / "a.zarr").rglob("zarr.json")
        )

    with small_store() as store:
        store.consolidate()
    assert copies() == 5
    with small_store(iterations=9):
        assert copies() == 0


def test_attributes_hold_run_versions_inputs_and_status(
    do: Do, tiny: Changes, scheduler: str
) -> None:
    import numba

    attributes = Store.read(do()).attributes
    expected = Run.from_dict(changed(tiny, {"cluster.scheduler": scheduler}))
    assert Run.from_dict(attributes["run"]) == expected
    assert attributes["versions"]["numba"] == numba.__version__
    assert attributes["versions"]["djservice"] == "0.1.0"
    (file,) = attributes["inputs"]
    assert file["entries"] == 200
    assert file["size"] == os.path.getsize(file["path"])
    assert (attributes["status"], attributes["message"], attributes["events"]) == (
        "finished",
        "",
        40,
    )
    assert attributes["result"]["iterations"] == 6


def test_rows_count_only_once_they_are_complete(small_store: Callable[..., Any]) -> None:
    with small_store() as store:
        store.write_rows("history", 0, {"radius": [1.0, 0.9], "loss": [3.0, 2.0]})
        with pytest.raises(KeyError, match="no such column"):
            store.write_rows("history", 2, {"radius": [0.8], "no such column": [1.0]})
        assert store.n_complete("history") == 2
        assert store.column("history", "radius").tolist() == [1.0, 0.9]
        store.write_rows("history", 2, {"radius": [0.7]})
        assert store.column("history", "radius").tolist() == [1.0, 0.9, 0.7]
        store.rewind("history", 1)
        assert store.column("history", "radius").tolist() == [1.0]


@pytest.mark.parametrize(
    ("phase", "after"),
    [
        ("scan", 2),
        pytest.param("optimise", 4, marks=pytest.mark.long),
        pytest.param("spectrum", 2, marks=pytest.mark.long),
    ],
)
def test_a_run_that_failed_goes_on_to_the_same_bits(
    do: Do, stored: Stored, tmp_path: Path, phase: str, after: int
) -> None:
    whole = do({"output.store": str(tmp_path / "whole.zarr")})
    with pytest.raises(RunError, match="stopped by the test"):
        do(watch=Stops(phase, after))
    left = Store.read(tmp_path / "tiny.zarr")
    assert (left.attributes["status"], left.attributes["message"]) == (
        "failed",
        "stopped by the test",
    )
    group = "history" if phase == "optimise" else phase
    assert left.n_complete(group) == after
    assert stored(do()) == stored(whole)


def test_the_store_of_another_run_is_refused_naming_what_differs(do: Do, stored: Stored) -> None:
    path = do()
    before = stored(path)
    for change, named in [
        ({"seed": 2}, r"seed is 1 there and 2 now"),
        ({"clustering.power": 0.0}, r"clustering\.power is -1\.0 there and 0\.0 now"),
        ({"optimiser.trees": 5}, r"optimiser\.trees is 4 there and 5 now"),
        ({"loss.target": 91.0}, r"loss\[0\]\.target is 125\.0 there and 91\.0 now"),
        ({"input.bundle_events": 7}, r"input\.bundle_events is 10 there and 7 now"),
        (
            {"input.files": "example:ZHllbb_1000"},
            r"input\.files\[0\] is \['ZHllbb_200.root'.*ZHllbb_1000.root",
        ),
    ]:
        with pytest.raises(StoreError, match=named + r".*--overwrite"):
            do(change)
        assert stored(path) == before


def test_another_store_is_refused_before_a_cluster_is_started(
    do: Do, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do()
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(sys.modules["djservice.runs.run"], "client_for", None)
    with pytest.raises(StoreError, match=r"seed is 1 there and 2 now"):
        do({"seed": 2})
    with pytest.raises(
        StoreError, match=r"found something that is not the store of a djservice run"
    ):
        do({"output.store": str(tmp_path / "other")})


def test_an_input_file_that_changed_is_refused(do: Do, tmp_path: Path) -> None:
    from djservice import examples

    copy = tmp_path / "events.root"
    shutil.copy(examples.path("ZHllbb_200"), copy)
    do({"input.files": str(copy)})
    moved = tmp_path / "elsewhere" / "events.root"  # a file may move
    moved.parent.mkdir()
    copy.rename(moved)
    do({"input.files": str(moved)})
    shutil.copy(examples.path("ZHllbb_1000"), moved)
    with pytest.raises(StoreError, match=r"input\.files\[0\] is \['events.root', 456326"):
        do({"input.files": str(moved)})


def test_a_store_of_other_code_is_refused(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    do()
    monkeypatch.setattr(sys.modules["djservice.runs.run"], "code_hash", lambda: "0123")
    with pytest.raises(StoreError, match=r"code is '[0-9a-f]{16}' there and '0123' now"):
        do()


def test_where_it_runs_and_what_is_shown_may_change(
    do: Do, tiny: Changes, stored: Stored, tmp_path: Path
) -> None:
    elsewhere = changed(tiny, {"cluster.workers": 3, "cluster.threads": 2})
    assert Run.from_dict(elsewhere).numbers == Run.from_dict(tiny).numbers
    before = stored(do())
    page = str(tmp_path / "other.html")
    path = do({"output.report": page})
    assert stored(path) == before
    assert Store.read(path).attributes["run"]["output"]["report"] == page


@pytest.mark.parametrize("averaging_start", [pytest.param(None, marks=pytest.mark.long), 2])
def test_more_iterations_continue_to_the_numbers_of_a_run_that_had_them(
    do: Do, stored: Stored, tmp_path: Path, averaging_start: int | None
) -> None:
    average = {"optimiser.averaging_start": averaging_start}
    whole = do(
        {"output.store": str(tmp_path / "whole.zarr"), "optimiser.iterations": 11, **average}
    )
    do(average)
    path = do({"optimiser.iterations": 11, **average})
    assert stored(path) == stored(whole)


def test_fewer_iterations_are_refused_and_change_nothing(do: Do, stored: Stored) -> None:
    path = do()
    before, attributes = stored(path), Store.read(path).attributes
    with pytest.raises(StoreError, match=r"holds 6 iterations and optimiser\.iterations is 5"):
        do({"optimiser.iterations": 5})
    assert stored(path) == before
    assert Store.read(path).attributes == attributes


def test_overwrite_is_explicit_and_spares_what_is_no_store(do: Do, tmp_path: Path) -> None:
    path = do()
    os.utime(path / "zarr.json", (1, 1))
    do(overwrite=True)
    assert os.stat(path / "zarr.json").st_mtime > 1
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("work of years")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="not the store of a djservice run"):
            do({"output.store": str(other)}, overwrite=overwrite)
    assert (other / "chapter.tex").read_text() == "work of years"


def test_overwrite_deletes_nothing_when_the_input_is_bad(
    do: Do, stored: Stored, tmp_path: Path
) -> None:
    path = do()
    before = stored(path)
    bad = tmp_path / "bad.root"
    bad.write_bytes(b"root" + bytes(100))
    with pytest.raises(dj.DjserviceError, match=r"bad\.root"):
        do({"input.files": str(bad)}, overwrite=True)
    assert stored(path) == before


def test_the_second_writer_of_a_store_is_told(do: Do) -> None:
    path = do()
    descriptor = lock_file(path / TOKEN)  # as another process would
    try:
        for overwrite in (False, True):
            with pytest.raises(StoreError, match="another process is writing this store"):
                do(overwrite=overwrite)
    finally:
        os.close(descriptor)
    do()


def test_what_is_said_of_a_stop_and_of_other_versions_where_a_run_goes_on(
    do: Do, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Cancels(Stops):
        def step(self, numbers: dict[str, float]) -> None:
            with contextlib.suppress(RunError):
                return super().step(numbers)
            raise asyncio.CancelledError

    for overwrite, command in ((False, ""), (True, " without --overwrite")):
        with pytest.raises(RunError) as caught:
            do(watch=Cancels("optimise", 3), overwrite=overwrite)
        said = f"stopped after 3 iterations; the same command{command} continues from there."
        assert str(caught.value) == said
    with pytest.raises(RunError, match="nothing was deleted or written yet"):
        do(watch=Cancels("read", 1), overwrite=True)
    with pytest.raises(RunError, match=r"by the test To continue, leave out --overwrite"):
        do(watch=Stops("optimise", 3), overwrite=True)
    stretches = [{"from": {}, "versions": {"numpy": "1.0"}}]
    where = LocalFolder(str(tmp_path / "tiny.zarr"))
    WrittenGroup(where, where.group("r+")).update(stretches=stretches)
    do()
    change = r"continued with other versions from history 3 on: .*numpy 1\.0 -> 2"
    assert re.search(change, capsys.readouterr().err)
    print_summary(tmp_path / "tiny.zarr", None)
    assert re.search(change, capsys.readouterr().out)


def test_a_full_disk_is_said_and_the_run_goes_on_once_there_is_space(
    do: Do, stored: Stored, small_disk: Path, tmp_path: Path
) -> None:
    whole = do({"optimiser.iterations": 9})
    place = {"optimiser.iterations": 9, "output.store": str(small_disk / "run.zarr")}
    ballast = fill(small_disk, 30_000)
    with pytest.raises(
        StoreError, match=r"run\.zarr: cannot be written: No space left on device.*same command"
    ):
        do(place)
    assert sorted(small_disk.iterdir()) == [ballast], "a store half built is left behind"
    ballast.unlink()
    with pytest.raises(RunError, match="stopped by the test"):
        do(place, watch=Stops("optimise", 3))
    ballast = fill(small_disk, 0)
    with pytest.raises(StoreError, match="No space left on device"):
        do(place)
    assert Store.read(small_disk / "run.zarr").n_complete("history") == 3
    ballast.unlink()
    assert stored(do(place)) == stored(whole)


def test_an_output_that_cannot_be_written_is_said(do: Do, small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"file/run\.zarr: cannot be written: (Not a directory|File exists)"
    ):
        do({"output.store": str(tmp_path / "file" / "run.zarr")})
    do({"output.store": str(small_disk / "there.zarr")})
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for name in ("new.zarr", "there.zarr"):
        with pytest.raises(StoreError, match=rf"{name}: cannot be written: Read-only file system"):
            do({"output.store": str(small_disk / name), "optimiser.iterations": 8})


def of_mass(factor: float) -> dj.observables.Observable:
    if factor == 1.0:

        @dj.observable(units="GeV", name="mine")
        def mine(jets: Any) -> Any:
            return jets.mass[..., 0]
    else:

        @dj.observable(units="GeV", name="mine")
        def mine(jets: Any) -> Any:
            return jets.mass[..., 0] * 2.0

    return mine


def test_a_python_observable_is_stored_by_name_and_source(do: Do) -> None:
    path = do({"loss": {"observable": of_mass(1.0), "target": 20.0}})
    observable = Store.read(path).attributes["run"]["loss"][0]["observable"]
    assert observable["title"] == "mine"
    assert "of_mass.<locals>.mine#" in observable["python"]
    do({"loss": {"observable": of_mass(1.0), "target": 20.0}})
    with pytest.raises(
        StoreError,
        match=r"loss\[0\]\.observable\.python is '.*mine#\w+' there and '.*mine#\w+' now",
    ):
        do({"loss": {"observable": of_mass(2.0), "target": 20.0}})


def test_what_is_no_store_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        Store.read(tmp_path / "gone.zarr")
    with pytest.raises(StoreError, match="not the store of a djservice run"):
        Store.read(tmp_path)


def test_a_store_of_another_format_is_not_read(
    small_store: Callable[..., Any], tmp_path: Path
) -> None:
    with small_store() as store:
        store.set(djservice_format=99)
    with pytest.raises(StoreError, match="format 99, expected 5"):
        Store.read(tmp_path / "a.zarr")


def test_history_written_by_another_optimiser_is_refused(do: Do, tmp_path: Path) -> None:
    path = do()
    values = Store.read(path).column("history", "parameters")
    values[3] *= 1.0 + 1e-12
    where = LocalFolder(str(path))
    WrittenGroup(where, where.group("r+"), "history").append(0, {"parameters": values})
    with pytest.raises(StoreError, match=r"iteration 3 was at R = .*another version"):
        do()
