"""The store: what is in it, who may continue it, and that nothing makes it lose what was complete."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from changed_settings import Changes, Do, changed

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.core.locks import lock_file
from djservice.errors import RunError, StoreError
from djservice.reports.terminal import print_summary
from djservice.store.fence import TOKEN
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.written import WrittenGroup

Stored = Callable[[str | Path], dict[str, bytes]]


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
    for overwrite, what in ((False, "goes on"), (True, "nothing was deleted or written yet")):
        with pytest.raises(RunError, match=f"while the run was prepared; .*{what}"):
            do(watch=Cancels("read", 1), overwrite=overwrite)
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


def test_history_written_by_another_optimiser_is_refused(do: Do, tmp_path: Path) -> None:
    path = do()
    values = Store.read(path).column("history", "parameters")
    values[3] *= 1.0 + 1e-12
    where = LocalFolder(str(path))
    WrittenGroup(where, where.group("r+"), "history").append(0, {"parameters": values})
    with pytest.raises(StoreError, match=r"iteration 3 was at R = .*another version"):
        do()
