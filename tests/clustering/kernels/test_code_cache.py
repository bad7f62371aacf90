"""Compiled kernels on disk: not those of other sources, of another user, or damaged ones; and none where none can be."""

import errno
import logging
import os
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest
from numba import config
from numba.core.caching import IndexDataCacheFile

from djservice.clustering.kernels import code_cache
from djservice.clustering.kernels.code_cache import (
    Seal,
    cache_problem,
    compiled,
    sealed,
    sealed_files,
)
from djservice.clustering.kernels.jit import entry
from djservice.core.locks import lock_file


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, and nothing said yet."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "numba"))
    for function in (cache_problem, code_cache._say):
        function.cache_clear()


def double(x: float) -> float:
    return 2.0 * x


def files(folder: Path) -> Seal:
    made: Seal = sealed_files(IndexDataCacheFile)(str(folder), "kernel", "stamp")
    return made


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", ["empty", "cut", "flip", "other"])
def test_what_is_not_as_it_was_written_is_written_again(
    tmp_path: Path, suffix: str, damage: str
) -> None:
    files(tmp_path).save("double", "code")
    (path,) = tmp_path.glob(f"*{suffix}")
    content = path.read_bytes()
    changed = {
        "empty": b"",
        "cut": content[:-1],
        "flip": content[:-3] + bytes([content[-3] ^ 4]) + content[-2:],
        "other": b"cdjservice\nNoSuchClass\n.",
    }[damage]
    path.write_bytes(changed)
    assert files(tmp_path).load("double") is None
    files(tmp_path).save("double", "code")
    assert files(tmp_path).load("double") == "code"


def test_other_sources_other_signatures_and_lost_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = files(tmp_path)
    for key in ("one", "two"):
        file.save(key, f"code of {key}")
    first, second = sorted(tmp_path.glob("*.nbc"))
    first.write_bytes(second.read_bytes())
    assert (file.load("one"), file.load("two")) == (None, "code of two")
    monkeypatch.setattr(code_cache, "_SOURCES", b"others")
    assert files(tmp_path).load("two") is None
    monkeypatch.undo()
    second.unlink()
    assert files(tmp_path).load("two") is None


def test_a_numba_with_another_cache_is_noticed() -> None:
    assert not sealed(SimpleNamespace())


def test_a_kernel_is_taken_from_its_files(tmp_path: Path) -> None:
    kernels = [compiled(numba.njit, double) for _ in range(2)]
    assert [kernel(2.0) for kernel in kernels] == [4.0, 4.0]
    assert kernels[1].stats.cache_hits and not kernels[0].stats.cache_hits
    assert (tmp_path / "numba").stat().st_mode & 0o777 == 0o700


def lock_of(kernel: Any) -> int:
    path = Path(f"{kernel._cache._cache_file._index_path}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    return lock_file(path)


def test_what_another_process_compiles_is_waited_for_and_read() -> None:
    kernel: Any = entry(double)
    lock = lock_of(kernel)  # as if another process compiled
    waiting = threading.Thread(target=kernel, args=(2.0,))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert compiled(numba.njit, double)(2.0) == 4.0
    waiting.join(300.0)
    os.close(lock)
    assert not waiting.is_alive() and kernel.stats.cache_hits


def test_a_process_that_stands_still_and_a_disk_without_locks_hold_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unlockable(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(code_cache, "PATIENCE", 0.3)
    kernel: Any = entry(double)
    lock = lock_of(kernel)
    assert kernel(2.0) == 4.0 and not kernel.stats.cache_hits
    os.close(lock)
    monkeypatch.setattr(code_cache, "lock_file", unlockable)
    assert entry(double)(2) == 4.0


def of_another_user(folder: Path) -> None:
    os.chown(folder, 12345, 12345)


def link_of_another_user(folder: Path) -> None:
    folder.rename(folder.with_name("mine"))
    folder.symlink_to("mine")
    os.chown(folder, 12345, 12345, follow_symlinks=False)


@pytest.mark.parametrize(
    "spoil, problem",
    [
        (of_another_user, r"belongs to another user \(12345\)"),
        (link_of_another_user, r"belongs to another user \(12345\)"),
        (lambda folder: folder.chmod(0o777), "can be written by others"),
        (lambda folder: folder.chmod(0o770), "can be written by others"),
    ],
)
def test_a_folder_that_others_can_write_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: Any, problem: str
) -> None:
    folder = tmp_path / "numba"
    folder.mkdir(mode=0o700)
    try:
        spoil(folder)
    except PermissionError:
        pytest.skip("needs the right to give files away")
    with caplog.at_level(logging.WARNING):
        kernels = [compiled(numba.njit, double) for _ in range(2)]
    assert kernels[0](2.0) == 4.0 and list(folder.iterdir()) == []
    (record,) = caplog.records  # one line for all kernels
    assert re.search(problem, record.getMessage())


def test_without_any_folder_the_kernels_are_compiled_in_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    with caplog.at_level(logging.WARNING):
        assert compiled(numba.njit, double)(2.0) == 4.0
    assert "no folder for compiled kernels can be written" in caplog.text


def test_a_full_disk_costs_the_files_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Any, path: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    with caplog.at_level(logging.WARNING):
        assert compiled(numba.njit, double)(2.0) == 4.0
    assert "No space left on device: the kernels are compiled again" in caplog.text
