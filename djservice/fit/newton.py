"""Newton's steps from the end of the descent to the root of dL/dR over all events.

The descent ends within the noise of its mini-batches. Each step evaluates dL/dR over all events with
fresh trees, and moves by dL/dR divided by the curvature of the scan. Near the root the evaluations
are averaged, until the error that is due to the trees is below a third of that due to the events.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from djservice.evaluation.moments import Quantity
from djservice.store.columns import NEWTON_STEPS

#: Smallest number of evaluations near the root.
FEWEST = 2
#: The trees' part of the error, as a share of the events', at which the steps end.
SHARE = 1.0 / 3.0
#: Largest step far from the root, as a share of R.
LONGEST = 0.2


@dataclass(frozen=True)
class RadiusErrors:
    """Parts of the standard error of R.

    Attributes
    ----------
    events
        From the finite number of events.
    trees
        From the finite number of trees in the evaluations of dL/dR.
    optimiser
        From the last step, whose length is known as well as the curvature.
    """

    events: float
    trees: float
    optimiser: float

    @property
    def total(self) -> float:
        """All parts, in quadrature."""
        return math.sqrt(self.events**2 + self.trees**2 + self.optimiser**2)


@dataclass
class Newton:
    """The steps, as a function of the gradients so far.

    Attributes
    ----------
    start, minimum, maximum
        First radius, and its bounds.
    curvature
        d^2L/dR^2 at a radius and its standard error.
    """

    start: float
    minimum: float
    maximum: float
    curvature: Callable[[float], tuple[float, float]]
    evaluations: int = 0
    #: Radius of the next evaluation, and at the end that of the root.
    radius: float = field(init=False)
    #: Errors of the radius; None as long as dL/dR was not evaluated near the root.
    errors: RadiusErrors | None = None
    #: Why there is no further step although the root was not reached.
    obstacle: str = ""
    _near: list[tuple[float, Quantity]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.radius = self.start

    @property
    def settled(self) -> bool:
        """Whether the error due to the trees is small beside that due to the events."""
        return (
            self.errors is not None
            and len(self._near) >= FEWEST
            and self.errors.trees <= SHARE * self.errors.events
        )

    @property
    def ended(self) -> bool:
        """Whether there is no further step."""
        return self.settled or bool(self.obstacle) or self.evaluations >= NEWTON_STEPS

    def update(self, gradient: Quantity) -> None:
        """Take one step, given dL/dR at :attr:`radius` over all events."""
        self.evaluations += 1
        curvature, curvature_error = self.curvature(self.radius)
        if not curvature > 2.0 * curvature_error:
            self.obstacle = (
                f"the curvature of the loss at R = {self.radius:.3f}, {curvature:.3f} +- "
                f"{curvature_error:.3f}, is not clearly positive"
                if math.isfinite(curvature)
                else f"the scan does not determine the curvature of the loss at R = {self.radius:.3f}"
            )
        elif not gradient.error > 0.0:
            self.obstacle = f"dL/dR at R = {self.radius:.3f} has no error"
        elif abs(gradient.value) > 2.0 * gradient.error:
            self._approach(-gradient.value / curvature)
        else:
            self._near.append((self.radius, gradient))
            self._average()

    def _approach(self, step: float) -> None:
        """Move towards the root from a point that is too far for the averages."""
        self._near, self.errors = [], None
        longest = LONGEST * self.radius
        moved = self._inside(self.radius + min(max(step, -longest), longest))
        if moved == self.radius:
            self.obstacle = f"dL/dR leads beyond the bound R = {moved:g}"
        self.radius = moved

    def _average(self) -> None:
        """The root of the line through the mean of the evaluations near it."""
        n = len(self._near)
        centre = sum(radius for radius, _ in self._near) / n
        mean = sum(gradient.value for _, gradient in self._near) / n
        curvature, curvature_error = self.curvature(centre)
        if not curvature > 0.0:
            self.obstacle = f"the curvature of the loss at R = {centre:.3f} is not positive"
            return
        trees = [gradient.tree_error**2 for _, gradient in self._near]
        both = [gradient.error**2 for _, gradient in self._near]
        events = sum(max(b - t, 0.0) for b, t in zip(both, trees, strict=True)) / n
        self.radius = self._inside(centre - mean / curvature)
        self.errors = RadiusErrors(
            math.sqrt(events) / curvature,
            math.sqrt(sum(trees)) / n / curvature,
            abs(self.radius - centre) * curvature_error / curvature,
        )

    def _inside(self, radius: float) -> float:
        return min(max(radius, self.minimum), self.maximum)
