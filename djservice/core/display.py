"""Progress displays of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import IO

from djservice.core.formatting import decimals
from djservice.core.progress import (
    DESCENT,
    OPEN,
    PER_EVENT,
    READ,
    SCORE,
    done_before,
    done_of,
)
from djservice.core.shown import ALL
from djservice.core.visible import visible

#: Number of latest iterations whose range of radii is shown.
RECENT = 20
#: Width of the bar on a terminal, in columns.
BAR = 12
#: Width of the name of a phase, in columns.
WIDEST = len(DESCENT)
#: Shortest time for a rate, in seconds: a remote client receives several steps at once.
SECONDS_TO_TELL = 1.0
#: Shortest time between two plain lines, in seconds.
SECONDS_BETWEEN_LINES = 5.0


class Pace:
    """Progress of one phase: steps done, trees per second, time left, and recent radii."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.first, self.trees = total, done, done, 0.0
        self.start = time.monotonic()
        self.radii: deque[float] = deque(maxlen=RECENT)

    def step(self, numbers: dict[str, float]) -> None:
        """Count one finished step."""
        self.done += int(numbers.get("steps", 1))
        self.trees += numbers.get("trees", 0)
        if "radius" in numbers:
            self.radii.append(numbers["radius"])

    @property
    def trees_per_second(self) -> float:
        """Trees per second since the phase began; 0 in its first second."""
        return self.trees / self._seconds if self._seconds > SECONDS_TO_TELL else 0.0

    @property
    def seconds_left(self) -> float:
        """Estimated time left, at the rate so far."""
        steps = self.done - self.first
        return (self.total - self.done) * self._seconds / steps if steps else float("nan")

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.start


def describe(phase: str, numbers: dict[str, float], pace: Pace, width: int | None = None) -> str:
    """One step in one line. The least important parts are omitted beyond ``width`` columns."""
    optimising = phase == DESCENT
    span = ""
    if optimising and len(pace.radii) > 1:
        low, high = min(pace.radii), max(pace.radii)
        span = f"(last {len(pace.radii)}: {low:.3f} to {high:.3f})"
    mean = ""
    if "mean" in numbers:
        digits = decimals(numbers["mean_error"])
        mean = f"mean {numbers['mean']:.{digits}f} +- {numbers['mean_error']:.{digits}f}"
    objective = next((f"{s.words} {_pair(numbers, s.name)}" for s in ALL if s.name in numbers), "")
    parts = [  # in the order of display, with their priorities
        (9, done_of(phase, pace.done, pace.total)),
        (7, objective),
        (
            8,
            f"{'median ' * (phase in (PER_EVENT, SCORE))}R {numbers['radius']:.3f}"
            if "radius" in numbers
            else "",
        ),
        (4, span),
        (3, "" if optimising else mean),
        (2, f"{pace.trees_per_second:,.0f} trees/s" * bool(pace.trees_per_second)),
        (6, f"{pace.seconds_left:.0f} s left" * (phase not in OPEN)),
    ]
    shown = sorted((part for part in parts if part[1]), key=lambda part: -part[0])
    while (
        width is not None and len(shown) > 1 and sum(len(text) + 2 for _, text in shown) - 2 > width
    ):
        shown.pop()
    return "  ".join(text for part, text in parts if (part, text) in shown)


def _pair(numbers: dict[str, float], name: str) -> str:
    return f"{numbers[name]:.4f} +- {numbers[f'{name}_error']:.4f}"


class Lines:
    """Progress as plain lines, for logs and batch systems."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stderr
        self.name, self.pace, self.last = "", Pace(0, 0), 0.0
        self.unsaid = ""

    def phase(self, name: str, total: int, done: int) -> None:
        """Begin a phase."""
        self.close()
        # A summary follows the reading, so only a long reading prints lines.
        self.name, self.pace, self.last = (
            name,
            Pace(total, done),
            time.monotonic() if name == READ else 0.0,
        )
        if before := done_before(name, done, total):
            self.say(f"{name}: {before}")

    def step(self, numbers: dict[str, float]) -> None:
        """Show a finished step."""
        self.pace.step(numbers)
        line = f"{self.name} {describe(self.name, numbers, self.pace)}"
        self.unsaid = line if self.name in OPEN else ""
        ended = self.pace.done == self.pace.total and self.name != READ
        if ended or time.monotonic() - self.last > SECONDS_BETWEEN_LINES:
            self.last, self.unsaid = time.monotonic(), ""
            self.say(line)

    def say(self, text: str) -> None:
        """Print a line."""
        print(visible(text), file=self.stream, flush=True)

    def close(self) -> None:
        """Print the last step of a phase that ended early, if it is not shown yet."""
        if self.unsaid:
            self.say(self.unsaid)
        self.unsaid = ""


class Quiet(Lines):
    """Warnings, and no progress."""

    def phase(self, name: str, total: int, done: int) -> None:
        """Show nothing."""

    def step(self, numbers: dict[str, float]) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Print a line if it tells what is amiss."""
        if any(word in text for word in ("warning", "damaged", "left out", "lost")):
            super().say(text)


class Terminal:
    """Progress as a live bar with its numbers, for a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        column = Column(no_wrap=True)
        columns = (
            TextColumn(f"{{task.description:<{WIDEST}}}", table_column=column),
            BarColumn(BAR),
            TextColumn("{task.fields[numbers]}", table_column=column, markup=False),
        )
        self.progress = Progress(
            *columns, console=Console(stderr=True, highlight=False, markup=False)
        )
        self.progress.start()
        self.name, self.pace = "", Pace(0, 0)

    def phase(self, name: str, total: int, done: int) -> None:
        """Begin a phase with a new bar."""
        self._fill()
        self.name, self.pace = name, Pace(total, done)
        self.task = self.progress.add_task(
            name,
            total=total,
            completed=done,
            numbers=done_before(name, done, total),
        )

    def step(self, numbers: dict[str, float]) -> None:
        """Show a finished step."""
        self.pace.step(numbers)
        width = self.progress.console.width - WIDEST - BAR - 2
        self.progress.update(
            self.task,
            completed=self.pace.done,
            numbers=describe(self.name, numbers, self.pace, width),
        )

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.progress.console.print(visible(text))

    def close(self) -> None:
        """Restore the terminal."""
        self._fill()
        self.progress.stop()

    def _fill(self) -> None:
        """Fill the bar of a phase that ended early."""
        if self.name in OPEN:
            self.progress.update(self.task, total=self.pace.done)


def choose_display() -> Lines | Terminal:
    """A live display if standard error is a terminal, else plain lines."""
    return Terminal() if sys.stderr.isatty() else Lines()
