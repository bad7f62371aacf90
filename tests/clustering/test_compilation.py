"""The line that says that kernels are compiled: once, and not where a run says it."""

from types import SimpleNamespace
from typing import Any

import pytest

from djservice.clustering import compilation
from djservice.clustering.kernels.cpu import cluster_items
from djservice.clustering.kernels.kinematics import momenta


def test_compiling_the_loop_over_trees_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announcement: Any = compilation._Announcement()
    monkeypatch.setattr(compilation, "_ANNOUNCEMENT", announcement)
    for kernel in (momenta, cluster_items, cluster_items):
        announcement.on_start(SimpleNamespace(data={"dispatcher": kernel}))
    assert capsys.readouterr().err.count("compiling the kernels") == 1
    announcement.said = False
    compilation.leave_unsaid()
    announcement.on_start(SimpleNamespace(data={"dispatcher": cluster_items}))
    assert capsys.readouterr().err == ""
