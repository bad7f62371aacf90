"""A shape with prongs as points whose places are linear in its parameters.

So for a fixed plan of transport, the cost is convex in the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats
from djservice.events.batch import fold
from djservice.shapes import quadrature
from djservice.shapes.forms import Ellipse, Shape
from djservice.shapes.transport import Solution, transport

#: Share that each part has at least, so that its price is known.
LEAST_SHARE = 1e-6
#: Steps for a fixed plan, and d^2 / R^2 below which a distance counts as this.
_WEISZFELD_STEPS, _NEAR = 6, 1e-12


@dataclass(frozen=True)
class Cloud:
    """A jet or an event: shares of its pT, and rapidity and phi, shapes (point,) and (point, 2)."""

    z: Floats
    places: Floats


@dataclass(frozen=True)
class State:
    """Parameters of a shape, with the transport of a jet onto it.

    Attributes
    ----------
    parameters
        Shape (prong, parameter): rapidity and phi of the centre, then those of the parts.
    shares
        Shares of the parts, prong by prong, and of the even part at last.
    solution
        The transport.
    """

    parameters: Floats
    shares: Floats
    solution: Solution

    @property
    def value(self) -> float:
        """The cost."""
        return self.solution.value


class Model:
    """A shape as points.

    Parameters
    ----------
    shape
        The shape.
    radius, beta
        R and the exponent.
    fine
        Whether there are many points, or few.
    """

    def __init__(self, shape: Shape, radius: float, beta: float, *, fine: bool) -> None:
        self.shape, self.radius, self.beta = shape, radius, beta
        bases = [part.basis(part.points[fine]) for part in shape.parts]
        lengths = [basis.shape[2] for basis in bases]
        self.sizes = [len(basis) for basis in bases]
        #: First parameter of each part, and number of all.
        self.first = [2 + sum(lengths[:i]) for i in range(len(lengths))]
        self.length = 2 + sum(lengths)
        self.basis = np.zeros((sum(self.sizes), 2, self.length))
        self.basis[:, 0, 0] = self.basis[:, 1, 1] = 1.0
        row = 0
        for basis, first in zip(bases, self.first, strict=True):
            self.basis[row : row + len(basis), :, first : first + basis.shape[2]] = basis
            row += len(basis)
        self.even = np.empty((0, 2))
        if shape.uniform is not None:
            edge, around = shape.uniform.y_max, math.pi
            if edge is None:
                edge = around = radius
            self.even = quadrature.rectangle(edge, around, shape.uniform.points[fine])
        counts = self.sizes * shape.n + ([len(self.even)] if shape.uniform else [])
        self.counts = np.array(counts, np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    def points(self, parameters: Floats) -> Floats:
        """Places of all points, shape (point, 2)."""
        prongs = np.einsum("mip,np->nmi", self.basis, parameters).reshape(-1, 2)
        return np.concatenate([prongs, self.even])

    def solve(self, cloud: Cloud, parameters: Floats, shares: Floats) -> State:
        """The transport of a jet onto the shape."""
        weights = np.repeat(shares / self.counts, self.counts)
        apart = self.apart(cloud, parameters)
        cost = np.einsum("ijk,ijk->ij", apart, apart)
        cost = np.sqrt(cost) if self.beta == 1.0 else cost ** (0.5 * self.beta)
        cost /= self.beta * self.radius**self.beta
        weights *= cloud.z.sum() / weights.sum()
        return State(parameters, shares, transport(cloud.z, weights, cost))

    def apart(self, cloud: Cloud, parameters: Floats) -> Floats:
        """From each point of the shape to each of the jet, shape (of the jet, of the shape, 2)."""
        apart = cloud.places[:, np.newaxis] - self.points(parameters)
        apart[..., 1] = fold(apart[..., 1])
        return apart

    def prices(self, state: State) -> Floats:
        """Derivatives of the cost in the shares, up to a common constant."""
        return np.add.reduceat(state.solution.prices, self.starts) / self.counts

    def moved(self, cloud: Cloud, state: State) -> Floats:
        """The parameters of least cost for the plan of a state."""
        parameters, size = state.parameters.copy(), len(self.basis)
        plan = state.solution.plan.T
        apart = self.apart(cloud, state.parameters).transpose(1, 0, 2)
        for k in range(self.shape.n):
            point, of_jet = np.nonzero(plan[k * size : (k + 1) * size])
            weight = plan[k * size + point, of_jet]
            parameters[k] += self._step(weight, apart[k * size + point, of_jet], self.basis[point])
        return parameters

    def _step(self, weight: Floats, apart: Floats, basis: Floats) -> Floats:
        """The change of a prong's parameters: Weiszfeld's steps, one for beta = 2."""
        step, near = np.zeros(self.length), _NEAR * self.radius**2
        ridge = 1e-9 * weight.sum() * np.eye(self.length)
        rows = basis.reshape(-1, self.length)
        for _ in range(1 if self.beta == 2.0 else _WEISZFELD_STEPS):
            left = apart - np.einsum("lip,p->li", basis, step)
            pull = weight * (np.einsum("li,li->l", left, left) + near) ** (0.5 * self.beta - 1.0)
            scaled = np.repeat(pull, 2)[:, np.newaxis] * rows
            bent = rows.T @ scaled
            step = step + np.linalg.solve(
                bent + ridge * (pull.sum() / weight.sum()), scaled.T @ left.ravel()
            )
        return step

    def axes(self, parameters: Floats) -> Floats:
        """Half-axes and angle of the largest part of each prong, shape (prong, 3); 0 of points.

        The longer axis comes first. The angle is that of the longer axis from the rapidity axis.
        """
        axes = np.zeros((len(parameters), 3))
        for part, first in zip(self.shape.parts, self.first, strict=True):
            if isinstance(part, Ellipse):
                for k, (a, b, d) in enumerate(parameters[:, first : first + 3]):
                    values, vectors = np.linalg.eigh([[a, b], [b, d]])
                    order = np.argsort(-np.abs(values), kind="stable")
                    y, phi = vectors[:, order[0]]
                    axes[k] = *np.abs(values)[order], math.atan2(phi, y) % math.pi
            elif first < self.length and part.points[1] > 1:
                radius = np.abs(parameters[:, first])
                larger = radius > axes[:, 0]
                axes[larger, :2] = radius[larger, np.newaxis]
        return axes
