"""A worker that does not see a mount: others read its files, and a line names it."""

from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster, get_worker

import djservice as dj
from djservice.config.run import Run
from djservice.core.display import Lines
from djservice.errors import MissingFileError
from djservice.on_dask import reading
from djservice.store.run_store import Store


@pytest.mark.parametrize("bad_inputs", ["fail", "quarantine"])
@pytest.mark.parametrize("function", ["inspect", "read_with_cutflow"])
def test_a_worker_without_the_mount_loses_no_event(
    bad_inputs: str,
    function: str,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = "djservice.input.quarantine" if bad_inputs == "quarantine" else reading.__name__
    module = reading.__name__ if function == "inspect" else where
    real = getattr(reading, function)

    def without_mount(*arguments: Any) -> Any:
        if get_worker().name == 0:
            raise MissingFileError("a.root: there is no such file.")
        return real(*arguments)

    monkeypatch.setattr(f"{module}.{function}", without_mount)
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # 8787 may be another test's
    ) as cluster:
        settings = tiny | {"cluster": {"scheduler": cluster.scheduler_address}}
        settings["input"] = settings["input"] | {"bad_inputs": bad_inputs, "bundle_events": 4}
        store = dj.run(Run.from_dict(settings), watch=Lines()).store
    attributes = Store.read(Path(store)).attributes
    assert (attributes["events"], attributes["quarantined"]) == (40, [])
    said = capsys.readouterr().err
    if function == "read_with_cutflow":  # the only inspection may be on the other worker
        assert "gets no more files to read: another one could read" in said
        assert said.count("gets no more files") == 1
