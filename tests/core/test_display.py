"""Progress as lines."""

import time

import pytest

from djservice.core.display import Lines


def test_a_rate_is_told_after_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.phase("scan", 2, 0)
    for now[0] in (100.5, 110.0):
        lines.step({"radius": 1.0, "trees": 100})
    first, second = capsys.readouterr().err.splitlines()
    assert "trees/s" not in first
    assert "20 trees/s" in second
