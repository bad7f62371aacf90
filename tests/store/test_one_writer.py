"""One process writes a store at a time, and one that lost it stops: removed, replaced, moved, taken over, or stopped meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from opened_stores import contents, open_store

from djservice.errors import StoreError
from djservice.store import local_folder, object_store
from djservice.store.grid_store import open_grid
from djservice.store.location import locate
from djservice.store.object_store import ObjectStore
from djservice.store.run_store import Store, remove


@pytest.fixture(params=["folder", "objects"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Path of a store in a folder, then the URL of one in an object store in memory."""
    if request.param == "folder":
        yield str(tmp_path / "run.zarr")
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}/run.zarr"
    with contextlib.suppress(FileNotFoundError):
        fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


def delete(place: str) -> None:
    """Remove a store as its user would, without djservice, with the lock of an object store."""
    files, path = fsspec.core.url_to_fs(place)
    files.rm(path, recursive=True)
    if "://" in place:
        files.rm(f"{path}.lock")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks that hold within one machine, seen from two: each takes its own."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(object_store, "RENEW", 0.05)
    monkeypatch.setattr(object_store, "EXPIRE", 0.2)
    monkeypatch.setattr(ObjectStore, "_keep_renewing", lambda *_: None)


WRITES: dict[str, Callable[[Store], object]] = {
    "rows": lambda store: store.write_rows("history", 1, {"radius": [0.5]}),
    "attributes": lambda store: store.set(status="finished"),
    "attributes of a group": lambda store: store.set_of("scan", rigidity=1.0),
    "fewer rows": lambda store: store.rewind("history", 0),
    "copies of metadata": lambda store: store.consolidate(),
    "a group": lambda store: store._add("per_event", lambda group: None),
}


def refuse_all(store: Store, radius: Any, place: str, message: str) -> None:
    """Every way of writing is refused and changes nothing, also by an array that was open before."""
    before = contents(place)
    for what, write in {**WRITES, "an array": lambda _: radius.__setitem__(1, 0.5)}.items():
        store.where._checked = -1e9  # as after a while
        with pytest.raises(StoreError, match=message):
            write(store)
        assert contents(place) == before, what


def test_a_writer_stops_where_another_took_over(place: str, no_locks: None) -> None:
    with open_store(place) as one:
        one.write_rows("history", 0, {"radius": [0.9]})
        radius = one.root["history/radius"]
        with open_store(place) as other:  # on a machine that sees no lock
            refuse_all(one, radius, place, r"run\.zarr: another process")
            other.write_rows("history", 1, {"radius": [0.8]})
            assert other.column("history", "radius").tolist() == [0.9, 0.8]
    with open_store(place) as again:
        assert again.n_complete("history") == 2


def test_a_writer_stops_when_its_store_is_removed(place: str) -> None:
    with open_store(place) as store:
        store.write_rows("history", 0, {"radius": [0.9]})
        radius = store.root["history/radius"]
        delete(place)
        refuse_all(store, radius, place, r"run\.zarr: .*(removed|took the lock)")
        with pytest.raises(StoreError, match=r"removed|took the lock"):
            store.column("history", "radius")
    assert contents(place) == {}, "something was written where the store was"
    with open_store(place) as again:  # the same command begins anew
        assert again.n_complete("history") == 0


def test_a_writer_stops_while_its_store_is_being_removed(place: str) -> None:
    """In the middle of a removal the token may be there and the arrays not."""
    files, path = fsspec.core.url_to_fs(place)
    with open_store(place) as store:
        files.rm(f"{path}/history", recursive=True)
        for write in (
            WRITES["rows"],
            WRITES["fewer rows"],
            lambda store: store.column("history", "loss"),
        ):
            with pytest.raises(
                StoreError, match=r"damaged: history: history/zarr\.json is missing"
            ):
                write(store)
    with open_store(place) as store:  # mended, if the removal ends here
        assert store.mended and store.n_complete("history") == 0
    remove(place)


