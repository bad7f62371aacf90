"""The protocol by which a run reports progress, and the names of its phases."""

from __future__ import annotations

from typing import Protocol

#: Phase of the iterations of the radius.
DESCENT = "optimise"
#: Phase of the Newton steps from the end of the iterations.
NEWTON = "newton"
#: Phase of reading the input.
READ = "read"
#: Phases of one radius per event.
PER_EVENT, SCORE = "per event", "score"
#: Phase of the error of an R that was learned together with a network.
ERROR = "R error"
#: Phases that may end before their total, which is the most that they need.
OPEN = (NEWTON, ERROR)


def done_of(phase: str, done: int, total: int) -> str:
    """How many steps of a phase are done."""
    return f"{done} (at most {total})" if phase in OPEN else f"{done}/{total}"


def done_before(phase: str, done: int, total: int) -> str:
    """How many steps of a phase were done before, if any."""
    of = "" if phase in OPEN else f" of {total}"
    return f"{done}{of} done already" if done else ""


class Watch(Protocol):
    """Receiver of a run's progress."""

    def phase(self, name: str, total: int, done: int) -> None:
        """Begin a phase of ``total`` steps, of which ``done`` are already done."""

    def step(self, numbers: dict[str, float]) -> None:
        """Report one finished step of the phase, with its numbers."""

    def say(self, text: str) -> None:
        """Report a message in one line."""
