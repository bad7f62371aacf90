"""``dj.shapes.fit``: the shape that a jet or an event is nearest to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from djservice.clustering.jet_vectors import host_vectors
from djservice.clustering.medians import medians
from djservice.clustering.particle_order import components_of
from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require
from djservice.core.inner import inner
from djservice.core.pieces import between_pieces
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.events.momenta import fold
from djservice.shapes.descent import fitted
from djservice.shapes.forms import Isotropy, Part, Shape, Uniform, check_beta, shape_of
from djservice.shapes.isotropy import isotropy
from djservice.shapes.model import LEAST_SHARE, Cloud
from djservice.shapes.points import PHI, PT, RAPIDITY, particles_of


@dataclass(frozen=True)
class Fit:
    """A fitted shape. Prongs are in falling pT of their jets.

    Attributes
    ----------
    value
        The least distance, of unit weights: the energy mover's distance to the nearest shape.
    centres
        Rapidity and phi of the centres, shape (prong, 2).
    axes
        Longer and shorter half-axis of the largest part of each prong, shape (prong, 2); 0 of
        points.
    angles
        Angle of the longer axis from the rapidity axis, towards phi, in [0, pi), shape (prong,).
    weights
        Shares of the parts in the shape, shape (prong, part).
    uniform
        Share of the even part; 0 without one.
    shares
        Share of each particle that the plan brings to each prong, shape (particle, prong). What is
        left belongs to the even part.
    """

    value: float
    centres: Floats
    axes: Floats
    angles: Floats
    weights: Floats
    uniform: float
    shares: Floats
    momenta: Floats = field(repr=False)

    @property
    def radii(self) -> Floats:
        """Radii of the prongs, shape (prong,); of ellipses those of a disk of the same area."""
        return np.sqrt(self.axes[:, 0] * self.axes[:, 1])

    @property
    def eccentricities(self) -> Floats:
        """sqrt(1 - b^2 / a^2) of the axes a and b, shape (prong,); 0 of rings and disks."""
        a, b = self.axes.T
        ratio = np.divide(b, a, out=np.ones_like(a), where=a > 0.0)
        eccentricities: Floats = np.sqrt(1.0 - ratio**2)
        return eccentricities

    @property
    def jets(self) -> Any:
        """Momenta of the prongs in falling pT, a ``vector`` momentum array of shape (prong,).

        Each is the sum of the particles' momenta times their shares.
        """
        return host_vectors(self.momenta)


@checked_arguments
def fit(
    particles: Any,
    shape: Part | Uniform | Shape | Isotropy,
    *,
    radius: float = 0.8,
    beta: float = 1.0,
) -> Fit:
    """The shape of a kind that a jet or an event is nearest to, by its energy mover's distance.

    The pT of the particles is divided by its sum, so the value is a pure number. With points alone
    it is N-subjettiness with the axes of least value, divided by beta, and no transport is needed.

    Parameters
    ----------
    particles
        The particles of one event or jet, see :func:`djservice.emd`.
    shape
        A part of this package or a sum, such as ``Disk(n=2) + Uniform()``; parts of a sum share
        their centres. Or an :class:`Isotropy`.
    radius
        R: distances are divided by it. Isotropies have scales of their own.
    beta
        Exponent of the distance, from 1 to 2.

    Returns
    -------
    Fit
        The value, the parameters and the jets.

    Raises
    ------
    InputError
        If there are no particles or fewer than prongs, a number is not finite, or an argument has
        no meaning.
    MissingPackageError
        If POT is not installed (extra ``shapes``); points alone need none.

    Notes
    -----
    The fit is deterministic. It begins at centres of N-pointiness with several radii above 0, and
    ends in the best of the minima that it reaches. A disk is 400 points, a ring is 100.

    References
    ----------
    Ba, Dogra, Gambhir, Tasissa, Thaler: arXiv:2302.12266 (SHAPER). Thaler, Van Tilburg:
    arXiv:1011.2268 (N-subjettiness).
    """
    require("radius", radius)
    check_beta(shape, beta)
    return _of_rows(particles_of(particles, "particles"), shape, radius, beta)


def _of_rows(
    rows: Floats, shape: Part | Uniform | Shape | Isotropy, radius: float, beta: float
) -> Fit:
    """The fit to rows of pT, rapidity, phi and mass."""
    if isinstance(shape, Isotropy):
        value = isotropy(rows, _momenta(rows), shape, float(beta))
        none = np.empty((0, 2))
        return Fit(value, none, none, none[:, 0], none, 1.0, none[:, :0], np.empty((0, 4)))
    whole = shape_of(shape)
    if whole.n > len(rows):
        raise InputError(
            f"particles: {whole.n} prongs and {len(rows)} particles, expected as many particles as "
            "prongs or more. Lower n."
        )
    cloud, origin = _cloud(rows, whole)
    if whole.only_points:
        return _points(rows, cloud, origin, whole.n, radius, beta)
    return _extended(rows, cloud, origin, whole, radius, beta)


def _cloud(rows: Floats, shape: Shape) -> tuple[Cloud, Floats]:
    """Shares and places about an origin: the mean of a jet, that of the detector for an event."""
    z = rows[:, PT] / rows[:, PT].sum()
    if shape.uniform is not None and shape.uniform.y_max is not None:
        return Cloud(z, rows[:, [RAPIDITY, PHI]].copy()), np.zeros(2)
    hardest = rows[np.argmax(z), [RAPIDITY, PHI]]
    places = rows[:, [RAPIDITY, PHI]] - hardest
    places[:, 1] = fold(places[:, 1])
    mean = inner(z, places)
    places -= mean
    places[:, 1] = fold(places[:, 1])
    return Cloud(z, places), hardest + mean


def _points(rows: Floats, cloud: Cloud, origin: Floats, n: int, radius: float, beta: float) -> Fit:
    """N-pointiness: each particle belongs to its nearest centre."""
    near = medians(cloud.z, cloud.places, n, beta)
    shares = (near.owner[:, np.newaxis] == np.arange(n)).astype(np.float64)
    weights = inner(cloud.z, shares)[:, np.newaxis]
    value = near.cost / (beta * radius**beta)
    return _ordered(rows, value, near.centres + origin, np.zeros((n, 3)), weights, 0.0, shares)


def _extended(
    rows: Floats, cloud: Cloud, origin: Floats, shape: Shape, radius: float, beta: float
) -> Fit:
    """Shapes that need transport."""
    model, state = fitted(cloud, shape, radius, beta)
    plan, size = state.solution.plan, len(model.basis)
    brought = [plan[:, k * size : (k + 1) * size].sum(axis=1) for k in range(shape.n)]
    shares = np.stack([*brought, np.zeros(len(rows))], axis=1)[:, :-1] / cloud.z[:, np.newaxis]
    parts = np.where(state.shares > 2.0 * LEAST_SHARE, state.shares, 0.0)
    uniform = float(parts[-1]) if shape.uniform is not None else 0.0
    weights = parts[: shape.n * len(shape.parts)].reshape(shape.n, len(shape.parts))
    centres, axes = state.parameters[:, :2] + origin, model.axes(state.parameters)
    return _ordered(rows, state.value, centres, axes, weights, uniform, shares)


def _ordered(
    rows: Floats,
    value: float,
    centres: Floats,
    axes: Floats,
    weights: Floats,
    uniform: float,
    shares: Floats,
) -> Fit:
    """The fit with its prongs in falling pT of their jets."""
    momenta = np.einsum("ij,ik->jk", shares, _momenta(rows))
    order = np.argsort(-np.hypot(momenta[:, 0], momenta[:, 1]), kind="stable")
    centres[:, 1] = fold(centres[:, 1])
    return Fit(
        float(value),
        centres[order],
        axes[order, :2],
        axes[order, 2],
        weights[order],
        uniform,
        shares[:, order],
        momenta[order],
    )


def _momenta(rows: Floats) -> Floats:
    """px, py, pz and E of particles, shape (particle, 4)."""
    return components_of(*np.ascontiguousarray(rows.T))


def fits_of(
    jets: Iterable[Floats], shape: Shape | Isotropy, radius: float, beta: float
) -> list[Fit | None]:
    """The fits to several jets or events, None for those with fewer particles than prongs.

    Each has rows of pT, rapidity, phi and mass.
    """
    least = 1 if isinstance(shape, Isotropy) else max(1, shape.n)
    fits = []
    for rows in jets:
        between_pieces()
        fits.append(_of_rows(rows, shape, radius, beta) if len(rows) >= least else None)
    return fits