def test_a_writer_stops_when_its_store_is_made_anew(place: str) -> None:
    with open_store(place) as store:
        store.write_rows("history", 0, {"radius": [0.9]})
        radius = store.root["history/radius"]
        delete(place)
        with open_store(place, seed=2) as other:
            other.write_rows("history", 0, {"radius": [0.4]})
            refuse_all(store, radius, place, r"run\.zarr: another process")
        assert Store.read(place).column("history", "radius").tolist() == [0.4]
    assert Store.read(place).attributes["numbers"]["seed"] == 2


def test_a_write_after_its_check_reaches_no_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be stopped between the look for its token and the write."""
    path = tmp_path / "run.zarr"
    with open_store(path) as store:
        radius = store.root["history/radius"]
        monkeypatch.setattr(local_folder, "check_token", lambda *_: None)
        shutil.rmtree(path)
        with open_store(path, seed=2):
            before = contents(path)
            for write in WRITES.values():
                with contextlib.suppress(StoreError, OSError, KeyError):
                    write(store)
            with pytest.raises(OSError):
                radius[1] = 0.5
            assert contents(path) == before
    assert os.listdir(tmp_path) == ["run.zarr"]


def test_the_second_writer_is_told_who_is_the_first(place: str, fast: None) -> None:
    with open_store(place):
        for second in (lambda: open_store(place).__enter__(), lambda: remove(place)):
            with pytest.raises(
                StoreError,
                match=rf"another process is writing this store \(process {os.getpid()} on .*since",
            ):
                second()
    remove(place)
    assert not locate(place).exists()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of object stores that are renewed often."""
    monkeypatch.setattr(object_store, "RENEW", 0.1)


def test_a_lock_in_an_object_store_that_nobody_renews_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_store, "RENEW", 0.1)
    monkeypatch.setattr(object_store, "EXPIRE", 0.5)
    url = f"memory://{uuid.uuid4().hex}/run.zarr"
    with open_store(url):
        pass
    files, path = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{path}.lock", b"of a process that was killed 3")
    began = time.monotonic()
    with open_store(url):
        assert time.monotonic() - began > 0.5
        time.sleep(1.0)  # renewed meanwhile
        with pytest.raises(StoreError, match="another process is writing"), open_store(url):
            pass
    assert not files.exists(f"{path}.lock")


def test_leftovers_of_a_kill_are_removed_and_no_store(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    with open_store(path):
        pass
    name, other = f".run.zarr.{uuid.uuid4().hex}", f".another.zarr.{uuid.uuid4().hex}"
    shutil.copytree(path, tmp_path / name)
    shutil.copytree(path, tmp_path / other)
    shutil.copytree(path / "scan", path / f".per_event.{uuid.uuid4().hex}")
    partial = f"zarr.{uuid.uuid4().hex}.partial"
    (path / "history" / partial).touch()
    (path / partial).touch()
    with open_store(path) as store:
        store.consolidate()
        names = {file.name for file in path.rglob("*")}
        assert not [name for name in names if name.startswith(".") or name.endswith(".partial")]
    assert sorted(os.listdir(tmp_path)) == [other, "run.zarr"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "link to a link", "~", "file URL"])
