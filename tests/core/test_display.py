"""Progress as lines."""

import time

import pytest

from djservice.core.display import Lines, Terminal
from djservice.core.progress import ERROR, NEWTON


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


def test_a_phase_that_ends_early_says_what_is_done_and_no_total(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()
    lines.phase(NEWTON, 12, 1)
    for radius in (0.7, 0.8, 0.9):
        lines.step({"radius": radius})
    lines.phase("spectrum", 3, 0)
    lines.close()
    assert capsys.readouterr().err.splitlines() == [
        "newton: 1 done already",
        "newton 2 (at most 12)  R 0.700",
        "newton 4 (at most 12)  R 0.900",
    ]


def test_its_bar_is_full_at_the_end() -> None:
    terminal = Terminal()
    terminal.phase(ERROR, 21, 0)
    terminal.step({"trees": 5})
    terminal.phase("spectrum", 3, 0)
    terminal.close()
    first, second = terminal.progress.tasks
    assert first.total == first.completed == 1
    assert second.total == 3
