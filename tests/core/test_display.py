"""Progress as lines."""

import time
from pathlib import Path

import pytest

from djservice.core.display import Lines, Pace, Terminal, describe
from djservice.core.progress import ERROR, NEWTON

NUMBERS = {
    "radius": 0.71234,
    "loss": 0.1,
    "loss_error": 0.01,
    "mean": 120.0,
    "mean_error": 2.0,
    "trees": 100.0,
}


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


def test_one_line_leaves_out_what_matters_least_where_it_is_narrow() -> None:
    pace = Pace(total=80, done=10)
    for _ in range(3):
        pace.step(NUMBERS)
    whole = describe("optimise", NUMBERS, pace)
    assert whole.startswith("13/80  loss 0.1000 +- 0.0100  R 0.712  (last 3: 0.712 to 0.712)  ")
    assert whole.endswith(" s left")
    for width in range(10, 120):
        line = describe("optimise", NUMBERS, pace, width)
        assert len(line) <= width
        assert line.startswith("13/80")
    assert "R 0.712" in describe("optimise", NUMBERS, pace, 24)
    assert "mean 120.0 +- 2.0" in describe("scan", NUMBERS, pace)
    assert "mean 0.5312 +- 0.0085" in describe(
        "scan", NUMBERS | {"mean": 0.53124, "mean_error": 0.0085}, pace
    )


def test_lines_come_at_a_bounded_rate_and_at_the_end(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w+") as log:
        lines = Lines(log)
        lines.phase("scan", 50, 3)
        for _ in range(47):
            lines.step(NUMBERS)
        log.seek(0)
        told = log.read().splitlines()
    assert told[0] == "scan: 3 of 50 done already"
    assert [line.split()[1] for line in told[1:]] == ["4/50", "50/50"]
