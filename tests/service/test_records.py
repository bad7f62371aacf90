"""The records of runs, in a directory that outlives the scheduler."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from djservice.config.run import Run
from djservice.errors import ServiceError
from djservice.service.records import Record, StateDirectory, Transition

Settings = dict[str, Any]


def record(name: str) -> Record:
    found = Record(name, "ann", {"output": {"store": "/tmp/x.zarr"}}, lines=[(1.0, "a line")])
    found.move("queued", "submitted by ann")
    return found


def test_a_state_directory_reads_what_it_wrote_and_leaves_out_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = StateDirectory(tmp_path / "state")
    first, second = record("first"), record("second")
    second.move("running", "")
    for written in (second, first):
        directory.write(written.id, written.to_json())
    (tmp_path / "state/damaged.json").write_text(first.to_json()[:-20])
    (tmp_path / "state/other.json").write_text('{"a": 1}')
    (tmp_path / "state/.third.writing").write_text("half")
    assert directory.read() == [first, second]
    assert (tmp_path / "state/.third.writing").exists()
    assert "damaged.json: not the record of a run" in caplog.text
    assert "other.json: not the record of a run" in caplog.text
    with pytest.raises(ServiceError, match="another scheduler keeps its runs here"):
        StateDirectory(tmp_path / "state")
    directory.close()
    StateDirectory(tmp_path / "state").close()
    (tmp_path / "file").touch()
    with pytest.raises(
        ServiceError,
        match=r"cannot be used as state directory: .*Choose another djservice\.state-directory",
    ):
        StateDirectory(tmp_path / "file")


def changed(**keys: Any) -> str:
    return json.dumps(json.loads(record("bad").to_json()) | keys)


def transition(**keys: Any) -> str:
    whole = {"state": "queued", "time": 1.0, "reason": ""} | keys
    return changed(transitions=[whole])


#: Files that are no records; each of them is called ``bad.json``.
NO_RECORDS: dict[str, str | bytes | Callable[[Path], None]] = {
    "nested too deep": "[" * 100_000,
    "a nested setting": changed(config={"output": {"store": "/x"}}).replace(
        '"/x"', "[" * 100_000 + "]" * 100_000
    ),
    "a nested result": changed().replace('"result": null', '"result": ' + '{"a":' * 9_000),
    "empty": "",
    "no object": "7",
    "no text": b"\xff\xfe",
    "zeros": b"\0" * 4096,
    "another name": record("first").to_json(),
    "id of a wrong type": changed(id=["bad"]),
    "user of a wrong type": changed(user={"a": 1}),
    "config of a wrong type": changed(config=[]),
    "output of a wrong type": changed(config={"output": []}),
    "no store": changed(config={"output": {"store": ""}}),
    "transitions of a wrong type": changed(transitions={"state": "queued"}),
    "no transition": changed(transitions=[]),
    "unknown state": transition(state="flying"),
    "time of a wrong type": transition(time="yesterday"),
    "time without an end": transition(time=float("nan")),
    "reason of a wrong type": transition(reason=None),
    "lines of a wrong type": changed(lines=[[1.0]]),
    "result of a wrong type": changed(result=[1.0]),
    "numbers of a wrong type": changed(numbers=[]),
    "starts of a wrong type": changed(starts="1"),
    "too large": changed(user="x" * 21_000_000),
    "a pipe": lambda path: os.mkfifo(path),
    "a folder": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("/nowhere"),
}


@pytest.mark.parametrize("kind", NO_RECORDS)
def test_what_is_no_record_is_named_and_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    directory = StateDirectory(tmp_path / "state")
    whole = record("whole")
    directory.write("whole", whole.to_json())
    bad, content = directory.path / "bad.json", NO_RECORDS[kind]
    if callable(content):
        content(bad)
    else:
        bad.write_bytes(content.encode() if isinstance(content, str) else content)
    assert directory.read() == [whole]
    assert "bad.json: not the record of a run: " in caplog.text and len(caplog.text) < 2_000
    (aside,) = directory.path.glob("bad.json.*.set-aside")
    assert not os.path.lexists(bad)
    if not callable(content):
        kept = aside.read_bytes()
        assert kept == (content.encode() if isinstance(content, str) else content)
    caplog.clear()
    assert directory.read() == [whole] and caplog.text == ""
    directory.close()


def test_a_record_of_the_version_before_is_read(tmp_path: Path) -> None:
    old = json.loads(record("old").to_json())
    del old["starts"]
    assert Record.from_json(json.dumps(old)) == record_like(old)


def record_like(data: dict[str, Any]) -> Record:
    found = Record("old", "ann", data["config"], lines=[(1.0, "a line")])
    found.transitions = [Transition(**entry) for entry in data["transitions"]]
    return found


def test_a_record_keeps_its_first_and_its_last_transitions() -> None:
    long = record("long")
    for i in range(1000):
        long.move("paused" if i % 2 else "queued", str(i))
    assert [entry.reason for entry in long.transitions[:2]] == ["submitted by ann", "800"]
    assert long.transitions[-1].reason == "999"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_state_directory_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    with pytest.raises(
        ServiceError, match=rf"only its owner can write, found permissions {mode:04o}"
    ):
        StateDirectory(tmp_path / "state")
    (tmp_path / "state").chmod(0o700)
    StateDirectory(tmp_path / "state").close()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o770, 0o2770])
def test_a_state_directory_that_others_may_read_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    StateDirectory(tmp_path / "state").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert "others could open the records" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 12345, 12345)
    with pytest.raises(ServiceError, match="of user 12345"):
        StateDirectory(tmp_path / "state")


def test_a_state_directory_that_cannot_be_written_refuses_runs(
    make_cluster: Any, tiny: Settings, tmp_path: Path
) -> None:
    cluster = make_cluster(tmp_path)
    service = cluster.start_scheduler()
    shutil.rmtree(cluster.state)
    with pytest.raises(ServiceError, match="state: cannot be written"):
        service.submit(Run.from_dict(tiny))
    assert service.runs() == []
