"""Only regular files are opened: a pipe would keep its reader waiting for ever."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import djservice as dj
from djservice.errors import InputFileError
from djservice.input import retries
from djservice.input.cache import cached_inspection, load_cached
from djservice.input.files import InputFile, inspect
from djservice.input.quarantine import read_or_bad
from djservice.input.segments import Segment

SCHEMA = dj.schemas.nanoaod(pt_min=0.5)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(path.parent)  # such names are short
        listener.bind(path.name)


KINDS = {
    "named pipe": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture(params=KINDS)
def other(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, Path]:
    """A kind of file that is not regular, and one of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retries, "PAUSES", ())
    make: Callable[[Path], None] = KINDS[request.param]
    make(tmp_path / "a.root")
    return request.param, tmp_path / "a.root"


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_what_is_no_regular_file_is_named(other: tuple[str, Path], prefix: str) -> None:
    kind, path = other
    expected = f"a.root.*expected a regular file, found a {kind}"
    with pytest.raises(InputFileError, match=expected):
        inspect(f"{prefix}{path}", SCHEMA, timeout=5.0)
    if not prefix:
        with pytest.raises(InputFileError, match=expected):
            dj.read(path, schema=SCHEMA)
        batch, (bad,), _ = read_or_bad([Segment(str(path), 0, 10)], SCHEMA, "", 5.0)
        assert len(batch) == 0 and f"found a {kind}" in bad.reason


def test_a_pipe_in_a_cache_is_taken_for_damage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key.zarr.zip")
    assert load_cached(str(tmp_path), "key") is None
    found = InputFile("/a.root", 1, 1, 1, "x")
    assert cached_inspection(str(tmp_path), dj.examples.path("ZHllbb_200"), SCHEMA, lambda: found)
    (record,) = tmp_path.glob("*.json")
    record.unlink()
    os.mkfifo(record)
    again = cached_inspection(str(tmp_path), dj.examples.path("ZHllbb_200"), SCHEMA, lambda: found)
    assert again == found and record.is_file()
