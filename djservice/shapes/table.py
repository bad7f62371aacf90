"""Fits of many jets as columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from djservice.core.typing import Floats
from djservice.shapes.fit import Fit
from djservice.shapes.forms import Isotropy, Shape


def lengths_of(shape: Shape | Isotropy) -> dict[str, tuple[int, ...]]:
    """The columns that fits of a shape have, with the shape of each row: (), (prong,), (prong, part)."""
    none: dict[str, tuple[int, ...]] = {"value": (), "uniform": ()}
    if isinstance(shape, Isotropy) or not shape.n:
        return none
    of_prongs = ("centre_rapidity", "centre_phi", "prong_radius", "eccentricity", "angle")
    of_jets = ("prong_pt", "prong_rapidity", "prong_phi", "prong_mass")
    return {
        **none,
        **dict.fromkeys((*of_prongs, *of_jets), (shape.n,)),
        "part_weight": (shape.n, len(shape.parts)),
    }


def columns_of(fits: Sequence[Fit | None], shape: Shape | Isotropy) -> dict[str, Floats]:
    """The columns of fits to several jets, NaN for those without one."""
    lengths = lengths_of(shape)
    columns = {name: np.full((len(fits), *row), np.nan) for name, row in lengths.items()}
    for k, fit in enumerate(fits):
        if fit is not None:
            values = _row(fit)
            for name, column in columns.items():
                column[k] = values[name]
    return columns


def _row(fit: Fit) -> dict[str, Floats | float]:
    jets = fit.jets
    return {
        "value": fit.value,
        "uniform": fit.uniform,
        "centre_rapidity": fit.centres[:, 0],
        "centre_phi": fit.centres[:, 1],
        "prong_radius": fit.radii,
        "eccentricity": fit.eccentricities,
        "angle": fit.angles,
        "prong_pt": jets.pt,
        "prong_rapidity": jets.rapidity,
        "prong_phi": jets.phi,
        "prong_mass": jets.mass,
        "part_weight": fit.weights,
    }
