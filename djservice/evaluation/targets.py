"""What a network on leading jets is trained for: classes of events, or their truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.batch import EventBatch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Classes:
    """Classes of events: datasets by name, or values of the truth.

    Attributes
    ----------
    names
        A class each. The first one is the signal.
    weights
        Factor of the weights of the events of each class.
    """

    names: tuple[str, ...] | tuple[float, ...]
    weights: tuple[float, ...]

    #: Name of the loss.
    kind: ClassVar[str] = "cross_entropy"

    @property
    def outputs(self) -> int:
        """Number of outputs of a network: a score for each class."""
        return len(self.names)

    def weight_of(self, labels: NDArray[Any]) -> Floats:
        """Factor of the weight of each event, shape (event,)."""
        factors: Floats = np.array(self.weights)[labels]
        return factors

    def losses(self, outputs: torch.Tensor, labels: NDArray[Any]) -> torch.Tensor:
        """Cross-entropy of each row of outputs, shape (row,)."""
        import torch

        logs = outputs.log_softmax(dim=-1)
        return -logs[torch.arange(len(logs)), torch.tensor(labels)]

    def values(self, outputs: torch.Tensor) -> Floats:
        """Probability of the first class of each row of outputs, shape (row,)."""
        values: Floats = outputs.detach().softmax(dim=-1)[:, 0].numpy()
        return values

    def of(self, events: EventBatch) -> NDArray[np.int64]:
        """Number of the class of each event, shape (event,).

        Raises
        ------
        InputError
            If an event is of none of them.
        """
        if isinstance(self.names[0], str):
            if events.dataset not in self.names:
                raise InputError(
                    f"joint.classes: events of dataset {events.dataset!r}, expected one of "
                    f"{', '.join(map(str, self.names))}. Name it there, or leave it out of the "
                    "fileset."
                )
            return np.full(len(events), self.names.index(events.dataset))
        same = events.truth[:, np.newaxis] == np.array(self.names, np.float64)
        strange = np.flatnonzero(~same.any(axis=1))
        if len(strange):
            raise InputError(
                f"joint.classes: {len(strange)} events have a truth that is none of the classes "
                f"{', '.join(map(str, self.names))}: {events.name(int(strange[0]))} has "
                f"{events.truth[strange[0]]:g}. Give their truth as a class, or select the events."
            )
        number: NDArray[np.int64] = same.argmax(axis=1)
        return number


@dataclass(frozen=True)
class Truth:
    """The truth of events, which a network learns to predict.

    Attributes
    ----------
    kind
        ``squared_error``, whose best prediction is the mean, or ``absolute_error``, the median.
    centre, unit
        Mean and standard deviation of the truth of all events. Outputs are in this unit about this
        centre, and so a loss of 1 is that of a network that has learned nothing.
    """

    kind: str
    centre: float = 0.0
    unit: float = 1.0
    #: Number of outputs of a network.
    outputs: ClassVar[int] = 1

    def scaled_to(self, truth: Floats, weight: Floats) -> Truth:
        """The same target with the mean and the standard deviation of some events.

        Raises
        ------
        InputError
            If they are not defined, or the truth does not vary.
        """
        unknown = int(np.count_nonzero(~np.isfinite(truth)))
        if unknown:
            raise InputError(
                f"joint.loss {self.kind}: {unknown} of {len(truth)} events have no truth. Choose "
                "another input.truth, or select the events."
            )
        if not weight.sum() > 0.0:
            raise InputError(
                f"joint.loss {self.kind}: the weights of all events add up to {weight.sum():g}, "
                "expected a positive number."
            )
        centre = float(np.average(truth, weights=weight))
        unit = float(np.average((truth - centre) ** 2, weights=weight)) ** 0.5
        if not unit > 1e-12 * abs(centre):
            raise InputError(
                f"joint.loss {self.kind}: every event has the truth {centre:g}, expected several "
                "values. Use events of several, or a loss of the run without task: joint."
            )
        return replace(self, centre=centre, unit=unit)

    def of(self, events: EventBatch) -> Floats:
        """Distance of the truth of each event from the centre in units, shape (event,)."""
        return (events.truth - self.centre) / self.unit

    def weight_of(self, labels: NDArray[Any]) -> Floats:
        """Factor of the weight of each event: 1."""
        return np.ones(len(labels))

    def losses(self, outputs: torch.Tensor, labels: NDArray[Any]) -> torch.Tensor:
        """Loss of each row of outputs, shape (row,)."""
        import torch

        distance = outputs[:, 0] - torch.tensor(labels)
        return distance.abs() if self.kind == "absolute_error" else distance**2

    def values(self, outputs: torch.Tensor) -> Floats:
        """Prediction of the truth of each row of outputs, shape (row,)."""
        values: Floats = self.centre + self.unit * outputs.detach()[:, 0].numpy()
        return values


Target = Classes | Truth
