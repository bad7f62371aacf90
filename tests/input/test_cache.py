"""The cache of what was read: the same bits without ROOT, made again when anything changed, there whole or not at all."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import uproot

import djservice as dj
from djservice.config.run import Run
from djservice.errors import ConfigError, DamagedStoreError, InputFileError
from djservice.events.batch import EventBatch
from djservice.fit.plan import RunPlan
from djservice.input.cache import (
    cached_inspection,
    key_of,
    load_cached,
    save_cached,
    unchanged,
    verify_cache,
)
from djservice.input.cutflow import reading_text
from djservice.input.files import InputFile, inspect
from djservice.input.read import read_with_cutflow
from djservice.input.segments import Segment
from djservice.service.allowed_paths import check_roots
from djservice.service.submission import pack
from djservice.store.run_store import Store

SCHEMA = dj.schemas.nanoaod(pt_min=1.0, truth="GenPart:higgs", quarks=True)
Settings = dict[str, Any]


def assert_same(one: EventBatch, other: EventBatch) -> None:
    """In every field."""
    assert one.quarks is not None and other.quarks is not None
    for part, expected in ((one, other), (one.quarks, other.quarks)):
        for field in fields(expected):
            if field.name != "quarks":
                values = getattr(part, field.name)
                np.testing.assert_array_equal(values, getattr(expected, field.name), field.name)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A copy of the example that may be changed."""
    shutil.copy(dj.examples.path("ZHllbb_200"), tmp_path / "events.root")
    return str(tmp_path / "events.root")


def no_root(*_arguments: Any, **_options: Any) -> None:
    raise AssertionError("a ROOT file is opened")


@pytest.fixture
def cached(tiny: Settings, path: str, scheduler: str, tmp_path: Path) -> Settings:
    """A run with a cache."""
    section = tiny["input"] | {"files": path, "cache": str(tmp_path / "cache")}
    few = tiny["optimiser"] | {"iterations": 1}
    return tiny | {"input": section, "cluster": {"scheduler": scheduler}, "optimiser": few}


def do(settings: Settings, name: str) -> Any:
    """Do a run in a store of that name; its summary of reading, and its store."""
    store = str(Path(settings["output"]["store"]).with_name(name))
    finished = dj.run(Run.from_dict(settings | {"output": {"store": store}}))
    return Store.read(finished.store).attributes["reading"], finished.store


