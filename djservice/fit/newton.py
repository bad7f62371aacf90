"""Newton's steps from the end of the descent to the root of dL/dR over all events.

The descent ends within the noise of its mini-batches. Each step evaluates dL/dR over all events with
fresh trees, and moves by dL/dR divided by the curvature of the scan. Near the root the evaluations
are averaged, until the error that is due to the trees is below a third of that due to the events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from djservice.evaluation.moments import Quantity
from djservice.store.columns import NEWTON_STEPS

#: Smallest number of evaluations near the root.
FEWEST = 2
#: The trees' part of the error, as a share of the events', at which the steps end.
SHARE = 1.0 / 3.0
#: Largest step, and distance from the root within which evaluations are always averaged, as shares
#: of R. Between the two they are averaged if it is below two standard errors of R that the trees of
#: one evaluation leave.
LONGEST, NEAR = 0.2, 0.1


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
    #: Errors of the radius; None as long as no evaluation is near the root.
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

    @property
    def failure(self) -> str:
        """Why the evaluations so far determine no radius; empty if they do."""
        if self.errors is not None or self.obstacle:
            return self.obstacle
        return f"{self.evaluations} Newton steps did not reach a root of dL/dR over all events"

    def update(self, gradient: Quantity) -> None:
        """Take one step, given dL/dR at :attr:`radius` over all events."""
        self.evaluations += 1
        self.errors = None
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
        else:
            self._near.append((self.radius, gradient))
            self._step()

    def _step(self) -> None:
        """Move to the root of the line through the mean of the evaluations near it."""
        centre = _mean([radius for radius, _ in self._near])
        gradient = _mean([gradient.value for _, gradient in self._near])
        curvature, curvature_error = self.curvature(centre)
        if not curvature > 0.0:
            self.obstacle = f"the curvature of the loss at R = {centre:.3f} is not positive"
            return
        longest = LONGEST * centre
        step = min(max(-gradient / curvature, -longest), longest)
        before, self.radius = self.radius, self._inside(centre + step)
        last = self._near[-1][1]
        if self.radius == before and abs(last.value) > 2.0 * last.error:
            self.obstacle = f"dL/dR leads beyond the bound R = {before:g}"
        noise = math.sqrt(_mean([of.tree_error**2 for _, of in self._near])) / curvature
        far = max(NEAR * self.radius, min(2.0 * noise, longest))
        self._near = [each for each in self._near if abs(each[0] - self.radius) <= far]
        self.errors = self._errors(curvature, abs(self.radius - centre) * curvature_error)

    def _errors(self, curvature: float, of_step: float) -> RadiusErrors | None:
        """Errors of R, from those of dL/dR; None without an evaluation near the root."""
        if not self._near or self.obstacle:
            return None
        trees = [gradient.tree_error**2 for _, gradient in self._near]
        both = [gradient.error**2 for _, gradient in self._near]
        events = _mean([max(b - t, 0.0) for b, t in zip(both, trees, strict=True)])
        return RadiusErrors(
            math.sqrt(events) / curvature,
            math.sqrt(sum(trees)) / len(trees) / curvature,
            of_step / curvature,
        )

    def _inside(self, radius: float) -> float:
        return min(max(radius, self.minimum), self.maximum)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
