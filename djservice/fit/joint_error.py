"""Standard error of an R that was learned together with a network.

R and the network solve E[g] = 0, where g are the derivatives of the loss of an event in both. With
H the derivatives of E[g], the network that is best moves with R by x = -H_tt^-1 H_tR, where t stands
for its parameters. So the derivative of the profile, min over the network of the loss, is

    G = g_R + x g_t   of each event,        E[G]' = H_RR + H_Rt x,

and the variance of R is that of the mean of G over what the run has seen, divided by the square of
this curvature. The optimiser is not at its end: what is left of the mean G of these iterations, over
the curvature, is how far R is from the point where it would vanish. Systems with H_tt are solved by conjugate gradients, whose products are differences
of derivatives on the same trees. Directions in which the loss is flat or falls are left out. The
curvature is measured on other trees than x, so noise of x does not bias it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from djservice.core.inner import inner
from djservice.core.typing import Floats
from djservice.evaluation.joint_gradient import JointEvents
from djservice.evaluation.taggers import Network
from djservice.fit.minibatches import MiniBatch
from djservice.fit.requests import EvaluateJoint, Request

#: Distance of R to both sides for derivatives, relative to R.
STEP = 0.1
#: Most steps of the conjugate gradients, and the residual at which they end, relative to the first.
STEPS, RESIDUAL = 12, 0.03
#: Change of the largest parameter for products with the second derivatives.
SHIFT = 1e-4
#: The same for the direction in which the best network moves with R.
CHANGE = 1e-2
ERROR_STREAM = "error-joint"


@dataclass(frozen=True)
class Seen:
    """Events, trees and derivatives of the iterations over which R was averaged.

    Attributes
    ----------
    events
        Number of different events.
    trees
        Number of trees of all these events and iterations.
    slopes
        Mean derivatives of the loss in R and in the network, shape (1 + theta,).
    """

    events: int
    trees: int
    slopes: Floats


@dataclass(frozen=True)
class RadiusError:
    """Standard error of R, and the curvature of the profile.

    Attributes
    ----------
    of_events, of_trees, of_optimiser
        Its parts, from finite events and finite trees, and the least that it is, which is how far
        the optimiser is from its end.
    curvature, curvature_error
        Second derivative of the loss of the best network of each R, and its standard error.
    """

    of_events: float
    of_trees: float
    of_optimiser: float
    curvature: float
    curvature_error: float

    @property
    def determined(self) -> bool:
        """Whether the profile is curved by more than two standard errors."""
        return self.curvature > 2.0 * self.curvature_error

    @property
    def error(self) -> float:
        """Standard error of R; NaN if the curvature is not determined.

        What the optimiser has left has the noise of events and trees in it, so it is not added.
        """
        of_sample = math.hypot(self.of_events, self.of_trees)
        return max(of_sample, self.of_optimiser) if self.determined else math.nan


@dataclass(frozen=True)
class ErrorOfRadius:
    """Evaluates the standard error of a learned R.

    Attributes
    ----------
    evaluate, network, radius
        What evaluates, the learned network and the learned R.
    subset, weight
        Events on which the errors are measured, and their weights.
    trees
        Trees per event of each evaluation.
    step
        Called with the numbers of each evaluation, for a display.
    """

    evaluate: EvaluateJoint
    network: Network
    radius: float
    subset: MiniBatch
    weight: Floats
    trees: int
    step: Callable[[dict[str, float]], None]

    async def of(self, seen: Seen) -> RadiusError:
        """The standard error of R after a training that has seen these events and trees."""
        width, theta = STEP * self.radius, self.network.theta
        x = await self._follow(width)
        # The network is changed little, because it is far from linear in its parameters.
        shift = CHANGE / max(np.abs(x).max(initial=0.0), CHANGE)
        above = await self._events(self.radius + width, theta, 1)
        below = await self._events(self.radius - width, theta, 1)
        bend, slopes = (above.slope - below.slope) / (2.0 * width), []
        for repetition in (2, 3):
            plus = await self._events(self.radius, theta + shift * x, repetition)
            minus = await self._events(self.radius, theta - shift * x, repetition)
            slopes.append((plus.slope + minus.slope + (plus.loss - minus.loss) / shift) / 2.0)
            bend = bend + (plus.slope - minus.slope) / (4.0 * shift)  # half of H_Rt x
        curvature, curvature_error = _mean(bend, self.weight)
        events, trees = _variances(slopes[0], slopes[1], self.weight)
        number = np.count_nonzero(np.isfinite(slopes[0]))
        return RadiusError(
            math.sqrt(events * number / seen.events) / abs(curvature),
            math.sqrt(trees * number * self.trees / seen.trees) / abs(curvature),
            abs(float(inner(seen.slopes, [1.0, *x]))) / abs(curvature),
            curvature,
            curvature_error,
        )

    async def _follow(self, width: float) -> Floats:
        """x, the derivative of the best network in R, shape (theta,)."""
        theta = self.network.theta
        above = await self._slopes(self.radius + width, theta)
        below = await self._slopes(self.radius - width, theta)
        at_theta = await self._slopes(self.radius, theta)
        x, residual = np.zeros(len(theta)), (below - above) / (2.0 * width)
        direction, first = residual, inner(residual, residual)
        for _ in range(STEPS):
            size = float(inner(residual, residual))
            if not size > RESIDUAL**2 * first:
                break
            shift = SHIFT / np.abs(direction).max()
            product = (
                await self._slopes(self.radius, theta + shift * direction) - at_theta
            ) / shift
            along = float(inner(direction, product))
            if not along > 0.0:
                break
            x, residual = x + size / along * direction, residual - size / along * product
            direction = residual + inner(residual, residual) / size * direction
        return x

    async def _slopes(self, radius: float, theta: Floats) -> Floats:
        """Derivatives of the loss in the network, on trees that are the same at each call."""
        sums, _ = await self.evaluate(self._request(radius, theta, 0))
        self.step({"trees": sums.trees})
        slopes: Floats = sums.slopes / sums.total[0]
        return slopes

    async def _events(self, radius: float, theta: Floats, repetition: int) -> JointEvents:
        """Results of each event on the trees of a repetition."""
        request = replace(self._request(radius, theta, repetition), per_event=True)
        sums, events = await self.evaluate(request)
        self.step({"trees": sums.trees})
        assert events is not None
        return events

    def _request(self, radius: float, theta: Floats, repetition: int) -> Request:
        network = replace(self.network, theta=theta)
        return Request(radius, self.trees, ERROR_STREAM, repetition, self.subset, network=network)


#: Most evaluations, for a display.
EVALUATIONS = STEPS + 9


def _mean(values: Floats, weight: Floats) -> tuple[float, float]:
    """Weighted mean over events and its standard error; NaN is left out."""
    finite = np.isfinite(values)
    x, w = values[finite], weight[finite]
    mean = float(inner(w, x) / w.sum())
    return mean, float(np.sqrt(inner(w**2, (x - mean) ** 2)) / w.sum())


def _variances(first: Floats, second: Floats, weight: Floats) -> tuple[float, float]:
    """Variance of the weighted mean from events, and from the trees of one repetition.

    The repetitions have different trees of the same events, so their covariance is due to events.
    """
    finite = np.isfinite(first)
    w = weight[finite] / weight[finite].sum()
    a, b = first[finite], second[finite]
    events = float(inner(w**2, (a - inner(w, a)) * (b - inner(w, b))))
    return max(events, 0.0), float(inner(w**2, (a - b) ** 2)) / 2.0
