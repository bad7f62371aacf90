"""The records of runs, in a directory that outlives the scheduler."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from djservice.config.run import Run
from djservice.errors import ServiceError
from djservice.service.records import Record, StateDirectory

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


def test_a_state_directory_that_cannot_be_written_refuses_runs(
    make_cluster: Any, tiny: Settings, tmp_path: Path
) -> None:
    cluster = make_cluster(tmp_path)
    service = cluster.start_scheduler()
    shutil.rmtree(cluster.state)
    with pytest.raises(ServiceError, match="state: cannot be written"):
        service.submit(Run.from_dict(tiny))
    assert service.runs() == []
