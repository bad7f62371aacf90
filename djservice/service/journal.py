"""What a run tells while it goes on, kept for those who ask: the watch of a run on a scheduler."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from djservice.core.progress import DESCENT, READ
from djservice.core.redact import redacted

#: Lines that are kept of a run.
LINES = 500
#: Steps that one who watches may lag behind without missing any.
EVENTS = 500


class Journal:
    """Written by the thread of a run, read by the loop of the scheduler.

    Each call of a watch is an event with a number; a client asks for the events after the last one that it has seen, and
    makes the same calls on a display of its own.

    Parameters
    ----------
    begun
        Called at the first phase after the reading: the input is loaded.
    lines
        What was said before, with times.
    """

    def __init__(
        self, begun: Callable[[], None] = lambda: None, lines: Iterable[tuple[float, str]] = ()
    ) -> None:
        self._begun = begun
        self._lock = Lock()
        self._lines = deque(lines, maxlen=LINES)
        self._events: deque[tuple[str, list[Any]]] = deque(maxlen=EVENTS)
        self._count = 0
        self._progress: dict[str, Any] = {}
        self._totals: dict[str, Any] = {"trees": 0, "iteration": None, "radius": None}

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase begins."""
        if name != READ and self._progress.get("phase", READ) == READ:
            self._begun()
        with self._lock:
            if name == DESCENT:
                self._totals["iteration"] = done
            self._progress = {
                "phase": name,
                "total": total,
                "done": done,
                "numbers": {},
            } | self._totals
            self._add("phase", name, total, done)

    def step(self, numbers: dict[str, float]) -> None:
        """A step of the phase is done."""
        with self._lock:
            self._progress["done"] += int(numbers.get("steps", 1))
            self._progress["numbers"] = dict(numbers)
            self._totals["trees"] += int(numbers.get("trees", 0))
            if self._progress["phase"] == DESCENT:
                self._totals |= {
                    "iteration": self._progress["done"],
                    "radius": numbers.get("radius"),
                }
            self._progress |= self._totals
            self._add("step", dict(numbers))

    def say(self, text: str) -> None:
        """A line worth reading."""
        text = redacted(text)
        with self._lock:
            self._lines.append((time.time(), text))
            self._add("say", text)

    def _add(self, call: str, *arguments: Any) -> None:
        self._events.append((call, list(arguments)))
        self._count += 1

    @property
    def lines(self) -> list[tuple[float, str]]:
        """The last lines, with their times."""
        with self._lock:
            return list(self._lines)

    @property
    def progress(self) -> dict[str, Any]:
        """What goes on; empty before the first phase.

        Phase, steps in all and done, numbers of the last step; and whatever the phase, trees sampled since the run was taken
        up here, the last iteration, and its radius (None before it).
        """
        with self._lock:
            return dict(self._progress)

    def since(self, number: int | None) -> tuple[int, list[tuple[str, list[Any]]]]:
        """Number of the last event, and those after ``number``; where these are not all there, the phase as it stands."""
        with self._lock:
            behind = self._count - number if number is not None else -1
            if 0 <= behind <= len(self._events):
                return self._count, list(self._events)[len(self._events) - behind :]
            if not self._progress:
                return self._count, []
            now = self._progress
            return self._count, [("phase", [now["phase"], now["total"], now["done"]])]
