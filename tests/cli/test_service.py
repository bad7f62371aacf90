"""Commands about runs on a scheduler."""

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from djservice.cli import main


def test_the_list_of_runs_has_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[dict[str, Any]] = []
    monkeypatch.setattr(
        importlib.import_module("djservice.service.client"),
        "connect",
        lambda *_: SimpleNamespace(runs=lambda: runs),
    )
    command = ["list", "--scheduler", "tcp://127.0.0.1:1"]
    empty = CliRunner().invoke(main, command)
    assert (empty.exit_code, empty.stdout, "no runs yet" in empty.stderr) == (0, "", True)
    for name in ("a-1", "a_longer_name-2"):
        runs.append(
            {
                "id": name,
                "state": "running",
                "progress": {"phase": "scan", "done": 2, "total": 8, "seconds_left": 300.0},
                "transitions": [{"time": 0.0}, {"time": 3600.0}],
                "user": "ann",
                "store": f"/{name}.zarr",
            }
        )
    heading, first, second = CliRunner().invoke(main, command).stdout.splitlines()
    for title, cell in (("STATE", "running"), ("LEFT", "5 min"), ("PROGRESS", "scan 2/8")):
        assert heading.index(title) == first.index(cell) == second.index(cell)
    assert first.index("running") == len("a_longer_name-2  ")
    assert first.endswith("ann   /a-1.zarr")
