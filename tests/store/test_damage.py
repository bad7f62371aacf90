"""Damage of every file of the store of a run: named, or computed again to the same bits, and never silent."""

import errno
import itertools
import json
import os
import random
import shutil
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import damaged_stores
import fsspec
import pytest
import zarr
from click.testing import CliRunner
from damaged_stores import (
    REPLACED,
    REQUESTS,
    SAMPLE,
    Content,
    Damage,
    Stopped,
    bury,
    cases,
    content,
    delete,
    files_of,
    flip,
    kind_of,
    run_store,
    sample,
    settings,
    truncate,
)

from djservice.cli import main
from djservice.errors import DamagedStoreError, StoreError
from djservice.fit.requests import Request
from djservice.reports.summary import summary
from djservice.store import object_store
from djservice.store.local_folder import LocalFolder
from djservice.store.run_store import Store
from djservice.store.verify import verify_store

FILES = ("scan/zarr.json", "scan/loss/zarr.json", "scan/loss/c/0", "history/gradients/c/0/0")


@pytest.fixture(autouse=True)
def torch_is_there(request: pytest.FixtureRequest, requires: Callable[..., None]) -> None:
    if "joint" in request.node.name:
        requires("torch (pip install 'djservice[torch]')", find_spec("torch"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TASK-STATE.zarr for every task and state."""
    folder = tmp_path_factory.mktemp("damage")

    def stop(_: Request) -> None:
        raise Stopped("stopped by the test")

    for task, requests in REQUESTS.items():
        if task == "joint" and not find_spec("torch"):
            continue
        path = folder / f"{task}-finished.zarr"
        left = set(requests)

        def copy(request: Request, task: str = task, left: set[str] = left) -> None:
            name = f"{request.stream}-{request.iteration}"
            if name in left:
                left.remove(name)
                shutil.copytree(
                    folder / f"{task}-finished.zarr", folder / f"{task}-running-{name}.zarr"
                )

        run_store(path, task, act=copy)
        assert not left, "no such requests"
        shutil.copytree(
            folder / f"{task}-running-{requests[-1]}.zarr", folder / f"{task}-interrupted.zarr"
        )
        with pytest.raises(Stopped):
            run_store(folder / f"{task}-interrupted.zarr", task, act=stop)
    return folder


def outcome(path: Path, file: str, task: str, before: Content, whole: Content) -> str:
    """What comes of a damaged store: "" if it is named, mended to the same bits, or without effect; else what is wrong."""
    try:
        if content(path) != before:
            return "silent: read other content"
        summary(path)
    except StoreError as error:
        if str(path) not in str(error):
            return f"the store is not named: {error}"
    try:
        verify_store(path)
        if content(path) != before:
            return "silent: verified"
    except StoreError as error:
        if file not in str(error):
            return f"the file is not named: {error}"
    try:
        run_store(path, task)
    except StoreError as error:
        return "" if file == "zarr.json" else f"not mended: {error}"
    if content(path) != whole:
        return "silent: other result"
    verify_store(path)
    return ""


STORES = [
    f"{task}-{state}"
    for task, requests in REQUESTS.items()
    for state in ("finished", "interrupted", *(f"running-{request}" for request in requests))
]


def damage_each(name: str, made: Path, path: Path, tried: list[tuple[str, Damage]]) -> None:
    """Damage files of a store, one at a time, and assert that nothing is silent."""
    chance, bad = random.Random(name + SAMPLE), []
    task = next(task for task in REQUESTS if name.startswith(task))
    before, whole = content(made / f"{name}.zarr"), content(made / f"{task}-finished.zarr")
    for file, damage in tried:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(made / f"{name}.zarr", path)
        damage(path / file, chance)
        wrong = outcome(path, file, task, before, whole)
        print(name, damage.__name__, file, wrong or "well", flush=True)
        if wrong:
            bad.append(f"{damage.__name__} {file}: {wrong}")
    assert not bad, f"{len(bad)} of {len(tried)}:\n" + "\n".join(bad)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("global-running-newton-1", flip),
        ("per-event-interrupted", delete),
        pytest.param("radius-model-finished", truncate, marks=pytest.mark.long),
        ("particle-weights-running-weights-2", flip),
        ("joint-running-joint-0", delete),
        ("objective-finished", truncate),
        ("robust-interrupted", flip),
    ],
)
def test_no_damage_of_a_store_is_silent(
    name: str, damage: Damage, made: Path, tmp_path: Path
) -> None:
    file = random.Random(name).choice(files_of(made / f"{name}.zarr"))
    damage_each(name, made, tmp_path / "s.zarr", [(file, damage)])


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        pytest.param(damage, file, marks=() if (d + f) % 4 == 0 else pytest.mark.long)
        for d, damage in enumerate(REPLACED)
        for f, file in enumerate(FILES)
    ],
)
@pytest.mark.timeout(300)
def test_what_is_no_file_of_ours_is_damage(
    damage: Damage, file: str, made: Path, tmp_path: Path
) -> None:
    """It is named and computed again; nothing hangs, and no memory is filled."""
    path = shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    whole = content(path)
    damage(path / file, random.Random(1))
    named = file if damage is not bury else str(Path(file).parent)
    assert outcome(path, named, "global", whole, whole) == ""


@pytest.mark.parametrize("group", ["history", "radius_model", "particle_weights"])
def test_an_average_is_computed_again(group: str, made: Path, tmp_path: Path) -> None:
    """It follows from the gradients, in each group that has one."""
    task = "global" if group == "history" else group.replace("_", "-")
    path = shutil.copytree(made / f"{task}-finished.zarr", tmp_path / "s.zarr")
    whole, file = content(path), f"{group}/parameters_average/c/0/0"
    flip(path / file, random.Random(1))
    assert outcome(path, file, task, whole, whole) == ""


def large(data: bytes) -> bytes:
    return data + bytes(300_000)


def declared(data: bytes) -> bytes:
    """Metadata of chunks of 10^12 rows; of another file, something large."""
    return data.replace(b'"chunk_shape": [', b'"chunk_shape": [1000000000000')


@pytest.mark.parametrize(
    ("file", "change"), [*((file, large) for file in FILES), ("scan/loss/zarr.json", declared)]
)
def test_an_object_that_is_too_large_is_named_before_it_is_read(
    file: str, change: Callable[[bytes], bytes], made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may hold anything under any name."""
    whole, url = content(made / "global-finished.zarr"), f"memory://{uuid.uuid4().hex}/s.zarr"
    files, root = fsspec.core.url_to_fs(url)
    files.put(f"{made / 'global-finished.zarr'}/", root, recursive=True)
    files.pipe_file(f"{root}/{file}", change(files.cat_file(f"{root}/{file}")))
    read, sizes = type(files).cat_file, [0]

    def measured(*arguments: Any, **keywords: Any) -> Any:
        data = read(*arguments, **keywords)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(object_store, "PROBE", 5_000)
    monkeypatch.setattr(object_store, "LARGEST", 200_000)
    monkeypatch.setattr(type(files), "cat_file", measured)
    with pytest.raises(DamagedStoreError, match=file):
        content(url)
    run_store(url, "global")
    assert content(url) == whole
    assert max(sizes) <= 200_000
    files.rm(root.rpartition("/")[0], recursive=True)


@pytest.mark.parametrize("group", ["history", pytest.param("scan", marks=pytest.mark.long)])
def test_a_group_of_another_store_is_not_taken_for_its_own(
    group: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are as they were written, in another place."""
    path = shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    whole = content(path)
    of_run = settings
    with monkeypatch.context() as patch:
        other = lambda *given: of_run(*given).model_copy(update={"seed": 5})  # noqa: E731
        patch.setattr(damaged_stores, "settings", other)
        run_store(tmp_path / "other.zarr", "global")
    shutil.rmtree(path / group)
    shutil.copytree(tmp_path / "other.zarr" / group, path / group)
    with pytest.raises(DamagedStoreError, match=rf"{group}/zarr\.json is that of another run"):
        content(path)
    assert outcome(path, f"{group}/zarr.json", "global", whole, whole) == ""


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STORES)
def test_no_damage_of_any_file_of_a_store_is_silent(name: str, made: Path, tmp_path: Path) -> None:
    """Each kind of store, of file and of damage once; ``DAMAGE_SAMPLE`` chooses other files, or all."""
    source = made / f"{name}.zarr"
    tried = cases(source) if SAMPLE == "all" else sample(source, random.Random(SAMPLE + name))
    damage_each(name, made, tmp_path / "s.zarr", tried)


@pytest.mark.parametrize(
    ("array", "earlier"),
    [("scan/mean", "scan-1"), ("newton/mean", "newton-1"), ("spectrum/mean", "spectrum-1")],
)
def test_an_old_chunk_in_the_place_of_a_new_one_is_not_silent(
    array: str, earlier: str, made: Path, tmp_path: Path
) -> None:
    """Its codec calls it sound; the checksum of the rows does not."""
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-finished.zarr", path)
    whole = content(path)
    shutil.copy(made / f"global-running-{earlier}.zarr/{array}/c/0", path / array / "c/0")
    with pytest.raises(DamagedStoreError, match=f"damaged: {array}, .* holds other rows"):
        content(path)
    assert outcome(path, f"{array}/c", "global", whole, whole) == ""


@pytest.mark.parametrize(
    ("name", "iterations"),
    [("global-running-newton-1", 5), pytest.param("per-event-finished", 9, marks=pytest.mark.long)],
)
def test_a_write_that_fails_loses_nothing(
    name: str, iterations: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when arrays are lengthened, averages are written again, and damage is mended."""
    task, path = name.rpartition("-running")[0] or name.rpartition("-")[0], tmp_path / "s.zarr"
    run_store(tmp_path / "whole.zarr", task, iterations)
    whole = content(tmp_path / "whole.zarr")
    chance = random.Random(name)
    for damaged in (None, "history/gradients/c/0/0"):
        for number in chance.sample(range(60), 1):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(made / f"{name}.zarr", path)
            rows = Store.read(path).n_complete("history")
            if damaged is not None:
                (path / damaged).unlink()
            with monkeypatch.context() as patch, pytest.raises(StoreError, match="No space left"):
                fail_from(patch, number)
                run_store(path, task, iterations)
            if damaged is None:
                verify_store(path)
                assert Store.read(path).n_complete("history") >= rows
            run_store(path, task, iterations)
            assert content(path) == whole, (damaged, number)
            verify_store(path)


def fail_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the writes from a number on fail, as on a full disk."""
    count = itertools.count()

    def failing(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_fail(*arguments: Any, **keywords: Any) -> Any:
            if next(count) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*arguments, **keywords)

        return write_or_fail

    patch.setattr(LocalFolder, "write", failing(LocalFolder.write))
    patch.setattr("zarr.storage._local._put", failing(zarr.storage._local._put))


LONG = pytest.mark.long


@pytest.mark.parametrize("damage", [truncate, pytest.param(delete, marks=LONG)])
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("scan/loss/c/0", marks=LONG),
        pytest.param("scan/zarr.json", marks=LONG),
        "scan/mean/zarr.json",
        pytest.param("history/gradients/zarr.json", marks=LONG),
    ],
)
def test_damage_under_a_run_ends_it_with_an_error(
    file: str, damage: Damage, made: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-running-scan-1.zarr", path)

    def act(request: Request) -> None:
        if (request.stream, request.iteration) == ("scan", 2):
            damage(path / file, random.Random(1))

    with pytest.raises(DamagedStoreError, match=file.removesuffix("/0")):  # or all chunks
        run_store(path, "global", act=act)
    run_store(path, "global")
    assert content(path) == content(made / "global-finished.zarr")


def test_a_store_without_checksums_is_not_read(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "global-finished.zarr", tmp_path / "s.zarr")
    root = tmp_path / "s.zarr" / "zarr.json"
    attributes = {"djservice_format": 2, "numbers": {}}
    root.write_text(json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}))
    for read in (Store.read, verify_store):
        with pytest.raises(StoreError, match=r"written in format 2, expected 5\. Read it with"):
            read(tmp_path / "s.zarr")


def test_the_command_names_what_is_damaged(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    shutil.copytree(made / "global-finished.zarr", path)
    done = CliRunner().invoke(main, ["check", str(path)])
    arrays = [kind_of(path, file) for file in files_of(path)].count("array")
    assert (done.exit_code, done.output) == (0, f"{path}: whole: {arrays} arrays\n")
    (path / "scan/loss/c/0").unlink()
    done = CliRunner().invoke(main, ["check", str(path)])
    assert done.exit_code == 1
    assert "scan/loss, rows 0 to 3: scan/loss/c/0 is missing" in done.output
    shutil.copytree(made / "global-finished.zarr", tmp_path / "t.zarr")
    copies = tmp_path / "t.zarr/zarr.json"
    copies.write_text(copies.read_text().replace('"metadata": {', '"metadatb": {', 1))
    done = CliRunner().invoke(main, ["check", str(tmp_path / "t.zarr")])
    assert done.exit_code == 1 and "no readable copies of metadata" in done.output
    done = CliRunner().invoke(main, ["check", str(tmp_path / "gone.zarr")])
    assert done.exit_code == 1 and "there is no store here" in done.output
