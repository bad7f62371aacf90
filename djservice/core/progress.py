"""The protocol by which a run tells how far it is, and the names of its phases."""

from __future__ import annotations

from typing import Protocol

#: The phase whose steps are the iterations of the radius.
DESCENT = "optimise"
#: The phase before the input is there.
READ = "read"
#: The phases in which every event has a radius of its own.
PER_EVENT, SCORE = "per event", "score"


class Watch(Protocol):
    """What a run tells while it goes on."""

    def phase(self, name: str, total: int, done: int) -> None:
        """A phase begins: so many steps, of which some are done already."""

    def step(self, numbers: dict[str, float]) -> None:
        """A step of the phase is done."""

    def say(self, text: str) -> None:
        """A line worth reading."""