def test_a_second_run_opens_no_root_file_and_has_the_same_bits(
    cached: Settings,
    stored: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = cached | {
        "input": {key: value for key, value in cached["input"].items() if key != "cache"}
    }
    plain, first_store = do(without, "without.zarr")
    first, second_store = do(cached, "first.zarr")
    assert (first["bundles_cached"], first["bytes_read"]) == (0, plain["bytes_read"])
    monkeypatch.setattr(uproot, "open", no_root)
    second, third_store = do(cached, "second.zarr")
    assert stored(first_store) == stored(second_store) == stored(third_store)
    assert second["bundles_cached"] == second["bundles"] == 4
    same = ("events", "particles", "particles_in_files", "removed")
    assert [second[name] for name in same] == [plain[name] for name in same]
    assert "in 4 bundles, 4 of them from the cache; " in reading_text(second)
    files = list((tmp_path / "cache").iterdir())
    assert second["bytes_read"] == sum(
        file.stat().st_size for file in files if file.suffix == ".zip"
    )
    assert [file.name for file in files if file.name.startswith(".")] == []


def test_a_file_that_changed_is_read_again(cached: Settings, path: str) -> None:
    do(cached, "first.zarr")
    touched = os.stat(path).st_mtime_ns + 10**9
    os.utime(path, ns=(touched, touched))
    reading, _ = do(cached, "touched.zarr")
    assert reading["bundles_cached"] == 0
    before = inspect(path, SCHEMA)
    assert unchanged(before)
    shutil.copy(dj.examples.path("ZHllbb_1000"), path)
    assert not unchanged(before)
    os.utime(path, ns=(touched, touched))  # another size at the same time
    reading, _ = do(cached, "other.zarr")
    assert reading["bundles_cached"] == 0


def test_other_cuts_other_entries_another_dataset_or_selection_are_not_in_it(path: str) -> None:
    files = [inspect(path, SCHEMA)]
    keys = [
        key_of(part, files, schema)
        for part, schema in (
            ([Segment(path, 0, 10)], SCHEMA),
            ([Segment(path, 1, 10)], SCHEMA),
            ([Segment(path, 0, 10, "other")], SCHEMA),
            ([Segment(path, 0, 10, "", "Tree")], SCHEMA),
            ([Segment(path, 0, 10)], SCHEMA.model_copy(update={"pt_min": 1.5})),
            ([Segment(path, 0, 10)], SCHEMA.model_copy(update={"truth": 125.0})),
        )
    ]
    keys += [
        key_of([Segment(path, 0, 10)], files, SCHEMA, selection)
        for selection in ("clean#1", "clean#2")
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["cut", "bytes", "empty"])
def test_a_damaged_file_of_the_cache_is_made_again(path: str, tmp_path: Path, damage: str) -> None:
    part, files = [Segment(path, 3, 40)], [inspect(path, SCHEMA)]
    key = key_of(part, files, SCHEMA)
    assert load_cached(str(tmp_path / "cache"), key) is None
    batch, cutflow = read_with_cutflow(part, SCHEMA)
    batch, cutflow = replace(batch, doubts=("odd",)), replace(cutflow, doubts=("odd",))
    save_cached(str(tmp_path / "cache"), key, batch, cutflow)
    found = load_cached(str(tmp_path / "cache"), key)
    assert found is not None
    assert_same(found[0], batch)
    assert found[1].doubts == cutflow.doubts
    assert (found[1].particles, found[1].removed) == (cutflow.particles, cutflow.removed)
    place = tmp_path / "cache" / f"{key}.zarr.zip"
    content = bytearray(place.read_bytes())
    if damage == "bytes":
        content[len(content) // 2] ^= 0xFF
    place.write_bytes({"cut": content[: len(content) // 2], "bytes": content, "empty": b""}[damage])
    assert load_cached(str(tmp_path / "cache"), key) is None
    save_cached(str(tmp_path / "cache"), key, batch, cutflow)
    assert load_cached(str(tmp_path / "cache"), key) is not None


def test_no_flipped_bit_of_the_cache_is_silent(path: str, tmp_path: Path) -> None:
    part, chance = [Segment(path, 0, 3)], random.Random(4)
    cache, key = tmp_path / "cache", key_of(part, [inspect(path, SCHEMA)], SCHEMA)
    batch, cutflow = read_with_cutflow(part, SCHEMA)
    save_cached(str(cache), key, batch, cutflow)
    (place,) = cache.iterdir()
    whole = place.read_bytes()
    assert verify_cache(cache) == 1
    for _ in range(60):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        place.write_bytes(content)
        found = load_cached(str(cache), key)
        if found is None:
            with pytest.raises(DamagedStoreError, match=place.name):
                verify_cache(cache)
        else:  # the bit says nothing, such as a time in the zip file
            assert_same(found[0], batch)
            assert (found[1].entries, found[1].removed) == (cutflow.entries, cutflow.removed)


def test_no_flipped_bit_of_an_inspection_is_silent(path: str, tmp_path: Path) -> None:
    def look() -> InputFile:
        looked.append(1)
        return inspect(path, SCHEMA)

    looked: list[int] = []
    first = cached_inspection(str(tmp_path), path, SCHEMA, look)
    (place,) = tmp_path.glob("*.json")
    whole, chance = place.read_bytes(), random.Random(5)
    for _ in range(60):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        place.write_bytes(content)
        assert cached_inspection(str(tmp_path), path, SCHEMA, lambda: first) == first
    place.write_bytes(whole.replace(b"200", b"300"))
    assert cached_inspection(str(tmp_path), path, SCHEMA, look).entries == 200
    assert len(looked) == 2


def test_a_whole_file_under_the_name_of_another_is_not_used(path: str, tmp_path: Path) -> None:
    cache, files = str(tmp_path), [inspect(path, SCHEMA)]
    parts = [[Segment(path, first, first + 5)] for first in (0, 5)]
    names = [key_of(part, files, SCHEMA) for part in parts]
    for part, name in zip(parts, names, strict=True):
        save_cached(cache, name, *read_with_cutflow(part, SCHEMA))
    shutil.copy(tmp_path / f"{names[1]}.zarr.zip", tmp_path / f"{names[0]}.zarr.zip")
    assert load_cached(cache, names[0]) is None and load_cached(cache, names[1]) is not None
    copy = str(shutil.copy(path, tmp_path / "copy.root"))
    for file in (path, copy):
        cached_inspection(cache, file, SCHEMA, lambda file=file: inspect(file, SCHEMA))
    first, second = sorted(tmp_path.glob("*.json"))
    shutil.copy(first, second)
    for file in (path, copy):
        found = cached_inspection(cache, file, SCHEMA, lambda file=file: inspect(file, SCHEMA))
        assert found.path == file


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "nested", "bomb", "overlap", "large"])
@pytest.mark.timeout(300)
def test_what_is_no_file_of_the_cache_is_not_used(path: str, tmp_path: Path, kind: str) -> None:
    def replace(place: Path) -> None:
        if kind in ("pipe", "folder"):
            (os.mkfifo if kind == "pipe" else os.mkdir)(place)
        elif kind == "circle":
            place.symlink_to(place)
        elif place.suffix == ".json":
            place.write_text("[" * 100_000)
        else:
            packing = zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED
            with zipfile.ZipFile(place, "w", packing) as file:
                file.writestr("zarr.json", b'{"a":' * 100_000)
                if kind == "overlap":  # a thousand names for the same bytes
                    (whole,) = file.infolist()
                    for number in range(1_000):
                        file.filelist.append(copied := copy.copy(whole))
                        copied.filename = f"{number:04}.json"
        if kind == "large":
            os.truncate(place, 40 * 2**30)

    replace(tmp_path / "a.zarr.zip")
    replace(tmp_path / "b.json")
    assert load_cached(str(tmp_path), "a") is None
    with pytest.raises(DamagedStoreError, match=r"a\.zarr\.zip, b\.json"):
        verify_cache(tmp_path)


def test_a_crash_while_writing_leaves_no_half_file(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, files = [Segment(path, 0, 20)], [inspect(path, SCHEMA)]
    batch, cutflow = read_with_cutflow(part, SCHEMA)
    key = key_of(part, files, SCHEMA)

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_cached(str(tmp_path / "cache"), key, batch, cutflow)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_says_so(cached: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cached["input"] |= {"cache": str(tmp_path / "file" / "cache")}
    with pytest.raises(
        InputFileError, match=r"file/cache: the cache cannot be written: .*leave out input\.cache"
    ):
        do(cached, "a.zarr")


def test_no_token_is_in_the_cache(path: str) -> None:
    url = "root://host//a.root?authz="
    files = [inspect(path, SCHEMA)]
    one, other = (key_of([Segment(url + token, 0, 5)], files, SCHEMA) for token in ("one", "two"))
    assert one == other  # a new token is for the same file
    assert json.dumps(one)


def test_a_submitted_run_keeps_its_cache_within_the_roots(cached: Settings, tmp_path: Path) -> None:
    run = Run.from_dict(cached)
    with dask.config.set({"djservice.output-roots": [str(tmp_path)]}):
        check_roots(RunPlan(run))
    with (
        dask.config.set({"djservice.output-roots": [str(Path(run.output.store))]}),
        pytest.raises(ConfigError, match=r"input\.cache: .*cache lies outside"),
    ):
        check_roots(RunPlan(run))
    packed = pack(Run.from_dict(cached | {"input": cached["input"] | {"cache": "here"}}))
    assert packed["input"]["cache"] == os.path.abspath("here")
