"""Progress in a notebook: one bar per phase, which needs no package but IPython."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from djservice.core.display import Lines, Pace, describe
from djservice.core.html_table import html_text
from djservice.core.progress import Watch

#: Shortest time between two drawings of the bar, in seconds.
SECONDS_BETWEEN = 0.2
#: Most lines that are kept above the bars.
MOST_LINES = 100


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def python_display() -> Lines | Notebook:
    """The display of a run that Python code starts: bars in a notebook, else plain lines."""
    return Notebook() if in_notebook() else Lines()


@contextmanager
def shown(watch: Watch | None) -> Iterator[Watch]:
    """The receiver of progress that a user gave, or a display, which is closed at the end."""
    if watch is not None:
        yield watch
        return
    display = python_display()
    try:
        yield display
    finally:
        display.close()


class Notebook:
    """Progress as bars in the output of a notebook's cell."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html, self._lines, self._bars = HTML, list[str](), list[str]()
        self._name, self._pace, self._last = "", Pace(0, 0), 0.0
        self._output: Any = display(HTML(""), display_id=True)

    def phase(self, name: str, total: int, done: int) -> None:
        """Begin a phase with a new bar."""
        self._name, self._pace = name, Pace(total, done)
        self._bars.append("")
        self._draw({})

    def step(self, numbers: dict[str, float]) -> None:
        """Show a finished step."""
        self._pace.step(numbers)
        ended = self._pace.done >= self._pace.total
        if ended or time.monotonic() - self._last > SECONDS_BETWEEN:
            self._draw(numbers)

    def say(self, text: str) -> None:
        """Show a line above the bars."""
        self._lines = [*self._lines, f"<div>{html_text(text)}</div>"][-MOST_LINES:]
        self._update()

    def close(self) -> None:
        """Do nothing: the output stays."""

    def _draw(self, numbers: dict[str, float]) -> None:
        pace = self._pace
        text = describe(self._name, numbers, pace) if numbers else f"{pace.done}/{pace.total}"
        self._bars[-1] = (
            f'<div><progress value="{pace.done}" max="{max(pace.total, 1)}"></progress> '
            f"{html_text(self._name)} {html_text(text)}</div>"
        )
        self._last = time.monotonic()
        self._update()

    def _update(self) -> None:
        self._output.update(self._html("".join([*self._lines, *self._bars])))
