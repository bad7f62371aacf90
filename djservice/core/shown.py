"""How an objective is shown: what is maximised by its name and with its sign, all else as a loss.

Stores and estimates have the loss, which is minimised: the negative of what is maximised.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from djservice.core.progress import Watch

#: What is maximised, with its units, by the kind of the objective.
MAXIMISED = {
    "mutual_information": "mutual information [nats]",
    "significance": "significance",
}


class Shown(NamedTuple):
    """Name with units, and sign, of what a loss is shown as."""

    name: str = "loss"
    sign: float = 1.0

    @property
    def words(self) -> str:
        """The name without units, within a sentence."""
        return self.name.split(" [")[0]


#: All that may be shown.
ALL = (Shown(), *(Shown(name, -1.0) for name in MAXIMISED.values()))


def shown_of(run: Mapping[str, Any]) -> Shown:
    """What the loss of a run is shown as, from its configuration as plain data."""
    name = MAXIMISED.get((run.get("objective") or {}).get("kind", ""))
    return Shown(name, -1.0) if name else Shown()


class ShownSteps:
    """A watch whose steps have what is maximised, by its name, in place of the loss.

    Parameters
    ----------
    watch
        Receives the progress.
    shown
        What the loss is shown as.
    """

    def __init__(self, watch: Watch, shown: Shown) -> None:
        self.phase, self.say, self._watch, self._shown = watch.phase, watch.say, watch, shown

    def step(self, numbers: dict[str, float]) -> None:
        """Report one finished step."""
        name, sign = self._shown
        if "loss" in numbers:
            loss, error = numbers["loss"], numbers["loss_error"]
            numbers = {key: x for key, x in numbers.items() if key not in ("loss", "loss_error")}
            numbers |= {name: sign * loss, f"{name}_error": error}
        self._watch.step(numbers)
