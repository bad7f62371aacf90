"""Where fits of shapes begin: prongs of different widths about the centres of N-pointiness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from djservice.clustering.medians import medians
from djservice.core.inner import inner
from djservice.core.typing import Floats
from djservice.events.momenta import fold
from djservice.shapes.forms import Shape
from djservice.shapes.model import LEAST_SHARE, Cloud, Model

#: Radius of an even disk over the mean distance of its points from the centre.
_WIDE = 1.5
#: Radii over the mean distance, of a core and of a narrow prong.
_CORE, _NARROW = 0.4, 0.3
#: Shares of the even part, and of the particles farthest from the other prongs.
_EVEN, _FAR = 0.1, (0.05, 0.2, 0.5)
#: Number of particles of largest share that are prongs of their own.
_HARDEST = 3


@dataclass(frozen=True)
class Start:
    """Prongs to begin with.

    Attributes
    ----------
    centres, radii, shares
        Of the prongs, shapes (prong, 2), (prong,) and (prong,).
    points
        Share of its point in each prong with a point and other parts, or None for equal parts.
    """

    centres: Floats
    radii: Floats
    shares: Floats
    points: float | None = None

    def of(self, model: Model) -> tuple[Floats, Floats]:
        """The parameters and shares of a model."""
        parameters = np.zeros((len(self.centres), model.length))
        parameters[:, :2] = self.centres
        for first, width in zip(model.first, model.widths, strict=True):
            if width:
                parameters[:, first] = parameters[:, first + width - 1] = self.radii
        width = np.array(model.widths)
        parts = np.full(len(width), 1.0 / len(width))
        if self.points is not None:
            parts = np.where(width == 0, self.points, (1.0 - self.points) / (width > 0).sum())
        even = [_EVEN] if model.shape.uniform is not None else []
        shares = np.outer(self.shares, parts).ravel() * (1.0 - sum(even))
        shares = np.maximum(np.concatenate([shares, even]), LEAST_SHARE)
        return parameters, shares / shares.sum()


def starts(cloud: Cloud, shape: Shape) -> Iterator[Start]:
    """Prongs of equal widths, one wide prong, one about all others, and one at a hard particle."""
    near = _near(cloud, shape.n, 1.0)
    yield near
    yield replace(near, radii=_CORE * near.radii)
    yield _near(cloud, shape.n, 2.0)
    kinds = {part.name == "point" for part in shape.parts}
    if len(kinds) > 1:
        for share in _FAR:
            _, far = _split(cloud, near.centres, share)
            yield replace(near, radii=np.full(shape.n, _WIDE * far), points=1.0 - share)
    if shape.n > 1 and kinds != {True}:
        yield from _unequal(cloud, near)


def _unequal(cloud: Cloud, near: Start) -> Iterator[Start]:
    n = len(near.shares)
    for k in range(n):
        yield replace(near, radii=np.where(np.arange(n) == k, _WIDE, _NARROW) * near.radii)
    rest = _near(cloud, n - 1, 1.0)
    for share in _FAR:
        core, far = _split(cloud, rest.centres, share)
        yield _with(
            replace(rest, radii=np.full(n - 1, core)),
            inner(rest.shares, rest.centres),
            _WIDE * far,
            share,
        )
    for i in np.argsort(-cloud.z, kind="stable")[:_HARDEST]:
        wide = replace(rest, radii=_WIDE * rest.radii)
        yield _with(wide, cloud.places[i], 0.1 * rest.radii.mean(), min(cloud.z[i], 0.9))


def _near(cloud: Cloud, n: int, beta: float) -> Start:
    """The centres of N-pointiness, with the mean distances and shares of their particles."""
    near = medians(cloud.z, cloud.places, n, beta)
    shares = np.asarray(np.bincount(near.owner, cloud.z, n), np.float64)
    distance = _distances(cloud, near.centres)
    radii = np.bincount(near.owner, cloud.z * distance, n) / np.maximum(shares, 1e-300)
    return Start(near.centres, radii, shares)


def _with(rest: Start, centre: Floats, radius: float, share: float) -> Start:
    """One prong more, which takes its share from all others."""
    return Start(
        np.vstack([rest.centres, centre]),
        np.append(rest.radii, radius),
        np.append(rest.shares * (1.0 - share), share),
    )


def _split(cloud: Cloud, centres: Floats, share: float) -> tuple[float, float]:
    """Mean distances from the nearest centre, of all but the farthest share and of this share."""
    distance = _distances(cloud, centres)
    order = np.argsort(distance, kind="stable")
    z, distance = cloud.z[order], distance[order]
    before = np.cumsum(z) - z
    within = np.clip(1.0 - share - before, 0.0, z)
    return float(inner(within, distance)) / (1.0 - share), float(
        inner(z - within, distance)
    ) / share


def _distances(cloud: Cloud, centres: Floats) -> Floats:
    """The distance of each particle from its nearest centre."""
    apart = cloud.places[:, np.newaxis] - centres
    distances: Floats = np.hypot(apart[..., 0], fold(apart[..., 1])).min(axis=1)
    return distances
