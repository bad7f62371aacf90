"""A shape with prongs as points whose places are linear in its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from djservice.core.typing import Floats
from djservice.events.momenta import fold
from djservice.shapes import quadrature
from djservice.shapes.forms import Ellipse, Part, Shape
from djservice.shapes.transport import Solution, transport

#: Share that each part has at least, so that its price is known.
LEAST_SHARE = 1e-6
#: d^2 / R^2 below which slopes are finite.
_NEAR = 1e-12


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
    apart, squared
        See :meth:`Model.apart`, and the squared distances, shape (of the jet, of the shape).
    """

    parameters: Floats
    shares: Floats
    solution: Solution
    apart: Floats
    squared: Floats

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
    level
        How many points there are: few (0), some (1) or many (2), which the prongs share.
    """

    def __init__(self, shape: Shape, radius: float, beta: float, level: int) -> None:
        self.shape, self.radius, self.beta = shape, radius, beta
        bases = [part.basis(_number(part, level)) for part in shape.parts]
        sizes = [len(basis) for basis in bases]
        #: First parameter of each part, its number of them, and number of all.
        self.widths = [basis.shape[2] for basis in bases]
        self.first = [2 + sum(self.widths[:i]) for i in range(len(bases))]
        self.length = 2 + sum(self.widths)
        self.basis = np.zeros((sum(sizes), 2, self.length))
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
            self.even = quadrature.rectangle(edge, around, shape.uniform.points[level])
        counts = sizes * shape.n + ([len(self.even)] if shape.uniform else [])
        self.counts = np.array(counts, np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)

    def points(self, parameters: Floats) -> Floats:
        """Places of all points, shape (point, 2)."""
        prongs = np.einsum("mip,np->nmi", self.basis, parameters).reshape(-1, 2)
        return np.concatenate([prongs, self.even])

    def solve(self, cloud: Cloud, parameters: Floats, shares: Floats) -> State:
        """The transport of a jet onto the shape."""
        weights = np.repeat(shares / self.counts, self.counts)
        y, phi = apart = self.apart(cloud, parameters)
        squared = y * y + phi * phi
        cost = np.sqrt(squared) if self.beta == 1.0 else squared ** (0.5 * self.beta)
        cost /= self.beta * self.radius**self.beta
        weights *= cloud.z.sum() / weights.sum()
        return State(parameters, shares, transport(cloud.z, weights, cost), apart, squared)

    def apart(self, cloud: Cloud, parameters: Floats) -> Floats:
        """From each point of the shape to each of the jet, shape (2, of the jet, of the shape)."""
        apart = cloud.places.T[:, :, np.newaxis] - self.points(parameters).T[:, np.newaxis]
        apart[1] = fold(apart[1])
        return apart

    def prices(self, state: State) -> Floats:
        """Derivatives of the cost in the shares, up to a common constant."""
        return np.add.reduceat(state.solution.prices, self.starts) / self.counts

    def slopes(self, state: State) -> Floats:
        """Derivatives of the cost in the parameters, prong by prong, shape (prong * parameter,)."""
        squared = state.squared + _NEAR * self.radius**2
        if self.beta == 1.0:
            pull = state.solution.plan / np.sqrt(squared)
        else:
            pull = state.solution.plan * squared ** (0.5 * self.beta - 1.0)
        of_points = np.einsum("ij,kij->jk", pull, state.apart) / -(self.radius**self.beta)
        n, size = self.shape.n, len(self.basis)
        of_prongs = of_points[: n * size].reshape(n, size * 2)
        slopes: Floats = np.einsum(
            "ij,jk->ik", of_prongs, self.basis.reshape(size * 2, self.length)
        ).ravel()
        return slopes

    def axes(self, parameters: Floats) -> Floats:
        """Half-axes and angle of the largest part of each prong, shape (prong, 3); 0 of points.

        The longer axis comes first. The angle is that of the longer axis from the rapidity axis.
        """
        axes = np.zeros((len(parameters), 3))
        for part, first in zip(self.shape.parts, self.first, strict=True):
            if isinstance(part, Ellipse):
                for k, (a, b, d) in enumerate(parameters[:, first : first + 3]):
                    half = math.hypot(0.5 * (a - d), b)
                    middle, turn = 0.5 * (a + d), 0.5 * math.atan2(2.0 * b, a - d)
                    if middle < 0.0:  # the negative axis is the longer one
                        turn += 0.5 * math.pi
                    longer, shorter = abs(middle) + half, abs(abs(middle) - half)
                    axes[k] = longer, shorter, turn % math.pi
            elif first < self.length and part.points[1] > 1:
                radius = np.abs(parameters[:, first])
                larger = radius > axes[:, 0]
                axes[larger, :2] = radius[larger, np.newaxis]
        return axes


def _number(part: Part, level: int) -> int:
    """Points of each prong. The prongs share those of the last level."""
    _, some, many = part.points
    return part.points[level] if level < 2 else max(some, many // part.n)
