"""Fitted shapes of a leading jet: how far it is from points, rings, disks or ellipses, and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from djservice.core.arguments import checked_arguments
from djservice.core.bounds import require
from djservice.core.elementary import azimuth_of, rapidity_of
from djservice.core.suggest import nearest
from djservice.core.typing import Floats
from djservice.errors import InputError
from djservice.objectives.observable import Observable, require_jet
from djservice.shapes.fit import Fit, fit
from djservice.shapes.forms import Isotropy, Shape, check_beta, named_shape
from djservice.shapes.transport import solver_version

_OUTPUTS = ("value", "ratio", "radius", "eccentricity", "weight", "uniform")


@dataclass(frozen=True)
class _ShapeOfJets:
    """The function of the observable; its attributes are arguments of :func:`shape`."""

    shape: Shape | Isotropy
    output: str
    prong: int
    radius: float
    beta: float

    def __call__(self, jets: Any, particles: Any) -> Floats:
        """The output for each jet, shape (jet,); NaN if it has fewer particles than prongs."""
        momenta, mask = particles.momenta, particles.mask
        pt = np.sqrt(np.asarray(momenta.px) ** 2 + np.asarray(momenta.py) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):  # in the padding
            rapidity = rapidity_of(momenta)
        phi = azimuth_of(momenta)
        values = np.full(len(mask), np.nan)
        prongs = 1 if isinstance(self.shape, Isotropy) else self.shape.n
        for k, row in enumerate(mask):
            if row.sum() >= prongs:
                points = np.column_stack([x[k][row] for x in (pt, rapidity, phi)])
                values[k] = self._of(points)
        return values

    def _of(self, points: Floats) -> float:
        fitted = fit(points, self.shape, radius=self.radius, beta=self.beta)
        if self.output != "ratio":
            return self._output(fitted)
        assert isinstance(self.shape, Shape)
        fewer = Shape(
            tuple(type(part)(part.n - 1) for part in self.shape.parts), self.shape.uniform
        )
        below = fit(points, fewer, radius=self.radius, beta=self.beta).value
        return fitted.value / below if below > 0.0 else np.nan

    def _output(self, fitted: Fit) -> float:
        if self.output == "value":
            return fitted.value
        if self.output == "uniform":
            return fitted.uniform
        columns = {
            "radius": fitted.radii,
            "eccentricity": fitted.eccentricities,
            "weight": fitted.weights.sum(axis=1),
        }
        return float(columns[self.output][self.prong])


@checked_arguments
def shape(
    shape: str,
    n: int = 1,
    output: Literal["value", "ratio", "radius", "eccentricity", "weight", "uniform"] = "value",
    *,
    prong: int = 0,
    jet: int = 0,
    radius: float = 0.8,
    beta: float = 1.0,
    y_max: float | None = None,
) -> Observable:
    """What :func:`djservice.shapes.fit` finds of a leading jet (docs/guides/shapes.md).

    It is NaN for a jet with fewer particles than prongs.

    Parameters
    ----------
    shape
        Parts with ``+`` between: point, ring, disk, ellipse and uniform, such as "disk+point". Or
        "ring isotropy", "cylinder isotropy" or "sphere isotropy".
    n
        Number of prongs.
    output
        "value": the distance to the nearest shape, as N-subjettiness for points. "ratio": that over
        the distance with one prong fewer. "radius", "eccentricity" and "weight" are those of a
        prong, "uniform" the share of the uniform part.
    prong
        Place of the prong in falling pT, from 0.
    jet
        Place of the jet among the leading ones, from 0.
    radius, beta
        See :func:`djservice.shapes.fit`. The radius is a constant that does not follow the jets'.
    y_max
        Largest |rapidity| of a uniform part or a cylinder.

    Raises
    ------
    InputError
        If an argument has no meaning.
    MissingPackageError
        If POT is not installed (extra ``shapes``); points alone need none.
    """
    require("radius", radius)
    require("jets", n, of="n")
    if output not in _OUTPUTS:
        raise InputError(f"unknown output {output!r}{nearest(str(output), _OUTPUTS)}.")
    made, prong_number = named_shape(shape, n, y_max), require_jet(prong) + 1
    check_beta(made, beta)
    _need_output(made, output, n, prong_number)
    if not isinstance(made, Shape) or not made.only_points:
        solver_version()
    of_jets = _ShapeOfJets(made, output, prong, float(radius), float(beta))
    of = "" if output == "value" else f"{output} of "
    number = require_jet(jet) + 1
    name = f"{of}{made} (R {radius:g}, beta {beta:g}) of jet {number}"
    return Observable(
        lambda jets, particles: of_jets(jets, particles), name, jets=number, constituents="all"
    )


def _need_output(made: Shape | Isotropy, output: str, n: int, prong: int) -> None:
    """Refuse an output that a shape does not have."""
    prongs = made.n if isinstance(made, Shape) else 0
    even = isinstance(made, Shape) and made.uniform is not None
    if (
        (output in ("radius", "eccentricity", "weight") and prong > prongs)
        or (output == "ratio" and prongs < 2)
        or (output == "uniform" and not even)
    ):
        raise InputError(
            f"{made}: no {output} of prong {prong} there, expected another output, n or prong."
        )
