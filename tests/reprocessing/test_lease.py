"""The lock of a folder of results: one gets it, it is renewed, and no wrong clock keeps or loses it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from djservice.errors import RunError, StoreError
from djservice.reprocessing.lease import HeldError, Lease


def test_of_many_who_find_an_expired_lock_one_gets_it(tmp_path: Path) -> None:
    gone = {
        "owner": "someone@gone, process 7",
        "token": "x",
        "began": 0.0,
        "expires": time.time() - 1,
    }
    (tmp_path / "lock.json").write_text(json.dumps(gone))
    code = (
        "import sys, time\nfrom djservice.reprocessing.lease import HeldError, Lease\n"
        f"try:\n    with Lease({str(tmp_path)!r}, 30) as lease:\n        print('took over from', lease.taken_from)\n        sys.stdin.read()\n"
        "except HeldError:\n    print('held')"
    )
    waiting = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = []
    for process in waiting:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    for process in waiting:
        process.communicate(timeout=300)
    assert sorted(said) == ["held\n"] * 3 + ["took over from someone@gone, process 7\n"]
    assert not (tmp_path / "lock.json").exists()


def test_a_lock_is_renewed_and_one_that_was_lost_is_not_used(tmp_path: Path) -> None:
    def expires() -> float:
        return float(json.loads((tmp_path / "lock.json").read_text())["expires"])

    with Lease(tmp_path, 3.0) as first:
        began, end = expires(), time.monotonic() + 300
        while expires() == began:
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(HeldError, match=r"has held the lock since"), Lease(tmp_path, 3.0):
            pass
        with first.owned():
            pass
        found = json.loads((tmp_path / "lock.json").read_text())
        (tmp_path / "lock.json").write_text(json.dumps(found | {"token": "another"}))
        with pytest.raises(RunError, match="another process took it over"), first.owned():
            pass
    assert json.loads((tmp_path / "lock.json").read_text())["token"] == "another"
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="cannot be locked and written"),
        Lease(tmp_path / "file", 1.0),
    ):
        pass
    (tmp_path / "lock.json").write_text("{}")
    with pytest.raises(StoreError, match="expected a lock of djservice"), Lease(tmp_path, 1.0):
        pass


YEAR = 365.0 * 86400.0


def left_by(folder: Path, owner_clock: float, age: float, **keys: float) -> None:
    """A lock that an owner wrote ``age`` seconds ago, by a clock that is so many seconds ahead."""
    written = time.time() - age
    lock = {"owner": "eve@far, process 7", "token": "x", "began": written + owner_clock}
    lock |= {"expires": written + owner_clock + 60.0, "seconds": 60.0} | keys
    (folder / "lock.json").write_text(json.dumps(lock))
    os.utime(folder / "lock.json", (written, written))


@pytest.mark.parametrize("ahead", [YEAR, 3600.0, -3600.0, -YEAR])
def test_a_wrong_clock_neither_keeps_a_lock_nor_loses_it(tmp_path: Path, ahead: float) -> None:
    """The owner's clock is wrong: the age of its lock counts, by the clock of the disk."""
    left_by(tmp_path, ahead, age=10.0)
    word = "ahead" if ahead > 0 else "behind"
    with pytest.raises(HeldError, match=rf"eve@far.* is {abs(ahead):.0f} s {word}"):
        Lease(tmp_path, 60.0).__enter__()
    left_by(tmp_path, ahead, age=70.0)
    with Lease(tmp_path, 60.0) as lease:
        assert lease.taken_from == "eve@far, process 7"
        assert f"s {word}" in lease.remark and "doctor" in lease.remark


@pytest.mark.parametrize("ahead", [YEAR, -YEAR])
def test_this_machines_wrong_clock_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    real = time.time
    left_by(tmp_path, 0.0, age=10.0)
    monkeypatch.setattr("djservice.reprocessing.lease.time.time", lambda: real() + ahead)
    with pytest.raises(HeldError, match="eve@far"):
        Lease(tmp_path, 60.0).__enter__()
    monkeypatch.undo()
    left_by(tmp_path, 0.0, age=70.0)
    monkeypatch.setattr("djservice.reprocessing.lease.time.time", lambda: real() + ahead)
    with Lease(tmp_path, 60.0) as lease:
        assert lease.taken_from == "eve@far, process 7"
        monkeypatch.undo()
        with pytest.raises(HeldError, match="so the age of the lock counts"):
            Lease(tmp_path, 60.0).__enter__()


def test_a_lease_lasts_as_long_as_its_owner_chose(tmp_path: Path) -> None:
    left_by(tmp_path, 0.0, age=30.0)
    with pytest.raises(HeldError):
        Lease(tmp_path, 1.0).__enter__()
    left_by(tmp_path, YEAR, age=30.0, seconds=20.0)
    with Lease(tmp_path, 120.0) as lease:
        assert lease.taken_from


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "{}", "7", json.dumps({"owner": 1, "token": [], "began": "x", "expires": None}),
     json.dumps({"owner": "a", "token": "b", "began": 0, "expires": 1e300})],
)  # fmt: skip
def test_what_is_no_lock_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(StoreError, match=r"lock\.json: expected a lock of djservice"):
        Lease(tmp_path, 1.0).__enter__()
    (tmp_path / "lock.json").unlink()
    os.mkfifo(tmp_path / "lock.json")
    with pytest.raises(StoreError, match=r"lock\.json: expected a lock of djservice"):
        Lease(tmp_path, 1.0).__enter__()
