"""Points that stand for continuous shapes: fixed, and of equal weight."""

from __future__ import annotations

import math

import numpy as np

from djservice.core.typing import Floats

_GOLDEN = math.pi * (3.0 - math.sqrt(5.0))


def ring(number: int) -> Floats:
    """Points of the unit circle at equal distances, shape (number, 2)."""
    angle = 2.0 * math.pi * (np.arange(number) + 0.5) / number
    return np.column_stack([np.cos(angle), np.sin(angle)])


def disk(number: int) -> Floats:
    """Points of the unit disk on a golden spiral, shape (number, 2)."""
    k = np.arange(number) + 0.5
    r, angle = np.sqrt(k / number), k * _GOLDEN
    return np.column_stack([r * np.cos(angle), r * np.sin(angle)])


def rectangle(y_max: float, phi_max: float, number: int) -> Floats:
    """About so many points of |y| < y_max, |phi| < phi_max on a grid, shape (point, 2)."""
    step = math.sqrt(4.0 * y_max * phi_max / number)
    y, phi = (
        edge * (2.0 * (np.arange(points) + 0.5) / points - 1.0)
        for edge, points in ((x, max(1, round(2.0 * x / step))) for x in (y_max, phi_max))
    )
    return np.column_stack([np.repeat(y, len(phi)), np.tile(phi, len(y))])


def sphere(sides: int) -> Floats:
    """Unit vectors of the 12 sides^2 pixels of HEALPix, shape (point, 3).

    Reference: Gorski et al., astro-ph/0409513, eqs. 4 to 9.
    """
    rows = []
    for i in range(1, 4 * sides):
        cap = min(i, 4 * sides - i)
        if cap < sides:
            number, z, shift = 4 * cap, 1.0 - cap * cap / (3.0 * sides * sides), 0.5
            z = z if i < 2 * sides else -z
        else:
            number, z = 4 * sides, (2.0 - i / sides) * 2.0 / 3.0
            shift = 0.5 * ((i - sides + 1) % 2)
        phi = 2.0 * math.pi * (np.arange(number) + shift) / number
        across = math.sqrt(1.0 - z * z)
        rows.append(
            np.column_stack([across * np.cos(phi), across * np.sin(phi), np.full(number, z)])
        )
    return np.concatenate(rows)
