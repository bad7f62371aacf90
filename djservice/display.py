"""What a run shows while it goes on: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import IO

import numpy as np

#: Radii of this many iterations make up the spread that is shown as the error of R.
RECENT = 20
#: Plain lines come at most this often.
SECONDS_BETWEEN_LINES = 5.0


class Pace:
    """Progress of one phase: steps done, trees per second, time left; and the spread of recent radii."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self.began_at, self.trees = total, done, done, 0.0
        self.began = time.monotonic()
        self.radii: deque[float] = deque(maxlen=RECENT)

    def step(self, numbers: dict[str, float]) -> None:
        """Take in one finished step."""
        self.done += 1
        self.trees += numbers["trees"]
        self.radii.append(numbers["radius"])

    @property
    def trees_per_second(self) -> float:
        """Since the phase began."""
        return self.trees / max(time.monotonic() - self.began, 1e-9)

    @property
    def seconds_left(self) -> float:
        """At the pace so far."""
        steps = self.done - self.began_at
        return (self.total - self.done) * (time.monotonic() - self.began) / steps if steps else float("nan")


def describe(phase: str, numbers: dict[str, float], pace: Pace) -> str:
    """One step in one line."""
    loss = f"loss {numbers['loss']:.4f} +- {numbers['loss_error']:.4f}"
    speed = f"{pace.trees_per_second:,.0f} trees/s"
    left = f"{pace.seconds_left:.0f} s left"
    if phase == "optimise":
        spread = f" +- {np.std(pace.radii):.3f}" if len(pace.radii) > 1 else ""
        radius = f"R {numbers['radius']:.3f}{spread} (spread of {len(pace.radii)})"
        return f"iteration {pace.done}/{pace.total}  {loss}  {radius}  {speed}  {left}"
    mean = f"mean {numbers['mean']:.1f} +- {numbers['mean_error']:.1f}"
    return f"{phase} {pace.done}/{pace.total}  R {numbers['radius']:.3f}  {loss}  {mean}  {speed}  {left}"


class Lines:
    """Progress as plain lines, for logs and batch systems."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stderr
        self.name, self.pace, self.last = "", Pace(0, 0), 0.0

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase begins."""
        self.name, self.pace, self.last = name, Pace(total, done), 0.0
        if done:
            self.say(f"{name}: {done} of {total} done already")

    def step(self, numbers: dict[str, float]) -> None:
        """A step is done."""
        self.pace.step(numbers)
        if self.pace.done == self.pace.total or time.monotonic() - self.last > SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self.say(describe(self.name, numbers, self.pace))

    def say(self, text: str) -> None:
        """A line."""
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing to put back."""


class Terminal:
    """Progress as a live bar with its numbers, for a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description:>9}"), BarColumn(24), TextColumn("{task.fields[numbers]}")
        self.progress = Progress(*columns, console=Console(stderr=True, highlight=False))
        self.progress.start()
        self.name, self.pace = "", Pace(0, 0)

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase begins: a new bar."""
        self.name, self.pace = name, Pace(total, done)
        self.task = self.progress.add_task(
            name, total=total, completed=done, numbers=f"{done} of {total} done already" * (done > 0)
        )

    def step(self, numbers: dict[str, float]) -> None:
        """A step is done."""
        self.pace.step(numbers)
        self.progress.update(self.task, completed=self.pace.done, numbers=describe(self.name, numbers, self.pace))

    def say(self, text: str) -> None:
        """A line above the bars."""
        self.progress.console.print(text)

    def close(self) -> None:
        """Give the terminal back."""
        self.progress.stop()


def choose_display() -> Lines | Terminal:
    """The live display if standard error is a terminal, else lines."""
    return Terminal() if sys.stderr.isatty() else Lines()
