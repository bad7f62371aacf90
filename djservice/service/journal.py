"""Journal: progress and log lines of a run on a scheduler, kept for clients and pages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from djservice.core.progress import DESCENT, READ
from djservice.core.redact import redacted

#: Number of log lines that are kept of a run.
KEPT_LINES = 500
#: Number of characters that are kept of a line.
LONGEST_LINE = 4000
#: Number of steps that a client may lag behind without missing any.
KEPT_EVENTS = 500


class Journal:
    """Watch of a run, written by the run's thread and read by the scheduler's event loop.

    Each call of the watch is an event with a number. A client asks for the events after the last
    one it has seen, and repeats the calls on its own display.

    Parameters
    ----------
    on_loaded
        Called at the first phase after the reading, when the input is loaded.
    on_step
        Called at the first step after it.
    lines
        Earlier log lines with their times.
    """

    def __init__(
        self,
        on_loaded: Callable[[], None] = lambda: None,
        on_step: Callable[[], None] = lambda: None,
        lines: Iterable[tuple[float, str]] = (),
    ) -> None:
        self._on_loaded, self._on_step, self._stepped = on_loaded, on_step, False
        self._lock = Lock()
        self._lines = deque(lines, maxlen=KEPT_LINES)
        self._events: deque[tuple[str, list[Any]]] = deque(maxlen=KEPT_EVENTS)
        self._count = 0
        self._progress: dict[str, Any] = {}
        self._began = (0.0, 0)
        self._totals: dict[str, Any] = {"trees": 0, "iteration": None, "radius": None}

    def phase(self, name: str, total: int, done: int) -> None:
        """Begin a phase."""
        if name != READ and self._progress.get("phase", READ) == READ:
            self._on_loaded()
        with self._lock:
            if name == DESCENT:
                self._totals["iteration"] = done
            self._progress = {
                "phase": name,
                "total": total,
                "done": done,
                "numbers": {},
                "seconds_left": None,
            } | self._totals
            self._began = (time.monotonic(), done)
            self._add("phase", name, total, done)

    def step(self, numbers: dict[str, float]) -> None:
        """Count a finished step of the phase."""
        if not self._stepped and self._progress["phase"] != READ:
            self._stepped = True
            self._on_step()
        with self._lock:
            self._progress["done"] += int(numbers.get("steps", 1))
            self._progress["numbers"] = dict(numbers)
            self._progress["seconds_left"] = self._seconds_left()
            self._totals["trees"] += int(numbers.get("trees", 0))
            if self._progress["phase"] == DESCENT:
                self._totals |= {
                    "iteration": self._progress["done"],
                    "radius": numbers.get("radius"),
                }
            self._progress |= self._totals
            self._add("step", dict(numbers))

    def say(self, text: str) -> None:
        """Add a log line; the end of a very long one is cut off."""
        text = redacted(text)
        text = text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ..."
        with self._lock:
            self._lines.append((time.time(), text))
            self._add("say", text)

    def _seconds_left(self) -> float | None:
        """Time until the end of the phase at its rate so far; None before its first step."""
        began, first = self._began
        steps = self._progress["done"] - first
        left = self._progress["total"] - self._progress["done"]
        return left * (time.monotonic() - began) / steps if steps else None

    def _add(self, call: str, *arguments: Any) -> None:
        self._events.append((call, list(arguments)))
        self._count += 1

    @property
    def number(self) -> int:
        """Number of events so far."""
        return self._count

    @property
    def lines(self) -> list[tuple[float, str]]:
        """The last log lines with their times."""
        with self._lock:
            return list(self._lines)

    @property
    def progress(self) -> dict[str, Any]:
        """The progress of the run; empty before the first phase.

        It has the phase, its total and finished steps, the seconds that it may still take (None
        before its first step), and the numbers of the last step. In every
        phase it also has the trees sampled since this scheduler took the run up, the last
        iteration, and its radius (None before the first one).
        """
        with self._lock:
            return dict(self._progress)

    def since(self, number: int | None) -> tuple[int, list[tuple[str, list[Any]]]]:
        """Number of the last event, and the events after ``number``.

        If some of those are no longer kept, the present phase is returned as a single event.
        """
        with self._lock:
            behind = self._count - number if number is not None else -1
            if 0 <= behind <= len(self._events):
                return self._count, list(self._events)[len(self._events) - behind :]
            if not self._progress:
                return self._count, []
            progress = self._progress
            return self._count, [
                ("phase", [progress["phase"], progress["total"], progress["done"]])
            ]