def test_a_store_by_another_name(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    real, link = tmp_path / "data" / "real.zarr", tmp_path / "run.zarr"
    real.parent.mkdir()
    if kind != "dangling link":
        with open_store(real, seed=2):
            pass
    if "link" in kind:
        link.symlink_to(real)
    if kind == "link to a link":
        (tmp_path / "second.zarr").symlink_to(link)
        link = tmp_path / "second.zarr"
    name = {"~": "~/data/real.zarr", "file URL": f"file://{real}"}.get(kind, str(link))
    links = {path: os.readlink(path) for path in tmp_path.iterdir() if path.is_symlink()}
    remove(name)  # as --overwrite does
    assert not real.exists()
    with open_store(name) as store:
        store.write_rows("history", 0, {"radius": [0.9]})
        with pytest.raises(StoreError, match="another process is writing"), open_store(real):
            pass
    assert Store.read(real).column("history", "radius").tolist() == [0.9]
    assert Store.read(name).attributes["numbers"]["seed"] == 1
    assert links == {path: os.readlink(path) for path in tmp_path.iterdir() if path.is_symlink()}
    assert os.listdir(real.parent) == ["real.zarr"]


@pytest.mark.parametrize("mounted", ["the store", "its folder"])
def test_two_mounts_of_one_folder_have_one_lock(
    tmp_path: Path, mounted: str, requires: Callable[[str, object], None]
) -> None:
    requires("root, to mount a folder", os.geteuid() == 0 and shutil.which("mount"))
    path, second = tmp_path / "data" / "run.zarr", tmp_path / "mount"
    with open_store(path):
        pass
    second.mkdir()
    source, name = (path, second) if mounted == "the store" else (path.parent, second / path.name)
    bound = subprocess.run(["mount", "--bind", source, second], capture_output=True)
    requires("the right to mount", bound.returncode == 0)
    try:
        with open_store(path) as store:
            with pytest.raises(StoreError, match="another process is writing"), open_store(name):
                pass
            store.write_rows("history", 0, {"radius": [0.9]})
        if mounted == "the store":  # a mount cannot be replaced: nothing is deleted
            with pytest.raises(StoreError, match="cannot be written: Device or resource busy"):
                remove(name)
        with open_store(name) as store:
            assert store.n_complete("history") == 1
    finally:
        subprocess.run(["umount", "-l", second], check=True)


def test_overwrite_deletes_no_store_that_took_the_name_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    with open_store(path):
        pass
    where = locate(path)
    with where.lock():
        path.rename(tmp_path / "moved.zarr")
        with open_store(path, seed=2):
            pass
        before = contents(path)
        with pytest.raises(StoreError, match=r"another process .* writes this store|removed"):
            where.remove()
        assert contents(path) == before


def test_the_versions_of_each_stretch_of_rows_are_kept(place: str) -> None:
    def compute(versions: dict[str, str], rows: int) -> list[str]:
        with open_store(place, versions=versions) as store:
            for _ in range(rows):
                store.write_rows("history", store.n_complete("history"), {"radius": [0.9]})
            return store.changes

    old, new, newest = {"numpy": "2.0"}, {"numpy": "2.1"}, {"numpy": "2.1", "machine": "arm64"}
    assert compute(old, 2) == []
    assert compute(old, 0) == []
    assert compute(newest, 0) == ["from history 2 on: numpy 2.0 -> 2.1, machine unknown -> arm64"]
    assert compute(new, 1) == ["from history 2 on: numpy 2.0 -> 2.1"]
    assert compute(new, 1) == []
    assert compute(newest, 1) == ["from history 4 on: machine unknown -> arm64"]
    stretches = [
        {"from": {}, "versions": old},
        {"from": {"history": 2}, "versions": new},
        {"from": {"history": 4}, "versions": newest},
    ]
    assert Store.read(place).attributes["stretches"] == stretches
    with open_store(place, versions=newest) as store:
        store.rewind("history", 3)  # the fourth row is computed again
        assert [each["from"] for each in store.attributes["stretches"]] == [
            {},
            {"history": 2},
            {"history": 3},
        ]


def test_a_grid_has_one_writer_who_stops_when_it_is_lost(place: str, fast: None) -> None:
    axes: Any = place, (1, 1, 2, 1), (1.0,), (0.4, 0.6), {"trees": 2}
    with open_grid(*axes, {"versions": {"numpy": "2.0"}}) as grid:
        with (
            pytest.raises(StoreError, match="another process is writing"),
            open_grid(*axes, {"versions": {}}),
        ):
            pass
        grid.write({"loss": 1.0})
    with open_grid(*axes, {"versions": {"numpy": "2.1"}}) as grid:
        assert grid.changes == ["from cells 1 on: numpy 2.0 -> 2.1"]
        delete(place)
        with open_grid(*axes, {"versions": {}}) as other:
            before = contents(place)
            with pytest.raises(StoreError, match=r"another process (.* writes|took the lock)"):
                grid.write({"loss": 2.0})
            assert contents(place) == before and other.n_complete == 0
